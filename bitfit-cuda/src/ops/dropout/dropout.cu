// y = m ∘ x, or y += m ∘ x: element i of x is multiplied by element `first` + i of the mask. A thread generates one
// block, which decides eight elements that are sixteen apart; sixteen threads process a group of 128 elements, of which
// the first one may begin before element 0 of x. Launch: Shape::elements(groups * 16).
extern "C" __global__ void bitfit_dropout(const float* x, float* y, u32 accumulate, u64 len, DROPOUT_PARAMETERS) {
    Dropout dropout = DROPOUT_SITE;
    u64 before = dropout.first % 128, first_block = dropout.first / 128 * 16;
    FOR_EACH_ELEMENT(block, (before + len + 127) / 128 * 16) {
        // Below 0 it wraps to a number above any length.
        u64 first = block / 16 * 128 + block % 16 - before;
        // All reads are issued before the generator runs; after the first write the compiler would not move them.
        float values[8], sums[8];
#pragma unroll
        for (u32 j = 0; j < 8; j++) {
            u64 i = first + 16 * j;
            values[j] = i < len ? x[i] : 0.0f;
            sums[j] = accumulate && i < len ? y[i] : 0.0f;
        }
        Draw draw = philox(dropout, first_block + block);
#pragma unroll
        for (u32 j = 0; j < 8; j++) {
            u64 i = first + 16 * j;
            float kept = draw_factor(dropout, draw, j) * values[j];
            if (i < len) y[i] = accumulate ? sums[j] + kept : kept;
        }
    }
}
