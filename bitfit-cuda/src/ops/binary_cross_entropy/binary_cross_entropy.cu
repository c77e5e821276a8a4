// The mean binary cross-entropy of logits against targets of the same shape, and its gradient.

// loss[0] = the mean of max(z, 0) - z t + ln(1 + exp(-|z|)), summed in f64. Logits are few: one block of 256 threads.
extern "C" __global__ void bitfit_binary_cross_entropy(
    const float* logits, const float* targets, float* loss, u64 len) {
    __shared__ double shared[256];
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < len; i += blockDim.x) {
        float z = logits[i];
        // The product alone may be large where the loss is not.
        sum += (double)fmaxf(z, 0.0f) - (double)z * (double)targets[i] + (double)log1pf(expf(-fabsf(z)));
    }
    sum = block_sum_f64(sum, shared);
    if (threadIdx.x == 0) loss[0] = (float)(sum / (double)len);
}

// dz = (1 / (1 + exp(-z)) - t) / len · dloss, added to dz if `accumulate`. Launch: Shape::elements(len).
extern "C" __global__ void bitfit_binary_cross_entropy_backward(
    const float* dloss, const float* logits, const float* targets, float* dlogits, u32 accumulate, u64 len) {
    float scale = dloss[0] / (float)len;
    FOR_EACH_ELEMENT(i, len) {
        // exp(-z) is infinite for a z far below zero, and the probability then zero.
        float gradient = scale * (1.0f / (1.0f + expf(-logits[i])) - targets[i]);
        dlogits[i] = accumulate ? dlogits[i] + gradient : gradient;
    }
}
