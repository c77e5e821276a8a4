// The linear's parts beside its products: the bias, its gradient, and the entries of the weight's gradient that a mask chooses.

// y[t, first + j] += bias[j]: a part of the bias, `width` columns of y [rows, cols]. Launch: Shape::elements(rows * width).
template <class T>
__device__ __forceinline__ void add_bias(const float* bias, u64 first, u64 width, T* y, u64 rows, u64 cols) {
    FOR_EACH_ELEMENT(i, rows * width) {
        u64 row = quotient(i, width), column = i - row * width, at = row * cols + first + column;
        store(y, at, load(y, at) + bias[column]);
    }
}

// partial[block, j] = the sum over a block's rows of dy[t, first + j]; dy [rows, cols]. Launch: sums::shape(rows, width).
template <class T>
__device__ __forceinline__ void column_sum(
    const T* dy, u64 rows, u64 cols, u64 first, u64 width, u64 block_rows, float* partial) {
    u64 column = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    u64 begin = blockIdx.y * block_rows, end = begin + block_rows < rows ? begin + block_rows : rows;
    float sum = 0.0f;
    for (u64 row = begin; row < end; row++) sum += load(dy, row * cols + first + column);
    partial[blockIdx.y * width + column] = sum;
}

#define OF_TYPE(T, SUFFIX)                                                                                       \
    extern "C" __global__ void bitfit_linear_add_bias_##SUFFIX(                                                  \
        const float* bias, u64 first, u64 width, T* y, u64 rows, u64 cols) {                                     \
        add_bias(bias, first, width, y, rows, cols);                                                             \
    }                                                                                                            \
    extern "C" __global__ void bitfit_linear_column_sum_##SUFFIX(                                                \
        const T* dy, u64 rows, u64 cols, u64 first, u64 width, u64 block_rows, float* partial) {                 \
        column_sum(dy, rows, cols, first, width, block_rows, partial);                                           \
    }

OF_TYPE(float, f32)
OF_TYPE(bf16, bf16)

// to[t, j] = from[t, at[j]]: the chosen columns of from [rows, cols] side by side. Launch: Shape::elements(rows * chosen).
extern "C" __global__ void bitfit_linear_select_columns(
    const float* from, const u32* at, float* to, u64 rows, u64 cols, u64 chosen) {
    FOR_EACH_ELEMENT(i, rows * chosen) {
        u64 row = quotient(i, chosen);
        to[i] = from[row * cols + at[i - row * chosen]];
    }
}

// dw[i] += Σₜ dy[t, out] x[t, in] of the chosen element out * in_features + in. A warp takes an element, its lanes the rows in
// turn. Launch: blocks of 128 threads, four elements each.
extern "C" __global__ void bitfit_linear_weight_elements(
    const float* dy, const float* x, const u32* chosen, float* dw, u64 rows, u64 out_features, u64 in_features, u64 len) {
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    // The same for all lanes of a warp.
    if (i < len) {
        u64 out = chosen[i] / in_features, in = chosen[i] - out * in_features;
        float sum = 0.0f;
        for (u64 row = lane; row < rows; row += 32) sum += dy[row * out_features + out] * x[row * in_features + in];
        sum = warp_sum(sum);
        if (lane == 0) dw[i] += sum;
    }
}
