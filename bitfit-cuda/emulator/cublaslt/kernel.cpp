// Compiled once for each set of instructions, with KERNEL its name, LANES the floats of a register, and COLUMNS as many
// as there are registers for: two of sums for each column, two of a.

#include "kernel.h"

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));

static void run(int64_t k, const float* a, const float* b, float* tile) {
    Vector low[COLUMNS] = {}, high[COLUMNS] = {};
    for (int64_t p = 0; p < k; ++p) {
        const Vector* at = reinterpret_cast<const Vector*>(a + p * 2 * LANES);
        Vector a_low = at[0], a_high = at[1];
#pragma GCC unroll 16
        for (int j = 0; j < COLUMNS; ++j) {
            Vector factor = b[p * COLUMNS + j] - Vector{};
            low[j] += a_low * factor;
            high[j] += a_high * factor;
        }
    }
    for (int j = 0; j < COLUMNS; ++j) {
        Vector* to = reinterpret_cast<Vector*>(tile + j * 2 * LANES);
        to[0] = low[j];
        to[1] = high[j];
    }
}

const ProductKernel KERNEL = {2 * LANES, COLUMNS, run};
