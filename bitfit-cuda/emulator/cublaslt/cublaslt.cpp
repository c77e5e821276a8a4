// cuBLASLt's API (cublasLt.h of CUDA 13.0), as far as products of matrices need it.
//
// The README lists what is refused, as the library would refuse it.

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>

#include "../driver/bridge.h"
#include "product.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

enum cublasStatus_t : unsigned {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
};

enum : unsigned { CUDA_R_32F = 0, CUDA_R_16BF = 14 };
enum : unsigned { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_32F_PEDANTIC = 69, CUBLAS_COMPUTE_32F_FAST_TF32 = 77 };
enum : unsigned { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum : unsigned { CUBLASLT_ORDER_COL = 0, CUBLASLT_ORDER_ROW = 1 };

// Attributes of a product.
enum : unsigned {
    DESC_COMPUTE_TYPE = 0,
    DESC_SCALE_TYPE = 1,
    DESC_POINTER_MODE = 2,
    DESC_TRANSA = 3,
    DESC_TRANSB = 4,
    DESC_TRANSC = 5,
    DESC_FILL_MODE = 6,
    DESC_EPILOGUE = 7,
};
// Attributes of a matrix.
enum : unsigned {
    LAYOUT_TYPE = 0,
    LAYOUT_ORDER = 1,
    LAYOUT_ROWS = 2,
    LAYOUT_COLS = 3,
    LAYOUT_LD = 4,
    LAYOUT_BATCH_COUNT = 5,
    LAYOUT_STRIDED_BATCH_OFFSET = 6
};
// Attributes of a preference.
enum : unsigned {
    PREF_SEARCH_MODE = 0,
    PREF_MAX_WORKSPACE_BYTES = 1,
    PREF_REDUCTION_SCHEME_MASK = 3,
    PREF_MIN_ALIGNMENT_A_BYTES = 5,
    PREF_MIN_ALIGNMENT_D_BYTES = 8
};

struct Handle {};
typedef Handle* cublasLtHandle_t;

struct Description {
    // By attribute: compute type, scale type, pointer mode, the three transpositions, fill mode, epilogue.
    unsigned values[8];
};
typedef Description* cublasLtMatmulDesc_t;

struct Layout {
    unsigned type, order;
    uint64_t rows, columns;
    int64_t leading;
    int32_t batches;
    int64_t batch_offset;
};
typedef Layout* cublasLtMatrixLayout_t;

struct Preference {
    uint64_t workspace;
    uint32_t alignments[4];
};
typedef Preference* cublasLtMatmulPreference_t;

struct cublasLtMatmulAlgo_t {
    // A magic number, the hash of the problem that it was found for, the workspace that it needs, the required
    // alignments of a, b, c and d, and the number of columns of the product that it was found for.
    uint64_t mark, problem, workspace, alignments, columns, unused[3];
};

struct cublasLtMatmulHeuristicResult_t {
    cublasLtMatmulAlgo_t algo;
    size_t workspace;
    cublasStatus_t state;
    float waves;
    int reserved[4];
};

static constexpr uint64_t MARK = 0x6269746669740001;
// The workspace that an algorithm uses if allowed, so that a missing or too small workspace is detected.
static constexpr uint64_t WORKSPACE = 64 << 10;

__attribute__((format(printf, 2, 3))) static cublasStatus_t fail(cublasStatus_t status, const char* format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "bitfit emulator: cuBLASLt: %s\n", line);
    return status;
}

// The library.

EXPORT size_t cublasLtGetVersion() { return 130000; }
EXPORT size_t cublasLtGetCudartVersion() { return 13000; }

EXPORT const char* cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown";
}
EXPORT const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

EXPORT cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    *handle = new Handle;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

// Descriptions. An attribute is given by the address and the size of its value.

template <typename T>
static cublasStatus_t take(T* to, const void* value, size_t bytes) {
    if (!value || bytes < sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, sizeof(T));
    return CUBLAS_STATUS_SUCCESS;
}

