// y = m ∘ x, or y += m ∘ x: element i of x meets element i of the dropout. A thread draws one block of the generator, which decides
// eight elements that lie sixteen apart; sixteen threads a group of 128 elements. Launch: Shape::elements(groups * 16).
extern "C" __global__ void bitfit_dropout(const float* x, float* y, u32 accumulate, u64 len, DROPOUT_PARAMETERS) {
    Dropout dropout = DROPOUT_SITE;
    FOR_EACH_ELEMENT(block, (len + 127) / 128 * 16) {
        Draw draw = philox(dropout, block);
        u64 first = block / 16 * 128 + block % 16;
        for (u32 j = 0; j < 8; j++) {
            u64 i = first + 16 * j;
            if (i < len) {
                float kept = draw_factor(dropout, draw, j) * x[i];
                y[i] = accumulate ? y[i] + kept : kept;
            }
        }
    }
}
