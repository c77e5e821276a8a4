// The innermost loop of a product, once for each instruction set.
#pragma once

#include <cstdint>

struct ProductKernel {
    // A tile of the result is `rows` by `columns`; panels of a are that many rows wide, panels of b that many columns.
    int64_t rows, columns;
    // tile[j * rows + i] = Σ over p of a[p * rows + i] * b[p * columns + j]
    void (*run)(int64_t k, const float* a, const float* b, float* tile);
};

extern const ProductKernel product_kernel_baseline, product_kernel_avx2, product_kernel_avx512;
