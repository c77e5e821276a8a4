// Sum and product, element by element. b has b_len elements: as many as a, or those of one row of it, which meets every row.
// Launch: Shape::elements(len).

extern "C" __global__ void bitfit_add(const float* a, const float* b, float* y, u64 b_len, u64 len) {
    FOR_EACH_ELEMENT(i, len) y[i] = a[i] + b[i - quotient(i, b_len) * b_len];
}

extern "C" __global__ void bitfit_mul(const float* a, const float* b, float* y, u32 accumulate, u64 b_len, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        float product = a[i] * b[i - quotient(i, b_len) * b_len];
        y[i] = accumulate ? y[i] + product : product;
    }
}

// partial[block, j] = the sum over a block's rows of a[t, j] b[t, j]. Launch: sums::shape(rows, cols).
extern "C" __global__ void bitfit_column_dot(
    const float* a, const float* b, u64 rows, u64 cols, u64 block_rows, float* partial) {
    u64 column = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= cols) return;
    u64 begin = blockIdx.y * block_rows, end = begin + block_rows < rows ? begin + block_rows : rows;
    float sum = 0.0f;
    for (u64 row = begin; row < end; row++) sum += a[row * cols + column] * b[row * cols + column];
    partial[blockIdx.y * cols + column] = sum;
}
