// The cross-entropy with weights of the classes, smoothed labels or the focal factor, and its gradient. A warp
// processes a row of [rows, classes], its lanes the classes in turn.

// What a row's loss and gradient are made of; the same for all lanes of a warp.
struct Row {
    float max;
    // ln Σ exp(z - max)
    float lse;
    // l[y] = -ln p[y], and 1 - p[y]
    float own, miss;
};

__device__ __forceinline__ Row row_of(const float* z, u32 label, u32 lane, u64 classes) {
    Row row;
    row.max = z[0];
    for (u64 j = lane; j < classes; j += 32) row.max = fmaxf(row.max, z[j]);
    row.max = warp_max(row.max);
    float sum = 0.0f;
    for (u64 j = lane; j < classes; j += 32) sum += expf(z[j] - row.max);
    row.lse = logf(warp_sum(sum));
    row.own = row.lse - (z[label] - row.max);
    row.miss = -expm1f(-row.own);
    return row;
}

// losses[t] = w[y] (1 - ε) (1 - p[y])^γ l[y] + ε / C Σ w[c] l[c]. Launch: blocks of 128 threads, four rows each.
extern "C" __global__ void bitfit_weighted_cross_entropy_rows(
    const float* logits, const u32* labels, const float* weights, float* losses, float smoothing, float gamma, u64 rows,
    u64 classes) {
    u64 t = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    // This value is the same for all lanes of a warp.
    if (t < rows) {
        const float* z = logits + t * classes;
        u32 label = labels[t];
        Row row = row_of(z, label, lane, classes);
        float all = 0.0f;
        if (smoothing > 0.0f) {
            for (u64 j = lane; j < classes; j += 32) all += weights[j] * (row.lse - (z[j] - row.max));
            all = warp_sum(all);
        }
        if (lane == 0) {
            float focal = gamma > 0.0f ? powf(row.miss, gamma) : 1.0f;
            losses[t] = weights[label] * (1.0f - smoothing) * focal * row.own + smoothing / (float)classes * all;
        }
    }
}

// loss[0] = the sum of the rows' losses, in f64, divided by `total`. Launch: one block of 256 threads.
extern "C" __global__ void bitfit_weighted_cross_entropy_mean(const float* losses, float* loss, float total, u64 rows) {
    __shared__ double shared[256];
    double sum = 0.0;
    for (u64 row = threadIdx.x; row < rows; row += blockDim.x) sum += (double)losses[row];
    sum = block_sum_f64(sum, shared);
    if (threadIdx.x == 0) loss[0] = (float)(sum / (double)total);
}

// dz[c] = (w[y] (1 - ε) f (p[c] - hit) + ε / C (p[c] Σ w - w[c])) / total · dloss, where f is
// (1 - p[y])^γ (1 + γ p[y] l[y] / (1 - p[y])); added to dz if `accumulate`. Launch as the rows.
extern "C" __global__ void bitfit_weighted_cross_entropy_backward(
    const float* dloss, const float* logits, const u32* labels, const float* weights, float* dlogits, u32 accumulate,
    float smoothing, float gamma, float total, u64 rows, u64 classes) {
    u64 t = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    if (t < rows) {
        const float* z = logits + t * classes;
        u32 label = labels[t];
        Row row = row_of(z, label, lane, classes);
        float sum = 0.0f;
        for (u64 j = lane; j < classes; j += 32) sum += weights[j];
        sum = warp_sum(sum);
        float focal = 1.0f;
        if (gamma > 0.0f) {
            // The limit of l / (1 - p) where p is 1.
            float ratio = row.miss > 0.0f ? row.own / row.miss : 1.0f;
            focal = powf(row.miss, gamma) * (1.0f + gamma * expf(-row.own) * ratio);
        }
        float of_label = weights[label] * (1.0f - smoothing) * focal, spread = smoothing / (float)classes;
        float scale = dloss[0] / total;
        for (u64 j = lane; j < classes; j += 32) {
            float p = expf(z[j] - row.max - row.lse);
            float from_label = j == label ? -row.miss : p;
            float gradient = scale * (of_label * from_label + spread * (p * sum - weights[j]));
            float* dz = dlogits + t * classes + j;
            *dz = accumulate ? *dz + gradient : gradient;
        }
    }
}
