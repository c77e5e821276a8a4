// The cross-entropy of choosing a row of each sequence of [T, columns], once for each column, and its gradient. The
// mean of the losses is the kernel of cross_entropy.

// losses[b, k] = ln Σ exp(z - max z) - (z[target] - max z) over the rows of sequence b in column k, and the softmax of
// these rows if it is needed. A warp takes a sequence and a column. Launch: Shape::warps(sequences * columns).
extern "C" __global__ void bitfit_sequence_cross_entropy(
    const float* logits, const u32* offsets, const u32* targets, float* losses, float* probabilities, u64 count,
    u64 columns) {
    u64 item = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    // This value is the same for all lanes of a warp.
    if (item < count) {
        u64 sequence = quotient(item, columns), column = item - sequence * columns;
        u64 first = offsets[sequence], end = offsets[sequence + 1];
        float max = logits[first * columns + column];
        for (u64 row = first + lane; row < end; row += 32) max = fmaxf(max, logits[row * columns + column]);
        max = warp_max(max);
        float sum = 0.0f;
        for (u64 row = first + lane; row < end; row += 32) sum += expf(logits[row * columns + column] - max);
        sum = warp_sum(sum);
        if (probabilities) {
            for (u64 row = first + lane; row < end; row += 32) {
                u64 i = row * columns + column;
                probabilities[i] = expf(logits[i] - max) / sum;
            }
        }
        if (lane == 0) losses[item] = logf(sum) - (logits[targets[item] * columns + column] - max);
    }
}

// dz = (p - [row = target]) / count · dloss, added to dz if `accumulate`. A warp takes a sequence and a column. Launch:
// Shape::warps(sequences * columns).
extern "C" __global__ void bitfit_sequence_cross_entropy_backward(
    const float* dloss, const float* probabilities, const u32* offsets, const u32* targets, float* dlogits,
    u32 accumulate, u64 count, u64 columns) {
    u64 item = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    if (item < count) {
        u64 sequence = quotient(item, columns), column = item - sequence * columns;
        float scale = dloss[0] / (float)count;
        for (u64 row = offsets[sequence] + lane; row < offsets[sequence + 1]; row += 32) {
            u64 i = row * columns + column;
            float gradient = scale * (probabilities[i] - (row == targets[item] ? 1.0f : 0.0f));
            dlogits[i] = accumulate ? dlogits[i] + gradient : gradient;
        }
    }
}
