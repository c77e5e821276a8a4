// The mean squared error, and its gradient.

// loss[0] = Σ (x - t)² / len, summed in f64. Predictions are few: one block of 256 threads.
extern "C" __global__ void bitfit_mse(const float* x, const float* targets, float* loss, u64 len) {
    __shared__ double shared[256];
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < len; i += blockDim.x) {
        double difference = (double)x[i] - (double)targets[i];
        sum += difference * difference;
    }
    sum = block_sum_f64(sum, shared);
    if (threadIdx.x == 0) loss[0] = (float)(sum / (double)len);
}

// dx = 2 (x - t) / len · dloss, added to dx if `accumulate`. Launch: Shape::elements(len).
extern "C" __global__ void bitfit_mse_backward(
    const float* dloss, const float* x, const float* targets, float* dx, u32 accumulate, u64 len) {
    float scale = 2.0f / (float)len * dloss[0];
    FOR_EACH_ELEMENT(i, len) {
        float gradient = scale * (x[i] - targets[i]);
        dx[i] = accumulate ? dx[i] + gradient : gradient;
    }
}
