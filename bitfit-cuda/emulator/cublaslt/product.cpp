// Both factors are packed into f32 panels first; then one tile of the result is computed at a time.

#include "product.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "../driver/bridge.h"
#include "kernel.h"

static const ProductKernel& kernel() {
    static const ProductKernel& best = __builtin_cpu_supports("avx512f") ? product_kernel_avx512
                                       : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                                           ? product_kernel_avx2
                                           : product_kernel_baseline;
    return best;
}

static void parallel(int64_t count, const std::function<void(int64_t)>& work) {
    bitfit_emulator_parallel(
        static_cast<uint64_t>(count),
        [](void* data, uint64_t i) { (*static_cast<const std::function<void(int64_t)>*>(data))(static_cast<int64_t>(i)); },
        const_cast<std::function<void(int64_t)>*>(&work));
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float load(const Matrix& from, int64_t at) {
    if (from.type == Element::F32) return static_cast<const float*>(from.data)[at];
    return from_bits(static_cast<uint32_t>(static_cast<const uint16_t*>(from.data)[at]) << 16);
}

static void store(const Matrix& to, int64_t at, float value) {
    if (to.type == Element::F32) {
        static_cast<float*>(const_cast<void*>(to.data))[at] = value;
        return;
    }
    // Rounds to nearest, ties to even; NaN stays NaN.
    uint32_t bits = to_bits(value);
    bits = (bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
    static_cast<uint16_t*>(const_cast<void*>(to.data))[at] = static_cast<uint16_t>(bits >> 16);
}

// Rounds to ten bits of mantissa, to nearest, ties away from zero, like cvt.rna.tf32.f32.
static float to_tf32(float value) {
    uint32_t bits = to_bits(value);
    if ((bits & 0x7f800000) == 0x7f800000) return value;
    return from_bits((bits + 0x1000) & 0xffffe000);
}

// Panels of `width` rows of an [rows, k] matrix, each [k, width]; the last one padded with zeros.
static std::vector<float> pack(const Matrix& from, int64_t rows, int64_t k, int64_t width, bool tf32) {
    int64_t panels = (rows + width - 1) / width;
    std::vector<float> packed(static_cast<size_t>(panels * width * k));
    parallel(panels, [&](int64_t panel) {
        float* to = packed.data() + panel * width * k;
        int64_t count = std::min(width, rows - panel * width);
        auto lay = [&](int64_t i, int64_t p) {
            float value = load(from, (panel * width + i) * from.row + p * from.column);
            to[p * width + i] = tf32 ? to_tf32(value) : value;
        };
        // In the order of memory.
        if (from.row == 1)
            for (int64_t p = 0; p < k; ++p)
                for (int64_t i = 0; i < count; ++i) lay(i, p);
        else
            for (int64_t i = 0; i < count; ++i)
                for (int64_t p = 0; p < k; ++p) lay(i, p);
    });
    return packed;
}

void multiply(const Product& product) {
    const auto& [m, n, k, a, b, c, d, alpha, beta, tf32] = product;
    int64_t rows = kernel().rows, columns = kernel().columns;
    std::vector<float> left = pack(a, m, k, rows, tf32);
    std::vector<float> right = pack({b.data, b.type, b.column, b.row}, n, k, columns, tf32);
    // The number of panels of b that are multiplied with a panel of a while it is in cache.
    constexpr int64_t PASS = 16;
    int64_t panels = (m + rows - 1) / rows, passes = ((n + columns - 1) / columns + PASS - 1) / PASS;
    parallel(panels * passes, [&](int64_t task) {
        std::vector<float> tile(static_cast<size_t>(rows * columns));
        int64_t i0 = task / passes * rows, first = task % passes * PASS;
        for (int64_t panel = first; panel < first + PASS && panel * columns < n; ++panel) {
            int64_t j0 = panel * columns;
            kernel().run(k, left.data() + i0 * k, right.data() + j0 * k, tile.data());
            int64_t full_i = std::min(rows, m - i0), full_j = std::min(columns, n - j0);
            if (beta == 0 && d.type == Element::F32 && d.row == 1) {
                for (int64_t j = 0; j < full_j; ++j) {
                    float* to = static_cast<float*>(const_cast<void*>(d.data)) + i0 + (j0 + j) * d.column;
                    for (int64_t i = 0; i < full_i; ++i) to[i] = alpha * tile[static_cast<size_t>(j * rows + i)];
                }
                continue;
            }
            for (int64_t j = 0; j < full_j; ++j)
                for (int64_t i = 0; i < full_i; ++i) {
                    float value = alpha * tile[static_cast<size_t>(j * rows + i)];
                    if (beta != 0) value += beta * load(c, (i0 + i) * c.row + (j0 + j) * c.column);
                    store(d, (i0 + i) * d.row + (j0 + j) * d.column, value);
                }
        }
    });
}
