// The features of pairs of rows, and their backward. x [2 rows, cols] holds the two rows of each pair one after the
// other; y is [rows, 4 cols].

// y = [u, v, |u - v|, u ∘ v]. Launch: Shape::elements(len), the elements of u.
extern "C" __global__ void bitfit_pair_features(const float* x, float* y, u64 cols, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        u64 row = quotient(i, cols), at = i + row * cols;
        float u = x[at], v = x[at + cols];
        float* to = y + row * 4 * cols + (i - row * cols);
        to[0] = u;
        to[cols] = v;
        to[2 * cols] = fabsf(u - v);
        to[3 * cols] = u * v;
    }
}

// du = dy₁ + s ∘ dy₃ + v ∘ dy₄ and dv = dy₂ - s ∘ dy₃ + u ∘ dy₄, added to dx if `accumulate`; s is the sign of u - v.
// Launch: Shape::elements(len), the elements of u.
extern "C" __global__ void bitfit_pair_features_backward(
    const float* dy, const float* x, float* dx, u32 accumulate, u64 cols, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        u64 row = quotient(i, cols), at = i + row * cols;
        float u = x[at], v = x[at + cols];
        const float* from = dy + row * 4 * cols + (i - row * cols);
        float sign = u > v ? 1.0f : u < v ? -1.0f : 0.0f;
        float of_difference = sign * from[2 * cols], of_product = from[3 * cols];
        float du = from[0] + of_difference + v * of_product, dv = from[cols] - of_difference + u * of_product;
        dx[at] = accumulate ? dx[at] + du : du;
        dx[at + cols] = accumulate ? dx[at + cols] + dv : dv;
    }
}