EXPORT cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, unsigned compute_type, unsigned scale_type) {
    *description =
        new Description{{compute_type, scale_type, 0, CUBLAS_OP_N, CUBLAS_OP_N, CUBLAS_OP_N, 2 /* full */, 1 /* no epilogue */}};
    return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
    delete description;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description, unsigned attribute, const void* value,
                                                     size_t bytes) {
    if (!description) return CUBLAS_STATUS_INVALID_VALUE;
    if (attribute > DESC_EPILOGUE)
        return fail(CUBLAS_STATUS_NOT_SUPPORTED, "attribute %u of a product is not emulated", attribute);
    return take(&description->values[attribute], value, bytes);
}

EXPORT cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, unsigned type, uint64_t rows, uint64_t columns,
                                                 int64_t leading) {
    *layout = new Layout{type, CUBLASLT_ORDER_COL, rows, columns, leading, 1, 0};
    return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, unsigned attribute, const void* value,
                                                       size_t bytes) {
    if (!layout) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
        case LAYOUT_TYPE: return take(&layout->type, value, bytes);
        case LAYOUT_ORDER: return take(&layout->order, value, bytes);
        case LAYOUT_ROWS: return take(&layout->rows, value, bytes);
        case LAYOUT_COLS: return take(&layout->columns, value, bytes);
        case LAYOUT_LD: return take(&layout->leading, value, bytes);
        case LAYOUT_BATCH_COUNT: return take(&layout->batches, value, bytes);
        case LAYOUT_STRIDED_BATCH_OFFSET: return take(&layout->batch_offset, value, bytes);
        default: return fail(CUBLAS_STATUS_NOT_SUPPORTED, "attribute %u of a matrix is not emulated", attribute);
    }
}

