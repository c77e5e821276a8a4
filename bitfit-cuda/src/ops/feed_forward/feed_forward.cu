// What happens to the hidden matrix [rows, cols] of the feed-forward between its products, in one pass each way. Hidden and
// derivative are of one type.

// z + b to gelu(z + b) in place, and the derivative where it is asked for.
// Launch: Shape::elements(rows * cols).
template <class T>
__device__ __forceinline__ void bias_gelu(const float* bias, T* hidden, T* derivative, u64 cols, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        float z = load(hidden, i) + bias[i - quotient(i, cols) * cols];
        float distribution = normal_distribution(z);
        store(hidden, i, z * distribution);
        if (derivative) store(derivative, i, gelu_slope(z, distribution));
    }
}

// hidden = hidden ∘ derivative, and partial[block, j] = the sum over a block's rows of what that gives, before it is rounded. A
// thread takes a column of a block of rows. Launch: sums::shape(rows, cols). `partial` may be null.
template <class T>
__device__ __forceinline__ void backward(
    const T* derivative, T* hidden, u64 rows, u64 cols, u64 block_rows, float* partial) {
    u64 column = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= cols) return;
    u64 begin = blockIdx.y * block_rows, end = begin + block_rows < rows ? begin + block_rows : rows;
    float sum = 0.0f;
    for (u64 row = begin; row < end; row++) {
        u64 i = row * cols + column;
        float dz = load(hidden, i) * load(derivative, i);
        store(hidden, i, dz);
        sum += dz;
    }
    if (partial) partial[blockIdx.y * cols + column] = sum;
}

#define OF_TYPE(T, SUFFIX)                                                                                     \
    extern "C" __global__ void bitfit_feed_forward_bias_gelu_##SUFFIX(                                         \
        const float* bias, T* hidden, T* derivative, u64 cols, u64 len) {                                      \
        bias_gelu(bias, hidden, derivative, cols, len);                                                        \
    }                                                                                                          \
    extern "C" __global__ void bitfit_feed_forward_backward_##SUFFIX(                                          \
        const T* derivative, T* hidden, u64 rows, u64 cols, u64 block_rows, float* partial) {                  \
        backward(derivative, hidden, rows, cols, block_rows, partial);                                         \
    }

OF_TYPE(float, f32)
OF_TYPE(bf16, bf16)
