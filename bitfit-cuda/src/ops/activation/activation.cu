// Functions of one element. Launch: Shape::elements(len), all of them.

// A NaN passes.
extern "C" __global__ void bitfit_relu(const float* x, float* y, u64 len) {
    FOR_EACH_ELEMENT(i, len) y[i] = x[i] <= 0.0f ? 0.0f : x[i];
}

// In f64, rounded once: backward takes 1 - y, and near saturation little more is left of it than the last bits of y.
extern "C" __global__ void bitfit_tanh(const float* x, float* y, u64 len) {
    FOR_EACH_ELEMENT(i, len) y[i] = (float)tanh((double)x[i]);
}

// The exact GELU, x Φ(x), and its derivative Φ(x) + x φ(x) where it is asked for.
extern "C" __global__ void bitfit_gelu(const float* x, float* y, float* slope, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        Gelu g = gelu(x[i]);
        y[i] = g.value;
        if (slope) slope[i] = g.slope;
    }
}

// dx = dy ∘ f', added to dx where `accumulate` says so; `kept` is y, for the GELU the derivative.

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

// Near saturation 1 - y is exact where 1 - y² is not.
extern "C" __global__ void bitfit_tanh_backward(const float* dy, const float* kept, float* dx, u32 accumulate, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        float gradient = dy[i] * ((1.0f - kept[i]) * (1.0f + kept[i]));
        dx[i] = accumulate ? dx[i] + gradient : gradient;
    }
}