EXPORT cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
    *preference = new Preference{0, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference, unsigned attribute,
                                                           const void* value, size_t bytes) {
    if (!preference) return CUBLAS_STATUS_INVALID_VALUE;
    if (attribute == PREF_MAX_WORKSPACE_BYTES) return take(&preference->workspace, value, bytes);
    if (attribute == PREF_SEARCH_MODE || attribute == PREF_REDUCTION_SCHEME_MASK) return CUBLAS_STATUS_SUCCESS;
    if (attribute < PREF_MIN_ALIGNMENT_A_BYTES || attribute > PREF_MIN_ALIGNMENT_D_BYTES)
        return fail(CUBLAS_STATUS_NOT_SUPPORTED, "attribute %u of a preference is not emulated", attribute);
    return take(&preference->alignments[attribute - PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
}

// Problems.

static size_t bytes_of(unsigned type) { return type == CUDA_R_32F ? 4 : 2; }

static Matrix matrix(const Layout& layout, bool transposed) {
    int64_t row = layout.order == CUBLASLT_ORDER_COL ? 1 : layout.leading,
            column = layout.order == CUBLASLT_ORDER_COL ? layout.leading : 1;
    if (transposed) std::swap(row, column);
    return {nullptr, layout.type == CUDA_R_32F ? Element::F32 : Element::Bf16, row, column};
}

// The number of bytes from the first to past the last one of a batch of matrices.
static size_t extent(const Layout& layout) {
    uint64_t lines = layout.order == CUBLASLT_ORDER_COL ? layout.columns : layout.rows,
             line = layout.order == CUBLASLT_ORDER_COL ? layout.rows : layout.columns;
    return bytes_of(layout.type) * (static_cast<uint64_t>(layout.batches - 1) * static_cast<uint64_t>(layout.batch_offset) +
                                    (lines - 1) * static_cast<uint64_t>(layout.leading) + line);
}

// Checks whether the library multiplies such matrices, and determines m, n and k.
static cublasStatus_t understand(const Description& description, const Layout* const (&layouts)[4], Product* product) {
    unsigned compute = description.values[DESC_COMPUTE_TYPE];
    if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC && compute != CUBLAS_COMPUTE_32F_FAST_TF32)
        return fail(CUBLAS_STATUS_NOT_SUPPORTED, "compute type %u is not emulated", compute);
    if (description.values[DESC_SCALE_TYPE] != CUDA_R_32F)
        return fail(CUBLAS_STATUS_NOT_SUPPORTED, "scale type %u with f32 sums", description.values[DESC_SCALE_TYPE]);
    if (description.values[DESC_POINTER_MODE] != 0)
        return fail(CUBLAS_STATUS_NOT_SUPPORTED, "alpha and beta on the device are not emulated");
    if (description.values[DESC_EPILOGUE] != 1)
        return fail(CUBLAS_STATUS_NOT_SUPPORTED, "epilogue %u is not emulated", description.values[DESC_EPILOGUE]);
    unsigned transa = description.values[DESC_TRANSA], transb = description.values[DESC_TRANSB];
    if (transa > CUBLAS_OP_T || transb > CUBLAS_OP_T || description.values[DESC_TRANSC] != CUBLAS_OP_N)
        return fail(CUBLAS_STATUS_NOT_SUPPORTED, "transpositions %u, %u, %u", transa, transb, description.values[DESC_TRANSC]);

    const auto& [a, b, c, d] = layouts;
    for (const Layout* layout : layouts) {
        if (layout->type != CUDA_R_32F && layout->type != CUDA_R_16BF)
            return fail(CUBLAS_STATUS_NOT_SUPPORTED, "data type %u is not emulated", layout->type);
        if (layout->order > CUBLASLT_ORDER_ROW)
            return fail(CUBLAS_STATUS_NOT_SUPPORTED, "order %u is not emulated", layout->order);
        uint64_t line = layout->order == CUBLASLT_ORDER_COL ? layout->rows : layout->columns;
        if (layout->rows == 0 || layout->columns == 0 || layout->leading < static_cast<int64_t>(line))
            return fail(CUBLAS_STATUS_INVALID_VALUE, "a matrix of %zu rows and %zu columns with leading dimension %zd",
                        static_cast<size_t>(layout->rows), static_cast<size_t>(layout->columns),
                        static_cast<ssize_t>(layout->leading));
        if (layout->batches < 1 || layout->batches != d->batches || layout->batch_offset < 0)
            return fail(CUBLAS_STATUS_INVALID_VALUE, "a batch of %d beside one of %d", layout->batches, d->batches);
    }
    // Table "A/B/C/D types" of cublasLtMatmul's documentation, for f32 sums.
    if (a->type != b->type || c->type != d->type || (a->type == CUDA_R_32F && d->type != CUDA_R_32F) ||
        (a->type != CUDA_R_32F && compute == CUBLAS_COMPUTE_32F_FAST_TF32))
        return fail(CUBLAS_STATUS_NOT_SUPPORTED, "data types %u, %u, %u, %u with compute type %u", a->type, b->type, c->type,
                    d->type, compute);

    uint64_t m = transa ? a->columns : a->rows, k = transa ? a->rows : a->columns, n = transb ? b->rows : b->columns;
    if ((transb ? b->columns : b->rows) != k || d->rows != m || d->columns != n || c->rows != m || c->columns != n)
        return fail(CUBLAS_STATUS_INVALID_VALUE, "shapes do not fit: op(a) [%zu, %zu], op(b) [%zu, %zu], d [%zu, %zu]",
                    static_cast<size_t>(m), static_cast<size_t>(k), static_cast<size_t>(transb ? b->columns : b->rows),
                    static_cast<size_t>(n), static_cast<size_t>(d->rows), static_cast<size_t>(d->columns));
    *product = {static_cast<int64_t>(m),
                static_cast<int64_t>(n),
                static_cast<int64_t>(k),
                matrix(*a, transa),
                matrix(*b, transb),
                matrix(*c, false),
                matrix(*d, false),
                1,
                0,
                // Turing's tensor cores have no TF32.
                compute == CUBLAS_COMPUTE_32F_FAST_TF32 && bitfit_emulator_architecture() >= 80};
    return CUBLAS_STATUS_SUCCESS;
}

// The properties that an algorithm depends on: all of a product except the number of columns of its result, and so of
// b. An algorithm may be used for another number. If b is transposed, its leading dimension depends on that number, so
// the emulated algorithms work for that number only.
static uint64_t problem_hash(const Description& description, const Layout* const (&layouts)[4]) {
    uint64_t hash = 0xcbf29ce484222325;
    auto add = [&](uint64_t value) { hash = (hash ^ value) * 0x100000001b3 ^ hash >> 29; };
    for (unsigned value : description.values) add(value);
    for (const Layout* layout : layouts) {
        bool is_a = layout == layouts[0], is_b = layout == layouts[1];
        bool rows = !is_b || description.values[DESC_TRANSB] == CUBLAS_OP_N;
        bool columns = is_a || (is_b && description.values[DESC_TRANSB] == CUBLAS_OP_T);
        for (uint64_t value : {uint64_t{layout->type}, uint64_t{layout->order}, rows ? layout->rows : 0, columns ? layout->columns : 0,
                               static_cast<uint64_t>(layout->leading), static_cast<uint64_t>(layout->batches),
                               static_cast<uint64_t>(layout->batch_offset)})
            add(value);
    }
    return hash;
}

EXPORT cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                                                     cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                                     cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted,
                                                     cublasLtMatmulHeuristicResult_t* results, int* found) {
    if (!handle || !description || !a || !b || !c || !d || !preference || wanted < 1 || !results || !found)
        return CUBLAS_STATUS_INVALID_VALUE;
    *found = 0;
    const Layout* layouts[4] = {a, b, c, d};
    Product product;
    cublasStatus_t status = understand(*description, layouts, &product);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (bitfit_emulator_refuses(Refusal::Heuristic)) return CUBLAS_STATUS_NOT_SUPPORTED;
    uint64_t alignments = 0;
    for (int i = 0; i < 4; ++i) alignments |= static_cast<uint64_t>(std::min(preference->alignments[i], 256u)) << 16 * i;
    uint64_t workspace = std::min(preference->workspace, WORKSPACE);
    results[0] = {
        {MARK, problem_hash(*description, layouts), workspace, alignments, d->columns, {}}, workspace, CUBLAS_STATUS_SUCCESS, 1.0f, {}};
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

// Products.

static cublasStatus_t check(const char* name, const void* data, size_t bytes, uint64_t alignment) {
    const void* base;
    size_t size;
    if (!bitfit_emulator_find(data, &base, &size)) return fail(CUBLAS_STATUS_INVALID_VALUE, "%s is no device memory", name);
    // A device's allocations begin at multiples of 256 bytes; those of the emulator end at a page instead.
    size_t offset = static_cast<size_t>(static_cast<const char*>(data) - static_cast<const char*>(base));
    if (offset + bytes > size)
        return fail(CUBLAS_STATUS_INVALID_VALUE, "%s ends %zu bytes past the end of its allocation of %zu bytes", name,
                    offset + bytes - size, size);
    // Not NOT_SUPPORTED, which a caller may take for a reason to multiply in another way.
    if (alignment && offset % alignment != 0)
        return fail(CUBLAS_STATUS_INVALID_VALUE,
                    "%s lies at byte %zu of its allocation, but the algorithm requires an alignment of %zu", name,
                    offset, static_cast<size_t>(alignment));
    return CUBLAS_STATUS_SUCCESS;
}

static bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
    auto from = static_cast<const char*>(a), other = static_cast<const char*>(b);
    return from < other + b_bytes && other < from + a_bytes;
}

