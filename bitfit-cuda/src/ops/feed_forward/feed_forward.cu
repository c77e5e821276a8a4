// The pass over the hidden matrix [rows, cols] of the feed-forward between its products, in each direction. Launch of
// all kernels: Shape::tiles(rows, cols).

// The derivative of the GELU in a byte, in steps of 1/200 (DERIVATIVE_STEP in bitfit-core): 200 d, rounded, plus 26. It
// is between -0.129 and 1.129, so the code is at most 252; 0 and 1 are exact. That of a NaN is a number: gelu(z) is NaN
// too, and so is the loss.
struct Slope8 {
    unsigned char code;
};
__device__ __forceinline__ u32 code_of_slope(float slope) { return (u32)__float2int_rn(slope * 200.0f) + 26u; }
__device__ __forceinline__ float slope_of_code(u32 code) { return ((float)(code & 0xffu) - 26.0f) * 0.005f; }

__device__ __forceinline__ float load(const Slope8* from, u64 i) { return slope_of_code(from[i].code); }
__device__ __forceinline__ void store(Slope8* to, u64 i, float slope) { to[i].code = (unsigned char)code_of_slope(slope); }

template <>
struct Eight<Slope8> {
    uint2 codes;
};
__device__ __forceinline__ void unpack_eight(const Eight<Slope8>& v, float (&x)[8]) {
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        x[i] = slope_of_code(v.codes.x >> (8 * i));
        x[4 + i] = slope_of_code(v.codes.y >> (8 * i));
    }
}
__device__ __forceinline__ void pack_eight(const float (&x)[8], Eight<Slope8>& v) {
    v.codes = make_uint2(0, 0);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        v.codes.x |= code_of_slope(x[i]) << (8 * i);
        v.codes.y |= code_of_slope(x[4 + i]) << (8 * i);
    }
}
__device__ __forceinline__ void write_vectors(Slope8* to, const float (&x)[8]) {
    Eight<Slope8> v;
    pack_eight(x, v);
    *reinterpret_cast<uint2*>(to) = v.codes;
}
__device__ __forceinline__ bool rows_are_aligned(const Slope8* at, u64 stride) { return (u64)at % 8 == 0 && stride % 8 == 0; }

template <bool WIDE, class T, class S>
__device__ __forceinline__ void bias_gelu_of_thread(
    const float* bias, T* hidden, S* derivative, u64 rows, u64 cols, const Tile& tile) {
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
template <class T, class S>
__device__ __forceinline__ void bias_gelu(const float* bias, T* hidden, S* derivative, u64 rows, u64 cols) {
    Tile tile = tile_of_thread(cols);
    if (tile.count == 8 && rows_are_aligned(hidden, cols) && rows_are_aligned(derivative, cols)) {
        bias_gelu_of_thread<true>(bias, hidden, derivative, rows, cols, tile);
    } else {
        bias_gelu_of_thread<false>(bias, hidden, derivative, rows, cols, tile);
    }
}

// Adds the thread's column sums to `sum`.
template <bool WIDE, class T, class S>
__device__ __forceinline__ void backward_of_thread(
    const S* derivative, T* hidden, u64 rows, u64 cols, const Tile& tile, float (&sum)[8]) {
    const u32 TOGETHER = Together<WIDE>::ROWS;
#pragma unroll 1
    for (u32 first = 0; first < THREAD_ROWS; first += TOGETHER) {
        Eight<T> gradients[TOGETHER];
        Eight<S> slopes[TOGETHER];
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
template <class T, class S>
__device__ __forceinline__ void backward(const S* derivative, T* hidden, u64 rows, u64 cols, float* partial, TileSums& shared) {
    Tile tile = tile_of_thread(cols);
    float sum[8] = {};
    if (tile.count == 8 && rows_are_aligned(hidden, cols) && rows_are_aligned(derivative, cols)) {
        backward_of_thread<true>(derivative, hidden, rows, cols, tile, sum);
    } else {
        backward_of_thread<false>(derivative, hidden, rows, cols, tile, sum);
    }
    if (partial) put_column_sums(sum, tile, cols, partial, cols, shared);
}

#define OF_TYPE(T, S, SUFFIX)                                                                                  \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS) bitfit_feed_forward_bias_gelu_##SUFFIX(         \
        const float* bias, T* hidden, S* derivative, u64 rows, u64 cols) {                                     \
        bias_gelu(bias, hidden, derivative, rows, cols);                                                       \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS) bitfit_feed_forward_backward_##SUFFIX(          \
        const S* derivative, T* hidden, u64 rows, u64 cols, float* partial) {                                  \
        __shared__ TileSums shared;                                                                            \
        backward(derivative, hidden, rows, cols, partial, shared);                                             \
    }

OF_TYPE(float, float, f32)
OF_TYPE(bf16, Slope8, bf16)
