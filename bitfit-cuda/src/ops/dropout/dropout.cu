// y = m ∘ x, or y += m ∘ x: element i of x meets element i of the dropout. A thread draws one block of the generator, which decides
// eight elements that lie sixteen apart; sixteen threads a group of 128 elements. Launch: Shape::elements(groups * 16).
extern "C" __global__ void bitfit_dropout(const float* x, float* y, u32 accumulate, u64 len, DROPOUT_PARAMETERS) {
    Dropout dropout = DROPOUT_SITE;
    FOR_EACH_ELEMENT(block, (len + 127) / 128 * 16) {
        u64 first = block / 16 * 128 + block % 16;
        // All reads are under way while the generator works; behind the first write there would be none.
        float values[8], sums[8];
#pragma unroll
        for (u32 j = 0; j < 8; j++) {
            u64 i = first + 16 * j;
            values[j] = i < len ? x[i] : 0.0f;
            sums[j] = accumulate && i < len ? y[i] : 0.0f;
        }
        Draw draw = philox(dropout, block);
#pragma unroll
        for (u32 j = 0; j < 8; j++) {
            u64 i = first + 16 * j;
            float kept = draw_factor(dropout, draw, j) * values[j];
            if (i < len) y[i] = accumulate ? sums[j] + kept : kept;
        }
    }
}
