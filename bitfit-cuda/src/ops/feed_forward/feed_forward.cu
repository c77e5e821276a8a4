// The pass over the hidden matrix [rows, cols] of the feed-forward between its products, in each direction. The hidden
// matrix and the derivative have the same type. Launch of all kernels: Shape::tiles(rows, cols).

template <bool WIDE, class T>
__device__ __forceinline__ void bias_gelu_of_thread(
    const float* bias, T* hidden, T* derivative, u64 rows, u64 cols, const Tile& tile) {
    const u32 TOGETHER = Together<WIDE>::ROWS;
    float b[8];
    read_vector(bias + tile.column, tile.count, b);
#pragma unroll 1
    for (u32 first = 0; first < THREAD_ROWS; first += TOGETHER) {
        Eight<T> products[TOGETHER];
        read_rows<WIDE>(hidden, rows, cols, tile, first, products);
#pragma unroll
        for (u32 k = 0; k < TOGETHER; k++) {
            u64 row = tile.row + (first + k) * TILE_WARPS;
            if (row >= rows) return;
            float value[8], slope[8];
            unpack_eight(products[k], value);
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                Gelu g = gelu(value[i] + b[i]);
                value[i] = g.value;
                slope[i] = g.slope;
            }
            u64 at = row * cols + tile.column;
            write_eight<WIDE>(hidden + at, tile.count, value);
            if (derivative) write_eight<WIDE>(derivative + at, tile.count, slope);
        }
    }
}

// Replaces z by gelu(z + b), and writes the derivative if it is needed.
template <class T>
__device__ __forceinline__ void bias_gelu(const float* bias, T* hidden, T* derivative, u64 rows, u64 cols) {
    Tile tile = tile_of_thread(cols);
    if (tile.count == 8 && rows_are_aligned(hidden, cols) && rows_are_aligned(derivative, cols)) {
        bias_gelu_of_thread<true>(bias, hidden, derivative, rows, cols, tile);
    } else {
        bias_gelu_of_thread<false>(bias, hidden, derivative, rows, cols, tile);
    }
}

// Adds the thread's column sums to `sum`.
template <bool WIDE, class T>
__device__ __forceinline__ void backward_of_thread(
    const T* derivative, T* hidden, u64 rows, u64 cols, const Tile& tile, float (&sum)[8]) {
    const u32 TOGETHER = Together<WIDE>::ROWS;
#pragma unroll 1
    for (u32 first = 0; first < THREAD_ROWS; first += TOGETHER) {
        Eight<T> gradients[TOGETHER], slopes[TOGETHER];
        read_rows<WIDE>(hidden, rows, cols, tile, first, gradients);
        read_rows<WIDE>(derivative, rows, cols, tile, first, slopes);
#pragma unroll
        for (u32 k = 0; k < TOGETHER; k++) {
            u64 row = tile.row + (first + k) * TILE_WARPS;
            if (row >= rows) return;
            float dz[8], slope[8];
            unpack_eight(gradients[k], dz);
            unpack_eight(slopes[k], slope);
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                dz[i] *= slope[i];
                sum[i] += dz[i];
            }
            write_eight<WIDE>(hidden + row * cols + tile.column, tile.count, dz);
        }
    }
}

// hidden = hidden ∘ derivative, and partial[down, j] = the sum of the result over the rows of the tile, before
// rounding. `partial` may be null.
template <class T>
__device__ __forceinline__ void backward(const T* derivative, T* hidden, u64 rows, u64 cols, float* partial, TileSums& shared) {
    Tile tile = tile_of_thread(cols);
    float sum[8] = {};
    if (tile.count == 8 && rows_are_aligned(hidden, cols) && rows_are_aligned(derivative, cols)) {
        backward_of_thread<true>(derivative, hidden, rows, cols, tile, sum);
    } else {
        backward_of_thread<false>(derivative, hidden, rows, cols, tile, sum);
    }
    if (partial) put_column_sums(sum, tile, cols, partial, cols, shared);
}

#define OF_TYPE(T, SUFFIX)                                                                                     \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS) bitfit_feed_forward_bias_gelu_##SUFFIX(         \
        const float* bias, T* hidden, T* derivative, u64 rows, u64 cols) {                                     \
        bias_gelu(bias, hidden, derivative, rows, cols);                                                       \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS) bitfit_feed_forward_backward_##SUFFIX(          \
        const T* derivative, T* hidden, u64 rows, u64 cols, float* partial) {                                  \
        __shared__ TileSums shared;                                                                            \
        backward(derivative, hidden, rows, cols, partial, shared);                                             \
    }

OF_TYPE(float, f32)
OF_TYPE(bf16, bf16)
