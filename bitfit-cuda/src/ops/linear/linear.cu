// The parts of a linear layer other than its products: the bias, its gradient, and the entries of the weight gradient
// that a mask chooses.

// Eight elements of concatenated vectors, or the first `count` and zeros.
__device__ __forceinline__ void read_parts(const Runs<const float*>& parts, u64 first, u32 count, float (&x)[8]) {
    Place<const float*> place = place_of(parts, first);
    if (place.rest >= count) {
        read_vector(place.at, count, x);
    } else {
#pragma unroll
        for (u32 i = 0; i < 8; i++) x[i] = i < count ? *place_of(parts, first + i).at : 0.0f;
    }
}

template <bool WIDE, class T>
__device__ __forceinline__ void add_bias_of_thread(const Runs<const float*>& parts, T* y, u64 rows, u64 stride, const Tile& tile) {
    const u32 TOGETHER = Together<WIDE>::ROWS;
    float b[8];
    read_parts(parts, tile.column, tile.count, b);
#pragma unroll 1
    for (u32 first = 0; first < THREAD_ROWS; first += TOGETHER) {
        Eight<T> products[TOGETHER];
        read_rows<WIDE>(y, rows, stride, tile, first, products);
#pragma unroll
        for (u32 k = 0; k < TOGETHER; k++) {
            u64 row = tile.row + (first + k) * TILE_WARPS;
            if (row >= rows) return;
            float x[8];
            unpack_eight(products[k], x);
#pragma unroll
            for (u32 i = 0; i < 8; i++) x[i] += b[i];
            write_eight<WIDE>(y + row * stride + tile.column, tile.count, x);
        }
    }
}

// y[t, first + j] += b[j] for the parts' `width` elements b; y [rows, cols]. Launch: Shape::tiles(rows, width).
template <class T>
__device__ __forceinline__ void add_bias(const Runs<const float*>& parts, u64 first, u64 width, T* y, u64 rows, u64 cols) {
    Tile tile = tile_of_thread(width);
    y += first;
    if (tile.count == 8 && rows_are_aligned(y, cols)) {
        add_bias_of_thread<true>(parts, y, rows, cols, tile);
    } else {
        add_bias_of_thread<false>(parts, y, rows, cols, tile);
    }
}

// Adds the thread's column sums to `sum`.
template <bool WIDE, class T>
__device__ __forceinline__ void column_sum_of_thread(const T* dy, u64 rows, u64 stride, const Tile& tile, float (&sum)[8]) {
    const u32 TOGETHER = Together<WIDE>::ROWS;
#pragma unroll 1
    for (u32 first = 0; first < THREAD_ROWS; first += TOGETHER) {
        Eight<T> gradients[TOGETHER];
        read_rows<WIDE>(dy, rows, stride, tile, first, gradients);
#pragma unroll
        for (u32 k = 0; k < TOGETHER; k++) {
            float x[8];
            unpack_eight(gradients[k], x);
#pragma unroll
            for (u32 i = 0; i < 8; i++) sum[i] += x[i];
        }
    }
}

// The sums of runs of dy's columns: partial[down, j] = the sum over a tile's rows of dy[t, column j of the runs]; dy
// [rows, cols], partial [tiles, `width`]. A tile lies within a run. Launch: Shape::tiles_of_runs(rows, the runs'
// lengths).
template <class T>
__device__ __forceinline__ void column_sum(
    const T* dy, u64 rows, u64 cols, const Runs<u64>& runs, u64 width, float* partial, TileSums& shared) {
    u32 across = 0;
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) across += tiles_across(runs.len[run]);
    u32 down = blockIdx.x / across, rest = blockIdx.x - down * across;
    // The tile's run, the tiles before it in the run, and the columns before the run.
    u64 first = 0, len = 0, before = 0, begin = 0;
    across = 0;
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) {
        u32 tiles = tiles_across(runs.len[run]);
        if (rest < tiles) first = runs.first[run], len = runs.len[run], before = begin, across = rest;
        // Below zero it is greater than any number of tiles.
        rest -= tiles;
        begin += runs.len[run];
    }
    Tile tile = tile_at(down, across, len);
    dy += first;
    float sum[8] = {};
    if (tile.count == 8 && rows_are_aligned(dy, cols)) {
        column_sum_of_thread<true>(dy, rows, cols, tile, sum);
    } else {
        column_sum_of_thread<false>(dy, rows, cols, tile, sum);
    }
    put_column_sums(sum, tile, len, partial + before, width, shared);
}

