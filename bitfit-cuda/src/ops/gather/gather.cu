// Row gather from a matrix of `cols` columns, and its backward.

// y[i] = x[at[i]], row by row. Launch: Shape::elements(len), the elements of y.
extern "C" __global__ void bitfit_gather_rows(const float* x, const u32* at, float* y, u64 cols, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        u64 place = quotient(i, cols);
        y[i] = x[at[place] * cols + (i - place * cols)];
    }
}

// dx[at[i]] += dy[i], row by row, in the list's order. The block of the first position of a row in the list adds up all
// of its positions, so no two blocks write the same row. Launch: a block of 128 threads per position.
extern "C" __global__ void bitfit_scatter_rows(const float* dy, const u32* at, float* dx, u64 places, u64 cols) {
    __shared__ float shared[4];
    u64 first = blockIdx.x;
    u32 row = at[first];
    float earlier = 0.0f;
    for (u64 place = threadIdx.x; place < first; place += blockDim.x) {
        if (at[place] == row) earlier = 1.0f;
    }
    // This value is the same for the whole block.
    if (block_max(earlier, shared) > 0.0f) return;
    for (u64 j = threadIdx.x; j < cols; j += blockDim.x) {
        float sum = dx[row * cols + j];
        for (u64 place = first; place < places; place++) {
            if (at[place] == row) sum += dy[place * cols + j];
        }
        dx[row * cols + j] = sum;
    }
}
