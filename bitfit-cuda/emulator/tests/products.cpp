// Products of the emulated cuBLASLt, compared with plain loops.

#include "cases.h"

extern "C" {
int cublasLtCreate(void**);
int cublasLtMatmulDescCreate(void**, unsigned, unsigned);
int cublasLtMatmulDescSetAttribute(void*, unsigned, const void*, size_t);
int cublasLtMatrixLayoutCreate(void**, unsigned, uint64_t, uint64_t, int64_t);
int cublasLtMatrixLayoutSetAttribute(void*, unsigned, const void*, size_t);
int cublasLtMatmulPreferenceCreate(void**);
int cublasLtMatmulPreferenceSetAttribute(void*, unsigned, const void*, size_t);
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, void*, int*);
int cublasLtMatmul(void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*, void*, void*,
                   void*, const void*, void*, size_t, void*);
}

static constexpr unsigned F32 = 0, BF16 = 14, COMPUTE_32F = 68, COMPUTE_FAST_TF32 = 77;

struct Problem {
    unsigned compute = COMPUTE_32F, type_a = F32, type_b = F32, type_d = F32;
    bool transa = false, transb = false, row_major = false;
    uint64_t m = 3, n = 5, k = 4, pad = 0;
    int batches = 1;
    float alpha = 1, beta = 0;
};

static float bits_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// A matrix in device memory, with its values as f32 on the host.
struct Stored {
    std::vector<float> values;
    std::vector<uint16_t> narrow;
    uint64_t rows, columns, leading;
    bool row_major;
    CUdeviceptr device = 0;
    void* layout = nullptr;

    Stored(unsigned type, uint64_t rows, uint64_t columns, const Problem& problem)
        : rows(rows),
          columns(columns),
          leading((problem.row_major ? columns : rows) + problem.pad),
          row_major(problem.row_major) {
        size_t count = leading * (row_major ? rows : columns) * unsigned(problem.batches);
        static uint32_t random = 7;
        for (size_t i = 0; i < count; ++i) {
            float value = float(int32_t(random = random * 1664525 + 1013904223)) / float(1u << 31);
            uint32_t bits;
            memcpy(&bits, &value, 4);
            if (type == BF16) value = bits_float(bits &= 0xffff0000u);
            values.push_back(value);
            narrow.push_back(uint16_t(bits >> 16));
        }
        device = type == BF16 ? upload(narrow) : upload(values);
        // Rounds the values to TF32: ten bits of mantissa.
        for (float& value : values) {
            if (problem.compute != COMPUTE_FAST_TF32) break;
            uint32_t bits;
            memcpy(&bits, &value, 4);
            value = bits_float((bits + 0x1000) & 0xffffe000u);
        }
        SUCCEEDS(cublasLtMatrixLayoutCreate(&layout, type, rows, columns, int64_t(leading)));
        unsigned order = row_major;
        SUCCEEDS(cublasLtMatrixLayoutSetAttribute(layout, 1, &order, sizeof order));
        int64_t offset = int64_t(count) / problem.batches;
        SUCCEEDS(cublasLtMatrixLayoutSetAttribute(layout, 5, &problem.batches, sizeof problem.batches));
        SUCCEEDS(cublasLtMatrixLayoutSetAttribute(layout, 6, &offset, sizeof offset));
    }

    size_t at(uint64_t batch, uint64_t i, uint64_t j) const {
        return batch * leading * (row_major ? rows : columns) + (row_major ? i * leading + j : j * leading + i);
    }
};

