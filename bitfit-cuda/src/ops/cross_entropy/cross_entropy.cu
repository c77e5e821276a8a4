// The mean cross-entropy of the rows of [rows, classes] against one label per row, and its gradient.

// losses[t] = ln Σ exp(z - max z) - (z[label] - max z), and the softmax of the row if it is needed. A warp processes a
// row, its lanes the classes in turn. Launch: blocks of 128 threads, four rows each.
extern "C" __global__ void bitfit_cross_entropy_rows(
    const float* logits, const u32* labels, float* losses, float* probabilities, u64 rows, u64 classes) {
    u64 row = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    // This value is the same for all lanes of a warp.
    if (row < rows) {
        const float* z = logits + row * classes;
        float max = z[0];
        for (u64 j = lane; j < classes; j += 32) max = fmaxf(max, z[j]);
        max = warp_max(max);
        float sum = 0.0f;
        for (u64 j = lane; j < classes; j += 32) sum += expf(z[j] - max);
        sum = warp_sum(sum);
        if (probabilities) {
            for (u64 j = lane; j < classes; j += 32) probabilities[row * classes + j] = expf(z[j] - max) / sum;
        }
        if (lane == 0) losses[row] = logf(sum) - (z[labels[row]] - max);
    }
}

// loss[0] = the mean of the rows' losses, summed in f64. Launch: one block of 256 threads.
extern "C" __global__ void bitfit_cross_entropy_mean(const float* losses, float* loss, u64 rows) {
    __shared__ double shared[256];
    double sum = 0.0;
    for (u64 row = threadIdx.x; row < rows; row += blockDim.x) sum += (double)losses[row];
    sum = block_sum_f64(sum, shared);
    if (threadIdx.x == 0) loss[0] = (float)(sum / (double)rows);
}

// dz = (p - onehot(label)) / rows · dloss, added to dz if `accumulate`. Launch: Shape::elements(rows *
// classes).
extern "C" __global__ void bitfit_cross_entropy_backward(
    const float* dloss, const float* probabilities, const u32* labels, float* dlogits, u32 accumulate, u64 rows, u64 classes) {
    float scale = dloss[0] / (float)rows;
    FOR_EACH_ELEMENT(i, rows * classes) {
        u64 row = quotient(i, classes);
        float hit = i - row * classes == labels[row] ? 1.0f : 0.0f;
        float gradient = scale * (probabilities[i] - hit);
        dlogits[i] = accumulate ? dlogits[i] + gradient : gradient;
    }
}
