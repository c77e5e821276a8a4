// The mean of the rows of each sequence of a packed matrix of `cols` columns, and its backward.

// y[b] = Σ x[t] / length(b), added up in the order of the rows. Launch: a block of 128 threads per sequence.
extern "C" __global__ void bitfit_sequence_mean(const float* x, const u32* offsets, float* y, u64 cols) {
    u64 sequence = blockIdx.x;
    u64 first = offsets[sequence], end = offsets[sequence + 1];
    float scale = 1.0f / (float)(end - first);
    for (u64 j = threadIdx.x; j < cols; j += blockDim.x) {
        float sum = 0.0f;
        for (u64 row = first; row < end; row++) sum += x[row * cols + j];
        y[sequence * cols + j] = sum * scale;
    }
}

// dx[t] = dy[b] / length(b), added to dx if `accumulate`. Launch: a block of 128 threads per sequence.
extern "C" __global__ void bitfit_sequence_mean_backward(
    const float* dy, const u32* offsets, float* dx, u32 accumulate, u64 cols) {
    u64 sequence = blockIdx.x;
    u64 first = offsets[sequence], end = offsets[sequence + 1];
    float scale = 1.0f / (float)(end - first);
    for (u64 j = threadIdx.x; j < cols; j += blockDim.x) {
        float gradient = dy[sequence * cols + j] * scale;
        for (u64 row = first; row < end; row++) {
            u64 i = row * cols + j;
            dx[i] = accumulate ? dx[i] + gradient : gradient;
        }
    }
}
