// y = m ∘ x, or y += m ∘ x: element i of x is multiplied by element i of the mask. A thread generates one block, which
// decides eight elements that are sixteen apart; sixteen threads process a group of 128 elements. Launch:
// Shape::elements(groups * 16).
extern "C" __global__ void bitfit_dropout(const float* x, float* y, u32 accumulate, u64 len, DROPOUT_PARAMETERS) {
    Dropout dropout = DROPOUT_SITE;
    FOR_EACH_ELEMENT(block, (len + 127) / 128 * 16) {
        u64 first = block / 16 * 128 + block % 16;
        // All reads are issued before the generator runs; after the first write the compiler would not move them.
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
