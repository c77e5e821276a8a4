// The step of bitfit-core/src/ops/sgd/mod.rs. Does nothing if the norm is not finite. `v` is null without momentum.
// Launch: Shape::elements(len).
extern "C" __global__ void bitfit_sgd_step(
    float* p, const float* g, float* v, const float* norm, u32 clips, float max_norm, float lr, float momentum,
    float weight_decay, u32 nesterov, u64 len) {
    float n = norm[0];
    // Whether the value is neither infinite nor NaN.
    if ((__float_as_uint(n) & 0x7f800000u) == 0x7f800000u) return;
    float factor = clips ? fminf(max_norm / (n + 1e-6f), 1.0f) : 1.0f;
    FOR_EACH_ELEMENT(i, len) {
        float gradient = fmaf(weight_decay, p[i], __fmul_rn(g[i], factor)), direction = gradient;
        if (v) {
            float velocity = fmaf(momentum, v[i], gradient);
            v[i] = velocity;
            direction = nesterov ? fmaf(momentum, velocity, gradient) : velocity;
        }
        p[i] = fmaf(-lr, direction, p[i]);
    }
}
