// Sum and mean over all elements, in f64: chunks by blocks, then the sums of the blocks.

// partial[block] = the sum of `chunk` elements of x. Launch: 256 threads, a block per chunk.
extern "C" __global__ void bitfit_sum_chunks(const float* x, u64 len, u64 chunk, double* partial) {
    __shared__ double shared[256];
    u64 begin = blockIdx.x * chunk, end = begin + chunk < len ? begin + chunk : len;
    double sum = 0.0;
    for (u64 i = begin + threadIdx.x; i < end; i += blockDim.x) sum += (double)x[i];
    sum = block_sum_f64(sum, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// y[0] = Σ partial / divisor. Launch: one block of 256 threads.
extern "C" __global__ void bitfit_sum_total(const double* partial, u64 blocks, u64 divisor, float* y) {
    __shared__ double shared[256];
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < blocks; i += blockDim.x) sum += partial[i];
    sum = block_sum_f64(sum, shared);
    if (threadIdx.x == 0) y[0] = (float)(sum / (double)divisor);
}

// dx = dy / divisor, added to dx if `accumulate`. Launch: Shape::elements(len).
extern "C" __global__ void bitfit_sum_backward(const float* dy, u64 divisor, float* dx, u32 accumulate, u64 len) {
    float share = dy[0] / (float)divisor;
    FOR_EACH_ELEMENT(i, len) dx[i] = accumulate ? dx[i] + share : share;
}
