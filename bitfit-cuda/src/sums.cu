// The second stage of sums over rows. A thread takes a column; partial sums [blocks, cols] are added to `to` in the blocks'
// order.

extern "C" __global__ void bitfit_add_partial_sums(const float* partial, u64 blocks, u64 cols, float* to) {
    u64 column = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= cols) return;
    float sum = to[column];
    for (u64 block = 0; block < blocks; block++) sum += partial[block * cols + column];
    to[column] = sum;
}