namespace {
struct Work {
    Product product;
    int32_t batches;
    size_t offsets[4];  // bytes from one matrix of a batch to the next
    void* workspace;
    size_t workspace_bytes;
};
}

static void run(void* data) {
    const Work& work = *static_cast<Work*>(data);
    // The library may write anything to the workspace.
    if (work.workspace_bytes > 0) memset(work.workspace, 0xff, work.workspace_bytes);
    Product product = work.product;
    for (int32_t i = 0; i < work.batches; ++i) {
        multiply(product);
        Matrix* matrices[4] = {&product.a, &product.b, &product.c, &product.d};
        for (int j = 0; j < 4; ++j) matrices[j]->data = static_cast<const char*>(matrices[j]->data) + work.offsets[j];
    }
}

EXPORT cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description, const void* alpha, const void* a,
                                     cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                                     const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                                     cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                                     size_t workspace_bytes, void* stream) {
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (!description || !alpha || !beta || !a_layout || !b_layout || !c_layout || !d_layout) return CUBLAS_STATUS_INVALID_VALUE;
    struct Locked {
        Locked() { bitfit_emulator_lock(); }
        ~Locked() { bitfit_emulator_unlock(); }
    } locked;
    const Layout* layouts[4] = {a_layout, b_layout, c_layout, d_layout};
    const void* pointers[4] = {a, b, c, d};
    auto work = std::make_unique<Work>();
    cublasStatus_t status = understand(*description, layouts, &work->product);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (bitfit_emulator_refuses(Refusal::Product)) return CUBLAS_STATUS_NOT_SUPPORTED;
    memcpy(&work->product.alpha, alpha, sizeof(float));
    memcpy(&work->product.beta, beta, sizeof(float));

    uint64_t alignments = 0;
    if (algorithm) {
        if (algorithm->mark != MARK || algorithm->problem != problem_hash(*description, layouts))
            return fail(CUBLAS_STATUS_INVALID_VALUE, "the algorithm was found for another product");
        // The library may report this in either way.
        if (bitfit_emulator_refuses(Refusal::Borrowed) && algorithm->columns != d_layout->columns)
            return d_layout->columns % 2 ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_NOT_SUPPORTED;
        if (algorithm->workspace > workspace_bytes)
            return fail(CUBLAS_STATUS_INVALID_VALUE, "the algorithm needs a workspace of %zu bytes",
                        static_cast<size_t>(algorithm->workspace));
        alignments = algorithm->alignments;
        work->workspace = workspace;
        work->workspace_bytes = algorithm->workspace;
        if (work->workspace_bytes > 0 &&
            (status = check("the workspace", workspace, workspace_bytes, 16)) != CUBLAS_STATUS_SUCCESS)
            return status;
    }
    static const char* const names[4] = {"a", "b", "c", "d"};
    Matrix* matrices[4] = {&work->product.a, &work->product.b, &work->product.c, &work->product.d};
    for (int i = 0; i < 4; ++i) {
        matrices[i]->data = pointers[i];
        work->offsets[i] = static_cast<size_t>(layouts[i]->batch_offset) * bytes_of(layouts[i]->type);
        if (i == 2 && work->product.beta == 0) continue;
        if ((status = check(names[i], pointers[i], extent(*layouts[i]), alignments >> 16 * i & 0xffff)) != CUBLAS_STATUS_SUCCESS)
            return status;
        bool in_place = i == 2 && c == d && c_layout->leading == d_layout->leading && c_layout->order == d_layout->order &&
                        c_layout->batch_offset == d_layout->batch_offset;
        if (i < 3 && !in_place && overlap(pointers[i], extent(*layouts[i]), d, extent(*layouts[3])))
            return fail(CUBLAS_STATUS_INVALID_VALUE, "d overlaps %s", names[i]);
    }
    work->batches = d_layout->batches;
    bitfit_emulator_submit(stream, run, [](void* data) { delete static_cast<Work*>(data); }, work.release());
    return CUBLAS_STATUS_SUCCESS;
}
