// The softmax of each row of [rows, cols], and its backward. A warp processes a row, its lanes the columns in turn.
// Launch: blocks of 128 threads, four rows each.

extern "C" __global__ void bitfit_softmax(const float* x, float* y, u64 rows, u64 cols) {
    u64 row = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    // This value is the same for all lanes of a warp.
    if (row < rows) {
        x += row * cols;
        y += row * cols;
        float max = x[0];
        for (u64 j = lane; j < cols; j += 32) max = fmaxf(max, x[j]);
        max = warp_max(max);
        float sum = 0.0f;
        for (u64 j = lane; j < cols; j += 32) {
            float e = expf(x[j] - max);
            y[j] = e;
            sum += e;
        }
        sum = warp_sum(sum);
        for (u64 j = lane; j < cols; j += 32) y[j] = y[j] / sum;
    }
}

// dx = y ∘ (dy - Σ dy y), added to dx if `accumulate`.
extern "C" __global__ void bitfit_softmax_backward(
    const float* dy, const float* y, float* dx, u32 accumulate, u64 rows, u64 cols) {
    u64 row = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    if (row < rows) {
        dy += row * cols;
        y += row * cols;
        dx += row * cols;
        float dot = 0.0f;
        for (u64 j = lane; j < cols; j += 32) dot += dy[j] * y[j];
        dot = warp_sum(dot);
        for (u64 j = lane; j < cols; j += 32) {
            float gradient = y[j] * (dy[j] - dot);
            dx[j] = accumulate ? dx[j] + gradient : gradient;
        }
    }
}
