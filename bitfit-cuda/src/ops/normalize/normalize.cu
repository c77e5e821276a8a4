// Rows of [rows, cols] divided by their lengths, and the backward. A warp processes a row, its lanes the columns in
// turn. Launch: blocks of 128 threads, four rows each.

// The smallest length by which a row is divided.
#define EPS 1e-12f

// y = x / max(‖x‖, ε), and inverse = 1 / max(‖x‖, ε).
extern "C" __global__ void bitfit_normalize(const float* x, float* y, float* inverse, u64 rows, u64 cols) {
    u64 row = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    // This value is the same for all lanes of a warp.
    if (row < rows) {
        x += row * cols;
        y += row * cols;
        float sum = 0.0f;
        for (u64 j = lane; j < cols; j += 32) sum = fmaf(x[j], x[j], sum);
        float factor = 1.0f / fmaxf(sqrtf(warp_sum(sum)), EPS);
        for (u64 j = lane; j < cols; j += 32) y[j] = x[j] * factor;
        if (lane == 0) inverse[row] = factor;
    }
}

// dx = (dy - y Σ dy y) · inverse, without the sum where the length was below ε; added to dx if `accumulate`.
extern "C" __global__ void bitfit_normalize_backward(
    const float* dy, const float* y, const float* inverse, float* dx, u32 accumulate, u64 rows, u64 cols) {
    u64 row = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    if (row < rows) {
        dy += row * cols;
        y += row * cols;
        dx += row * cols;
        float factor = inverse[row], dot = 0.0f;
        for (u64 j = lane; j < cols; j += 32) dot = fmaf(dy[j], y[j], dot);
        dot = factor < 1.0f / EPS ? warp_sum(dot) : 0.0f;
        for (u64 j = lane; j < cols; j += 32) {
            float gradient = (dy[j] - y[j] * dot) * factor;
            dx[j] = accumulate ? dx[j] + gradient : gradient;
        }
    }
}