// Runs the product; false if there is no algorithm for it. `tolerance` is relative to the sum of the terms' sizes.
static bool run(const Problem& problem, double tolerance) {
    void *handle, *description, *preference;
    SUCCEEDS(cublasLtCreate(&handle));
    SUCCEEDS(cublasLtMatmulDescCreate(&description, problem.compute, F32));
    unsigned transa = problem.transa, transb = problem.transb;
    SUCCEEDS(cublasLtMatmulDescSetAttribute(description, 3, &transa, sizeof transa));
    SUCCEEDS(cublasLtMatmulDescSetAttribute(description, 4, &transb, sizeof transb));
    Stored a(problem.type_a, transa ? problem.k : problem.m, transa ? problem.m : problem.k, problem);
    Stored b(problem.type_b, transb ? problem.n : problem.k, transb ? problem.k : problem.n, problem);
    Stored d(problem.type_d, problem.m, problem.n, problem);
    SUCCEEDS(cublasLtMatmulPreferenceCreate(&preference));
    uint64_t workspace_bytes = 1 << 20;
    SUCCEEDS(cublasLtMatmulPreferenceSetAttribute(preference, 1, &workspace_bytes, sizeof workspace_bytes));
    uint64_t result[12];
    int found = 0;
    if (cublasLtMatmulAlgoGetHeuristic(handle, description, a.layout, b.layout, d.layout, d.layout, preference, 1, result,
                                       &found) != 0 ||
        found == 0)
        return false;
    SUCCEEDS(cublasLtMatmul(handle, description, &problem.alpha, reinterpret_cast<void*>(a.device), a.layout,
                            reinterpret_cast<void*>(b.device), b.layout, &problem.beta, reinterpret_cast<void*>(d.device),
                            d.layout, reinterpret_cast<void*>(d.device), d.layout, result,
                            reinterpret_cast<void*>(room(workspace_bytes)), workspace_bytes, nullptr));
    std::vector<float> got(d.values.size());
    if (problem.type_d == F32) got = download<float>(d.device, got.size());
    else {
        std::vector<uint16_t> bits = download<uint16_t>(d.device, got.size());
        for (size_t i = 0; i < got.size(); ++i) got[i] = bits_float(uint32_t(bits[i]) << 16);
    }
    for (uint64_t batch = 0; batch < unsigned(problem.batches); ++batch)
        for (uint64_t i = 0; i < problem.m; ++i)
            for (uint64_t j = 0; j < problem.n; ++j) {
                double sum = 0, size = 0;
                for (uint64_t p = 0; p < problem.k; ++p) {
                    double term = double(a.values[transa ? a.at(batch, p, i) : a.at(batch, i, p)]) *
                                  b.values[transb ? b.at(batch, j, p) : b.at(batch, p, j)];
                    sum += term;
                    size += std::abs(term);
                }
                double expected = problem.alpha * sum + problem.beta * d.values[d.at(batch, i, j)];
                CHECK(std::abs(got[d.at(batch, i, j)] - expected) <= tolerance * (size + std::abs(expected)));
            }
    // The padding between the lines must not be written.
    for (uint64_t line = 0; line < (problem.row_major ? problem.m : problem.n); ++line)
        for (uint64_t i = d.leading - problem.pad; i < d.leading; ++i)
            CHECK(got[line * d.leading + i] == d.values[line * d.leading + i]);
    return true;
}

void multiplies_matrices() {
    for (bool transa : {false, true})
        for (bool transb : {false, true})
            for (bool row_major : {false, true})
                for (uint64_t size : {1, 2, 7, 33, 130})
                    for (float beta : {0.0f, 1.0f}) {
                        Problem problem;
                        problem.transa = transa, problem.transb = transb, problem.row_major = row_major, problem.beta = beta,
                        problem.alpha = 1 - beta / 4;
                        problem.m = size, problem.n = size / 2 + 3, problem.k = 2 * size + 1, problem.pad = size % 3,
                        problem.batches = size % 2 ? 1 : 3;
                        CHECK(run(problem, 1e-6));
                    }
}

void multiplies_narrow_matrices() {
    Problem problem;
    problem.type_a = problem.type_b = BF16;
    problem.m = 31, problem.n = 18, problem.k = 50;
    CHECK(run(problem, 1e-6));
    problem.type_d = BF16;
    problem.beta = 1;
    CHECK(run(problem, 4e-3));
    Problem tf32;
    tf32.compute = COMPUTE_FAST_TF32;
    tf32.m = 31, tf32.n = 18, tf32.k = 50;
    CHECK(run(tf32, 1e-6));
}

void refuses_products() {
    Problem mixed;
    mixed.type_a = BF16;
    CHECK(!run(mixed, 0));
    Problem narrow_result;
    narrow_result.type_d = BF16;
    CHECK(!run(narrow_result, 0));
    Problem narrow_tf32;
    narrow_tf32.compute = COMPUTE_FAST_TF32;
    narrow_tf32.type_a = narrow_tf32.type_b = BF16;
    CHECK(!run(narrow_tf32, 0));
}

void has_no_algorithm() { CHECK(!run(Problem{}, 0)); }