#define OF_TYPE(T, SUFFIX)                                                                                               \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS) bitfit_linear_add_bias_##SUFFIX(                          \
        const float* part0, u64 len0, const float* part1, u64 len1, const float* part2, u64 len2, const float* part3,    \
        u64 len3, u64 first, u64 width, T* y, u64 rows, u64 cols) {                                                      \
        Runs<const float*> parts = {{part0, part1, part2, part3}, {len0, len1, len2, len3}};                             \
        add_bias(parts, first, width, y, rows, cols);                                                                    \
    }                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS) bitfit_linear_column_sum_##SUFFIX(                        \
        u64 first0, u64 len0, u64 first1, u64 len1, u64 first2, u64 len2, u64 first3, u64 len3, u64 width, const T* dy,  \
        u64 rows, u64 cols, float* partial) {                                                                            \
        __shared__ TileSums shared;                                                                                      \
        Runs<u64> runs = {{first0, first1, first2, first3}, {len0, len1, len2, len3}};                                   \
        column_sum(dy, rows, cols, runs, width, partial, shared);                                                        \
    }

OF_TYPE(float, f32)
OF_TYPE(bf16, bf16)

// to[t, j] = from[t, at[j]]: the chosen columns of from [rows, cols]. Launch: Shape::elements(rows * chosen).
template <class T>
__device__ __forceinline__ void select_columns(const T* from, const u32* at, float* to, u64 rows, u64 cols, u64 chosen) {
    FOR_EACH_ELEMENT(i, rows * chosen) {
        u64 row = quotient(i, chosen);
        to[i] = load(from, row * cols + at[i - row * chosen]);
    }
}

// to[t, j] = from[t, first + j]: `len` columns of from [rows, cols]. Launch: Shape::elements(rows * len).
template <class T>
__device__ __forceinline__ void window(const T* from, T* to, u64 rows, u64 cols, u64 first, u64 len) {
    FOR_EACH_ELEMENT(i, rows * len) {
        u64 row = quotient(i, len);
        to[i] = from[row * cols + first + i - row * len];
    }
}

// dw[i] += Σₜ dy[t, first + out] x[t, in] of the chosen element out * in_features + in; dy [rows, dy_cols]. A warp
// processes an element, its lanes the rows in turn. Launch: Shape::warps(len).
template <class A, class B>
__device__ __forceinline__ void weight_elements(
    const A* dy, u64 dy_cols, u64 first, const B* x, const u32* chosen, float* dw, u64 rows, u64 in_features, u64 len) {
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    u32 lane = threadIdx.x % 32;
    // This value is the same for all lanes of a warp.
    if (i < len) {
        u64 out = chosen[i] / in_features, in = chosen[i] - out * in_features;
        float sum = 0.0f;
        for (u64 row = lane; row < rows; row += 32) {
            sum += load(dy, row * dy_cols + first + out) * load(x, row * in_features + in);
        }
        sum = warp_sum(sum);
        if (lane == 0) dw[i] += sum;
    }
}

#define COLUMNS_OF_TYPE(T, SUFFIX)                                                                                       \
    extern "C" __global__ void bitfit_linear_select_columns_##SUFFIX(                                                    \
        const T* from, const u32* at, float* to, u64 rows, u64 cols, u64 chosen) {                                       \
        select_columns(from, at, to, rows, cols, chosen);                                                                \
    }                                                                                                                    \
    extern "C" __global__ void bitfit_linear_window_##SUFFIX(                                                            \
        const T* from, T* to, u64 rows, u64 cols, u64 first, u64 len) {                                                  \
        window(from, to, rows, cols, first, len);                                                                        \
    }

COLUMNS_OF_TYPE(float, f32)
COLUMNS_OF_TYPE(bf16, bf16)

#define ELEMENTS_OF_TYPES(A, B, SUFFIX)                                                                                  \
    extern "C" __global__ void bitfit_linear_weight_elements_##SUFFIX(                                                   \
        const A* dy, u64 dy_cols, u64 first, const B* x, const u32* chosen, float* dw, u64 rows, u64 in_features,        \
        u64 len) {                                                                                                       \
        weight_elements(dy, dy_cols, first, x, chosen, dw, rows, in_features, len);                                      \
    }

ELEMENTS_OF_TYPES(float, float, f32_f32)
ELEMENTS_OF_TYPES(float, bf16, f32_bf16)
ELEMENTS_OF_TYPES(bf16, float, bf16_f32)
ELEMENTS_OF_TYPES(bf16, bf16, bf16_bf16)
