// Code that the kernels on tensor cores share: tiles of a head in shared memory, and their products. It follows
// attention.cuh and precedes attention_mma.cu and attention_short.cu.
//
// A warp takes sixteen rows. They, or a product of them, are the left operand of every product (FlashAttention-2: Dao,
// arXiv 2307.08691, section 3): after rounding, the result of a product is already in the register layout of a left
// operand: in lane 4 g + t, c[0 1] of two neighbouring products of eight columns are a[0] and a[2], c[2 3] are a[1] and
// a[3] (see `mma_bf16_m16n8k16`). The right operands are row-major in shared memory, and `load_matrices` reads them
// directly or transposed. Lines in shared memory are eight elements longer than a row, which puts the eight lines that
// are read at once in different banks. A head with fewer columns than DIM is padded with zeros.

// The padding of a row in shared memory, in elements.
#define PAD 8

// Turing has no tensor cores for bfloat16 and uses attention.cu.
#if __CUDA_ARCH__ >= 800

// The first of a warp's rows.
__device__ __forceinline__ u32 warp_row() { return threadIdx.x / 32 * 16; }

// Copies `rows` rows of a head's columns, from row `first` on, to lines of DIM + PAD, and zeros to the lines after
// them, up to `lines`. The copy is complete after `wait_for_copies` and a barrier.
template <int DIM>
__device__ __forceinline__ void copy_rows(
    const bf16* from, u64 stride, u64 first, u32 rows, u32 lines, u32 column, u32 dim, bf16* to) {
    from += first * stride + column;
    for (u32 i = threadIdx.x; i < lines * (DIM / 8); i += blockDim.x) {
        u32 row = i / (DIM / 8), d = 8 * (i % (DIM / 8));
        // If nothing is read, the address has to be valid nevertheless.
        bool there = row < rows && d < dim;
        copy_16_bytes(to + row * (DIM + PAD) + d, there ? from + row * stride + d : from, there);
    }
}

// Left operands: sixteen rows from `row` on, sixteen columns from `column` on; and those of a matrix that is stored
// transposed.
template <int LINE>
__device__ __forceinline__ void left_operand(const bf16* from, u32 row, u32 column, u32 (&a)[4]) {
    u32 lane = threadIdx.x % 32;
    load_matrices(a, from + (row + lane % 16) * LINE + column + lane / 16 * 8);
}
template <int LINE>
__device__ __forceinline__ void left_operand_transposed(const bf16* from, u32 row, u32 column, u32 (&a)[4]) {
    u32 lane = threadIdx.x % 32;
    load_matrices_transposed(a, from + (column + lane / 16 * 8 + lane % 8) * LINE + row + lane / 8 % 2 * 8);
}

// The result of a product for sixteen columns, rounded: a left operand.
__device__ __forceinline__ void left_operand(const float (&low)[4], const float (&high)[4], u32 (&a)[4]) {
    a[0] = pack_bf16(low[0], low[1]);
    a[1] = pack_bf16(low[2], low[3]);
    a[2] = pack_bf16(high[0], high[1]);
    a[3] = pack_bf16(high[2], high[3]);
}

// Two products with neighbouring columns.
__device__ __forceinline__ void multiply_pair(const u32 (&a)[4], const u32 (&b)[4], float (&c)[4], float (&next)[4]) {
    u32 left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
    mma_bf16_m16n8k16(c, a, left);
    mma_bf16_m16n8k16(next, a, right);
}

// c += a · bᵀ over sixteen columns of b from `column` on. b's rows are c's columns; those from `count` on are skipped.
template <int COLUMNS, int LINE>
__device__ __forceinline__ void multiply_by_rows(const u32 (&a)[4], const bf16* b, u32 column, u32 count, float (&c)[COLUMNS / 8][4]) {
    u32 lane = threadIdx.x % 32, right[4];
    const bf16* row = b + (lane / 16 * 8 + lane % 8) * LINE + column + lane / 8 % 2 * 8;
#pragma unroll
    for (u32 n = 0; n < COLUMNS / 16; n++) {
        if (16 * n >= count) break;
        load_matrices(right, row + 16 * n * LINE);
        multiply_pair(a, right, c[2 * n], c[2 * n + 1]);
    }
}

// c += a · b over sixteen rows of b from `row` on. b's columns are c's.
template <int COLUMNS, int LINE>
__device__ __forceinline__ void multiply_by_columns(const u32 (&a)[4], const bf16* b, u32 row, float (&c)[COLUMNS / 8][4]) {
    u32 lane = threadIdx.x % 32, right[4];
    const bf16* at = b + (row + lane % 16) * LINE + lane / 16 * 8;
#pragma unroll
    for (u32 n = 0; n < COLUMNS / 16; n++) {
        load_matrices_transposed(right, at + 16 * n);
        multiply_pair(a, right, c[2 * n], c[2 * n + 1]);
    }
}

template <int N>
__device__ __forceinline__ void clear(float (&c)[N][4]) {
#pragma unroll
    for (u32 n = 0; n < N; n++) c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0.0f;
}

// Exchanges one of two words with the lane at a distance: the lower lane then has the first words of both, the upper
// one the second.
__device__ __forceinline__ void exchange(u32& first, u32& second, u32 distance) {
    bool upper = threadIdx.x & distance;
    u32 other = __shfl_xor_sync(FULL_WARP, upper ? first : second, distance);
    (upper ? first : second) = other;
}

// Transposes the words of the four lanes that share rows: word i of lane t becomes word t of lane i.
__device__ __forceinline__ void transpose_of_four(u32 (&words)[4]) {
    exchange(words[0], words[1], 1);
    exchange(words[2], words[3], 1);
    exchange(words[0], words[2], 2);
    exchange(words[1], words[3], 2);
}

// Writes a warp's sixteen rows, times a factor for the upper and one for the lower eight, to `rows` rows from row
// `first` on. A lane has two columns of each product; lanes exchange them so that each writes all eight columns of one
// product at once.
template <int DIM>
__device__ __forceinline__ void store_rows(
    bf16* to, u64 stride, u64 first, u32 rows, u64 column, u32 dim, const float (&c)[DIM / 8][4], float upper, float lower) {
    u32 lane = threadIdx.x % 32;
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        u32 row = warp_row() + lane / 4 + 8 * half;
        float factor = half ? lower : upper;
#pragma unroll
        for (u32 n = 0; n < DIM / 8; n += 4) {
            u32 words[4], d = 8 * (n + lane % 4);
#pragma unroll
            for (u32 i = 0; i < 4; i++) words[i] = pack_bf16(c[n + i][2 * half] * factor, c[n + i][2 * half + 1] * factor);
            transpose_of_four(words);
            if (row < rows && d < dim)
                write_16_bytes(to + (first + row) * stride + column + d, make_uint4(words[0], words[1], words[2], words[3]));
        }
    }
}

// The sum and the maximum over the four lanes that share rows, in each of them.
__device__ __forceinline__ float sum_of_four(float x) {
    x += __shfl_xor_sync(FULL_WARP, x, 2);
    return x + __shfl_xor_sync(FULL_WARP, x, 1);
}
__device__ __forceinline__ float max_of_four(float x) {
    x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 2));
    return fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 1));
}

// log₂ e: eˣ is 2 to the power of x · log₂ e.
#define LOG2_E 1.4426950408889634f
#endif
