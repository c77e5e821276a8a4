// Element-wise activations. Launch of all kernels: Shape::elements(len).

// NaN is propagated.
extern "C" __global__ void bitfit_relu(const float* x, float* y, u64 len) {
    FOR_EACH_ELEMENT(i, len) y[i] = x[i] <= 0.0f ? 0.0f : x[i];
}

// Computed in f64 and rounded once: backward uses 1 - y, which near saturation consists of the last bits of y.
extern "C" __global__ void bitfit_tanh(const float* x, float* y, u64 len) {
    FOR_EACH_ELEMENT(i, len) y[i] = (float)tanh((double)x[i]);
}

// Computed in f64, as tanh.
extern "C" __global__ void bitfit_sigmoid(const float* x, float* y, u64 len) {
    FOR_EACH_ELEMENT(i, len) y[i] = (float)(1.0 / (1.0 + exp(-(double)x[i])));
}

extern "C" __global__ void bitfit_exp(const float* x, float* y, u64 len) {
    FOR_EACH_ELEMENT(i, len) y[i] = (float)exp((double)x[i]);
}

// The exact GELU, x Φ(x), and its derivative Φ(x) + x φ(x) if `slope` is given.
extern "C" __global__ void bitfit_gelu(const float* x, float* y, float* slope, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        Gelu g = gelu(x[i]);
        y[i] = g.value;
        if (slope) slope[i] = g.slope;
    }
}

// dx = dy ∘ f', added to dx if `accumulate`; `kept` is y, or the derivative for GELU. Also for exp, whose derivative is
// y.

extern "C" __global__ void bitfit_relu_backward(const float* dy, const float* kept, float* dx, u32 accumulate, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        float gradient = kept[i] > 0.0f ? dy[i] : 0.0f;
        dx[i] = accumulate ? dx[i] + gradient : gradient;
    }
}

extern "C" __global__ void bitfit_gelu_backward(const float* dy, const float* kept, float* dx, u32 accumulate, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        float gradient = dy[i] * kept[i];
        dx[i] = accumulate ? dx[i] + gradient : gradient;
    }
}

extern "C" __global__ void bitfit_sigmoid_backward(const float* dy, const float* kept, float* dx, u32 accumulate, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        float gradient = dy[i] * (kept[i] * (1.0f - kept[i]));
        dx[i] = accumulate ? dx[i] + gradient : gradient;
    }
}

// Near saturation 1 - y is exact where 1 - y² is not.
extern "C" __global__ void bitfit_tanh_backward(const float* dy, const float* kept, float* dx, u32 accumulate, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        float gradient = dy[i] * ((1.0f - kept[i]) * (1.0f + kept[i]));
        dx[i] = accumulate ? dx[i] + gradient : gradient;
    }
}
