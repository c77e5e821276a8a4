// Sum, difference, product and scaling, element by element. b has b_len elements: as many as a, or one row that is
// broadcast. Launch: Shape::elements(len).

extern "C" __global__ void bitfit_add(const float* a, const float* b, float* y, u64 b_len, u64 len) {
    FOR_EACH_ELEMENT(i, len) y[i] = a[i] + b[i - quotient(i, b_len) * b_len];
}

extern "C" __global__ void bitfit_sub(const float* a, const float* b, float* y, u64 b_len, u64 len) {
    FOR_EACH_ELEMENT(i, len) y[i] = a[i] - b[i - quotient(i, b_len) * b_len];
}

extern "C" __global__ void bitfit_scale(const float* x, float factor, float* y, u32 accumulate, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        float product = __fmul_rn(factor, x[i]);
        y[i] = accumulate ? y[i] + product : product;
    }
}

extern "C" __global__ void bitfit_scale_in_place(float factor, float* x, u64 len) {
    FOR_EACH_ELEMENT(i, len) x[i] = factor * x[i];
}

extern "C" __global__ void bitfit_mul(const float* a, const float* b, float* y, u32 accumulate, u64 b_len, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        float product = a[i] * b[i - quotient(i, b_len) * b_len];
        y[i] = accumulate ? y[i] + product : product;
    }
}

// Adds the thread's column sums to `sum`.
template <bool WIDE>
__device__ __forceinline__ void column_dot_of_thread(
    const float* a, const float* b, u64 rows, u64 cols, const Tile& tile, float (&sum)[8]) {
    const u32 TOGETHER = Together<WIDE>::ROWS;
#pragma unroll 1
    for (u32 first = 0; first < THREAD_ROWS; first += TOGETHER) {
        Eight<float> left[TOGETHER], right[TOGETHER];
        read_rows<WIDE>(a, rows, cols, tile, first, left);
        read_rows<WIDE>(b, rows, cols, tile, first, right);
#pragma unroll
        for (u32 k = 0; k < TOGETHER; k++) {
            float x[8], y[8];
            unpack_eight(left[k], x);
            unpack_eight(right[k], y);
#pragma unroll
            for (u32 i = 0; i < 8; i++) sum[i] += x[i] * y[i];
        }
    }
}

// partial[down, j] = the sum over a tile's rows of a[t, j] b[t, j]. Launch: Shape::tiles(rows, cols).
extern "C" __global__ void __launch_bounds__(TILE_THREADS) bitfit_column_dot(
    const float* a, const float* b, u64 rows, u64 cols, float* partial) {
    __shared__ TileSums shared;
    Tile tile = tile_of_thread(cols);
    float sum[8] = {};
    if (tile.count == 8 && rows_are_aligned(a, cols) && rows_are_aligned(b, cols)) {
        column_dot_of_thread<true>(a, b, rows, cols, tile, sum);
    } else {
        column_dot_of_thread<false>(a, b, rows, cols, tile, sum);
    }
    put_column_sums(sum, tile, cols, partial, cols, shared);
}
