// Sums of rows of tables, and the gradient of a table.

// The number of lookups that one launch sums, as in mod.rs; unused ones are null.
#define LOOKUPS 4

struct Lookups {
    const u32* at[LOOKUPS];
    const float* table[LOOKUPS];
};

// Eight columns of a token, or the first `count`.
template <bool WIDE>
__device__ __forceinline__ void embedding_of_thread(
    const Lookups& lookups, float* y, u32 accumulate, u64 token, u64 column, u32 count, u64 cols) {
    // All are read before the first is added, so that the loads overlap.
    Eight<float> before = {}, rows[LOOKUPS];
    if (accumulate) before = read_eight<WIDE>(y + token * cols + column, count);
#pragma unroll
    for (u32 i = 0; i < LOOKUPS; i++) {
        rows[i] = Eight<float>{};
        if (lookups.at[i]) rows[i] = read_eight<WIDE>(lookups.table[i] + lookups.at[i][token] * cols + column, count);
    }
    float sum[8];
    unpack_eight(before, sum);
#pragma unroll
    for (u32 i = 0; i < LOOKUPS; i++) {
        float x[8];
        unpack_eight(rows[i], x);
#pragma unroll
        for (u32 j = 0; j < 8; j++) sum[j] += x[j];
    }
    write_eight<WIDE>(y + token * cols + column, count, sum);
}

// y[t] = Σ table[at[t]] over up to four lookups, of which the first is not null, in their order; added to y if
// `accumulate`. y [tokens, cols]. A thread takes eight neighbouring columns of a token. Launch: Shape::elements(tokens
// * ⌈cols / 8⌉).
extern "C" __global__ void bitfit_embedding(
    const u32* at0, const float* table0, const u32* at1, const float* table1, const u32* at2, const float* table2,
    const u32* at3, const float* table3, float* y, u32 accumulate, u64 tokens, u64 cols) {
    Lookups lookups = {{at0, at1, at2, at3}, {table0, table1, table2, table3}};
    bool aligned = rows_are_aligned(y, cols);
#pragma unroll
    for (u32 i = 0; i < LOOKUPS; i++) aligned = aligned && is_aligned(lookups.table[i]);
    u64 across = (cols + 7) / 8;
    FOR_EACH_ELEMENT(i, tokens * across) {
        u64 token = quotient(i, across), column = (i - token * across) * 8;
        u32 count = cols - column < 8 ? (u32)(cols - column) : 8;
        if (aligned && count == 8) {
            embedding_of_thread<true>(lookups, y, accumulate, token, column, count, cols);
        } else {
            embedding_of_thread<false>(lookups, y, accumulate, token, column, count, cols);
        }
    }
}

// dtable[row, j] += Σ dy[t, column j] over the tokens with at[t] = row, in their order; `columns` lists the columns of
// dy that the gradient has; null means all. The block of the first token of a row adds up all tokens of the row, so no
// two blocks write the same row. Launch: a block of 128 threads per token.
extern "C" __global__ void bitfit_embedding_backward_rows(
    const float* dy, const u32* at, const u32* columns, float* dtable, u64 tokens, u64 cols, u64 width) {
    __shared__ float shared[4];
    u64 first = blockIdx.x;
    u32 row = at[first];
    float earlier = 0.0f;
    for (u64 token = threadIdx.x; token < first; token += blockDim.x) {
        if (at[token] == row) earlier = 1.0f;
    }
    // This value is the same for the whole block.
    if (block_max(earlier, shared) > 0.0f) return;
    for (u64 j = threadIdx.x; j < width; j += blockDim.x) {
        u64 column = columns ? columns[j] : j;
        float sum = dtable[row * width + j];
        for (u64 token = first; token < tokens; token++) {
            if (at[token] == row) sum += dy[token * cols + column];
        }
        dtable[row * width + j] = sum;
    }
}

// dtable[i] += Σ dy[t, column] over the tokens with at[t] = row, in their order, of the i-th chosen element: chosen[i]
// = row * cols + column, or, if whole rows are chosen, chosen[i / cols] = row. Launch: Shape::elements(len).
extern "C" __global__ void bitfit_embedding_backward_chosen(
    const float* dy, const u32* at, const u32* chosen, u32 whole_rows, float* dtable, u64 tokens, u64 cols, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        u64 element = whole_rows ? i : chosen[i], line = quotient(element, cols), column = element - line * cols;
        u64 row = whole_rows ? chosen[line] : line;
        float sum = dtable[i];
        for (u64 token = 0; token < tokens; token++) {
            if (at[token] == row) sum += dy[token * cols + column];
        }
        dtable[i] = sum;
    }
}
