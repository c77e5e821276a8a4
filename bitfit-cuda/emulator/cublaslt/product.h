// Products of matrices: d = alpha · a · b + beta · c, in f32, from and to f32 or bfloat16.
#pragma once

#include <cstddef>
#include <cstdint>

enum class Element { F32, Bf16 };

// A matrix in memory: element (i, j) is at data + i * row + j * column, counted in elements.
struct Matrix {
    const void* data;
    Element type;
    int64_t row, column;
};

struct Product {
    int64_t m, n, k;
    Matrix a, b, c, d;  // [m, k], [k, n], [m, n], [m, n]; d is written
    float alpha, beta;  // c is not read where beta is 0
    bool tf32;          // round a and b to TF32
};

// Each element is the sum of its k terms in their order, whatever the number of OS threads.
void multiply(const Product& product);
