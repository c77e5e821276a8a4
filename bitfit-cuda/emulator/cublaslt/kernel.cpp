// Compiled once for each instruction set, with KERNEL as its name, LANES as the number of floats in a register, and
// COLUMNS limited by the registers: two of sums for each column, and two of a.

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
