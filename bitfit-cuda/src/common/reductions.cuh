// Reductions: sums and maxima over a warp, a block, and memory.

#define FULL_WARP 0xffffffffu

// The sum over a warp's 32 lanes, in every lane.
__device__ __forceinline__ float warp_sum(float x) {
    for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(FULL_WARP, x, distance);
    return x;
}

// The maximum over the 32 lanes of a warp, in every lane.
__device__ __forceinline__ float warp_max(float x) {
    for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, distance));
    return x;
}

// The maximum over a block, in every thread. `shared` has a float for each warp; all threads call it, and can call it
// again immediately.
__device__ __forceinline__ float block_max(float x, float* shared) {
    x = warp_max(x);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    float max = shared[0];
    for (u32 warp = 1; warp < blockDim.x / 32; warp++) max = fmaxf(max, shared[warp]);
    __syncthreads();
    return max;
}

// The sum of `count` elements that are `stride` apart, in their order. The loads of a group overlap: the sums of blocks
// are short and dominated by the latency of loads. Groups are complete, because the compiler would serialise loads that
// are checked one by one.
template <u32 GROUP>
__device__ __forceinline__ void add_groups(const float*& from, u64& count, u64 stride, float& sum) {
    for (; count >= GROUP; count -= GROUP) {
        float x[GROUP];
#pragma unroll
        for (u32 i = 0; i < GROUP; i++, from += stride) x[i] = *from;
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) sum += x[i];
    }
}
__device__ __forceinline__ float sum_of_every(const float* from, u64 count, u64 stride) {
    float sum = 0.0f;
    add_groups<8>(from, count, stride, sum);
    add_groups<4>(from, count, stride, sum);
    add_groups<1>(from, count, stride, sum);
    return sum;
}

// The f64 sum over a block, in thread 0. `shared` has room for a double a thread; the block's size is a power of two.
__device__ __forceinline__ double block_sum_f64(double x, double* shared) {
    shared[threadIdx.x] = x;
    __syncthreads();
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    return shared[0];
}
