// One optimizer step in three kernels: squares summed by blocks, the norm, and the step, which reads the norm on the
// device.

// partial[block] = the sum of the squares of `chunk` elements of g, in f64. Launch: 256 threads, a block per chunk.
extern "C" __global__ void bitfit_adamw_squares(const float* g, u64 len, u64 chunk, double* partial) {
    __shared__ double shared[256];
    u64 begin = blockIdx.x * chunk, end = begin + chunk < len ? begin + chunk : len;
    double sum = 0.0;
    for (u64 i = begin + threadIdx.x; i < end; i += blockDim.x) sum += (double)g[i] * (double)g[i];
    sum = block_sum_f64(sum, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// norm[0] = the root of all squares. Launch: one block of 256 threads.
extern "C" __global__ void bitfit_adamw_norm(const double* partial, u64 blocks, float* norm) {
    __shared__ double shared[256];
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < blocks; i += blockDim.x) sum += partial[i];
    sum = block_sum_f64(sum, shared);
    if (threadIdx.x == 0) norm[0] = (float)sqrt(sum);
}

// The step of bitfit-core/src/ops/adamw/mod.rs, in its order and rounding. Does nothing if the norm is not finite. The
// compiler may fuse a product with the following sum; __fmul_rn marks the products that the CPU and PyTorch round
// separately. Launch: Shape::elements(len).
extern "C" __global__ void bitfit_adamw_step(
    float* p, const float* g, float* m, float* v, const float* norm, u32 clips, float max_norm, float keep, float one_minus_beta1,
    float beta2, float one_minus_beta2, float root, float eps, float step_size, u64 len) {
    float n = norm[0];
    // Whether the value is neither infinite nor NaN.
    if ((__float_as_uint(n) & 0x7f800000u) == 0x7f800000u) return;
    float factor = clips ? fminf(max_norm / (n + 1e-6f), 1.0f) : 1.0f;
    bool from_m = one_minus_beta1 < 0.5f;
    float towards_g = from_m ? one_minus_beta1 : one_minus_beta1 - 1.0f;
    FOR_EACH_ELEMENT(i, len) {
        float gradient = __fmul_rn(g[i], factor), old = m[i];
        float first = fmaf(towards_g, gradient - old, from_m ? old : gradient);
        float second = fmaf(__fmul_rn(one_minus_beta2, gradient), gradient, __fmul_rn(v[i], beta2));
        float divisor = sqrtf(second) / root + eps;
        m[i] = first;
        v[i] = second;
        p[i] = __fmul_rn(p[i], keep) - __fmul_rn(step_size, first) / divisor;
    }
}
