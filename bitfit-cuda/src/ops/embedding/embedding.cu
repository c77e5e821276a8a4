// Sums of rows of tables, and the gradient of a table.

// y[t] = Σ table[at[t]] over up to four lookups, of which the first is there, in their order; added to y where `accumulate`
// says so. y [tokens, cols]. Launch: Shape::elements(tokens * cols).
extern "C" __global__ void bitfit_embedding(
    const u32* at0, const float* table0, const u32* at1, const float* table1, const u32* at2, const float* table2,
    const u32* at3, const float* table3, float* y, u32 accumulate, u64 cols, u64 len) {
    FOR_EACH_ELEMENT(i, len) {
        u64 token = quotient(i, cols), column = i - token * cols;
        float sum = table0[at0[token] * cols + column];
        if (accumulate) sum = y[i] + sum;
        if (at1) sum += table1[at1[token] * cols + column];
        if (at2) sum += table2[at2[token] * cols + column];
        if (at3) sum += table3[at3[token] * cols + column];
        y[i] = sum;
    }
}

// dtable[row, j] += Σ dy[t, column j] over the tokens with at[t] = row, in their order; `columns` names the columns of dy that the
// gradient has, all of them where it is null. The block of a row's first token adds up all of its tokens, so that no two blocks
// meet in a row. Launch: a block of 128 threads a token.
extern "C" __global__ void bitfit_embedding_backward_rows(
    const float* dy, const u32* at, const u32* columns, float* dtable, u64 tokens, u64 cols, u64 width) {
    __shared__ float shared[4];
    u64 first = blockIdx.x;
    u32 row = at[first];
    float earlier = 0.0f;
    for (u64 token = threadIdx.x; token < first; token += blockDim.x) {
        if (at[token] == row) earlier = 1.0f;
    }
    // The same for the whole block.
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

// dtable[i] += Σ dy[t, column] over the tokens with at[t] = row, in their order, of the i-th chosen element: chosen[i] =
// row * cols + column, or, where whole rows are chosen, chosen[i / cols] = row. Launch: Shape::elements(len).
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
