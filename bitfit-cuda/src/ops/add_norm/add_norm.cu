// y = LN(r + m ∘ (x + b)) over the rows of [rows, cols], and its backward with the column sums of β, b and γ in the same pass.
//
// A block takes a row, each of its threads four columns side by side: the row lies in registers from the first load to the last
// store, and mean and variance are two passes over them. So a block has cols / 4 threads, in whole warps, and a row at most 4096
// columns. Matrices are read and written in vectors where their rows are aligned; a vector parameter may begin anywhere in the
// arena, and is asked for itself.

// The most threads of a block, and so, times four, the most columns.
#define MOST_THREADS 1024

// Rows of a block of the backward. A constant: the sums must not depend on the device. Few, as a block works through its rows one
// after the other; the partial sums are then an eighth of what is read and written, and stay in the second cache.
#define BLOCK_ROWS 8

// A thread's four columns, or fewer at the end of a row that is no multiple of four.
struct Columns {
    u32 first, count;
};

__device__ __forceinline__ Columns columns_of_thread(u64 cols) {
    u32 first = 4 * threadIdx.x;
    u32 rest = first < cols ? (u32)(cols - first) : 0;
    return Columns{first, rest < 4 ? rest : 4};
}

// Whether rows of `cols` elements behind `from` may be read four at a time.
template <class T>
__device__ __forceinline__ bool is_wide(const T* from, u64 cols) {
    return cols % 4 == 0 && (u64)from % (4 * sizeof(T)) == 0;
}

__device__ __forceinline__ float4 load_vector(const float* from) { return *reinterpret_cast<const float4*>(from); }
__device__ __forceinline__ float4 load_vector(const bf16* from) {
    uint2 pairs = *reinterpret_cast<const uint2*>(from);
    return make_float4(low_bf16(pairs.x), high_bf16(pairs.x), low_bf16(pairs.y), high_bf16(pairs.y));
}
__device__ __forceinline__ void store_vector(float* to, float4 v) { *reinterpret_cast<float4*>(to) = v; }
__device__ __forceinline__ void store_vector(bf16* to, float4 v) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w));
}

// The thread's columns of the row that begins at `row`; zero where it has none.
template <class T>
__device__ __forceinline__ float4 load_four(const T* from, u64 row, Columns columns, bool wide) {
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    u64 at = row + columns.first;
    if (wide) {
        if (columns.count > 0) v = load_vector(from + at);
    } else {
        if (columns.count > 0) v.x = load(from, at);
        if (columns.count > 1) v.y = load(from, at + 1);
        if (columns.count > 2) v.z = load(from, at + 2);
        if (columns.count > 3) v.w = load(from, at + 3);
    }
    return v;
}

template <class T>
__device__ __forceinline__ void store_four(T* to, u64 row, Columns columns, bool wide, float4 v) {
    u64 at = row + columns.first;
    if (wide) {
        if (columns.count > 0) store_vector(to + at, v);
    } else {
        if (columns.count > 0) store(to, at, v.x);
        if (columns.count > 1) store(to, at + 1, v.y);
        if (columns.count > 2) store(to, at + 2, v.z);
        if (columns.count > 3) store(to, at + 3, v.w);
    }
}

__device__ __forceinline__ float4 add_four(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
__device__ __forceinline__ float4 multiply_four(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}
__device__ __forceinline__ float sum_four(float4 a) { return (a.x + a.y) + (a.z + a.w); }

// The dropout's factors of the thread's columns of the row that begins at element `row`. All threads of the block call.
//
// A draw decides eight elements that lie sixteen apart. Where rows are whole groups of 128 elements, a warp's columns are one
// group: its lanes draw the group's sixteen blocks, each twice, and hand each other the bits, instead of drawing four times each.
__device__ __forceinline__ float4 factors_of_row(const Dropout& dropout, u64 row, u64 cols, Columns columns) {
    if (dropout.threshold == 0) return make_float4(1.0f, 1.0f, 1.0f, 1.0f);
    float factors[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (cols % 128 == 0) {
        u32 lane = threadIdx.x % 32;
        Draw draw = philox(dropout, (row + columns.first) / 128 * 16 + lane % 16);
        u32 kept = 0;
        for (u32 j = 0; j < 8; j++) kept |= (draw_factor(dropout, draw, j) > 0.0f ? 1u : 0u) << j;
        for (u32 i = 0; i < 4; i++) {
            u32 bits = __shfl_sync(FULL_WARP, kept, (4 * lane + i) % 16);
            factors[i] = (bits >> (lane / 4)) & 1u ? dropout.scale : 0.0f;
        }
    } else {
        for (u32 i = 0; i < 4; i++) {
            if (i < columns.count) factors[i] = dropout_factor(dropout, row + columns.first + i);
        }
    }
    return make_float4(factors[0], factors[1], factors[2], factors[3]);
}

// Launch: a block a row. `bias`, `residual`, and `normal` with `rstd` may be null.
template <class X, class K>
__device__ __forceinline__ void add_norm(
    const X* x, const float* bias, const float* residual, const float* weight, const float* beta, Dropout dropout, float eps, float* y,
    K* normal, float* rstd, u64 cols, float* shared) {
    u64 row = blockIdx.x * cols;
    Columns columns = columns_of_thread(cols);
    float4 v = load_four(x, row, columns, is_wide(x, cols));
    if (bias) v = add_four(v, load_four(bias, 0, columns, is_wide(bias, cols)));
    v = multiply_four(v, factors_of_row(dropout, row, cols, columns));
    if (residual) v = add_four(v, load_four(residual, row, columns, is_wide(residual, cols)));

    // Columns that the thread does not have are zero in the first sum, and must be in the second.
    float mean = block_sum(sum_four(v), shared) / (float)cols;
    float4 d = make_float4(
        columns.count > 0 ? v.x - mean : 0.0f, columns.count > 1 ? v.y - mean : 0.0f, columns.count > 2 ? v.z - mean : 0.0f,
        columns.count > 3 ? v.w - mean : 0.0f);
    float variance = block_sum(sum_four(multiply_four(d, d)), shared) / (float)cols;
    float inverse = 1.0f / sqrtf(variance + eps);

    float4 n = make_float4(d.x * inverse, d.y * inverse, d.z * inverse, d.w * inverse);
    if (normal) {
        store_four(normal, row, columns, is_wide(normal, cols), n);
        if (threadIdx.x == 0) rstd[blockIdx.x] = inverse;
    }
    float4 w = load_four(weight, 0, columns, is_wide(weight, cols));
    float4 b = load_four(beta, 0, columns, is_wide(beta, cols));
    store_four(
        y, row, columns, is_wide(y, cols),
        make_float4(fmaf(w.x, n.x, b.x), fmaf(w.y, n.y, b.y), fmaf(w.z, n.z, b.z), fmaf(w.w, n.w, b.w)));
}

// Launch: a block for BLOCK_ROWS rows. `normal` with `rstd` may be null where only β's sum is asked for; `dr` and `dx` may be;
// `partial` [blocks, 3, cols] for the sums of β, b and γ is where one of them is asked for.
template <class X, class K>
__device__ __forceinline__ void add_norm_backward(
    const float* dy, const float* weight, const K* normal, const float* rstd, Dropout dropout, float* dr, X* dx, float* partial, u64 rows,
    u64 cols, float2* shared) {
    u64 begin = (u64)blockIdx.x * BLOCK_ROWS, end = begin + BLOCK_ROWS < rows ? begin + BLOCK_ROWS : rows;
    Columns columns = columns_of_thread(cols);
    bool wide_dy = is_wide(dy, cols), wide_normal = is_wide(normal, cols);
    const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float4 w = normal ? load_four(weight, 0, columns, is_wide(weight, cols)) : zero;
    float4 beta = zero, bias = zero, gamma = zero;
    // A row is loaded while the one before it waits for its sums.
    float4 next_dy = load_four(dy, begin * cols, columns, wide_dy);
    float4 next_normal = normal ? load_four(normal, begin * cols, columns, wide_normal) : zero;
    for (u64 row = begin; row < end; row++) {
        float4 g = next_dy, n = next_normal;
        if (row + 1 < end) {
            next_dy = load_four(dy, (row + 1) * cols, columns, wide_dy);
            if (normal) next_normal = load_four(normal, (row + 1) * cols, columns, wide_normal);
        }
        beta = add_four(beta, g);
        if (normal) {
            gamma = add_four(gamma, multiply_four(g, n));
            g = multiply_four(g, w);
            // Both sums of the row in one meeting. Two places in turn: who is late to read one is not overtaken twice.
            float sum = warp_sum(sum_four(g)), product = warp_sum(sum_four(multiply_four(g, n)));
            float2* sums = shared + (row - begin) % 2 * 32;
            if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = make_float2(sum, product);
            __syncthreads();
            float2 total = sums[0];
            for (u32 warp = 1; warp < blockDim.x / 32; warp++) {
                total.x += sums[warp].x;
                total.y += sums[warp].y;
            }
            float mean = total.x / (float)cols, along = total.y / (float)cols, inverse = rstd[row];
            float4 r = make_float4(
                inverse * (g.x - mean - n.x * along), inverse * (g.y - mean - n.y * along), inverse * (g.z - mean - n.z * along),
                inverse * (g.w - mean - n.w * along));
            if (dr) store_four(dr, row * cols, columns, is_wide(dr, cols), r);
            r = multiply_four(r, factors_of_row(dropout, row * cols, cols, columns));
            bias = add_four(bias, r);
            if (dx) store_four(dx, row * cols, columns, is_wide(dx, cols), r);
        }
    }
    if (partial) {
        u64 at = (u64)blockIdx.x * 3 * cols;
        bool wide = is_wide(partial, cols);
        store_four(partial, at, columns, wide, beta);
        store_four(partial, at + cols, columns, wide, bias);
        store_four(partial, at + 2 * cols, columns, wide, gamma);
    }
}

// sums[at] += Σ partial[block, i, :] for the sums that begin at `beta`, `bias` and `gamma` of `sums`, or at NOWHERE where one is
// not asked for. Of a block's eight warps each adds every eighth block of rows, then the eight are added in their order. Launch:
// blocks of 256 threads, for 32 columns along x, for one of the three sums along y.
#define NOWHERE (~(u64)0)
extern "C" __global__ void bitfit_add_norm_sums(const float* partial, u64 blocks, u64 cols, float* sums, u64 beta, u64 bias, u64 gamma) {
    __shared__ float parts[8][32];
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, which = blockIdx.y;
    u64 column = (u64)blockIdx.x * 32 + lane, at = which == 0 ? beta : which == 1 ? bias : gamma;
    float sum = 0.0f;
    if (at != NOWHERE && column < cols) {
        for (u64 block = warp; block < blocks; block += 8) sum += partial[(block * 3 + which) * cols + column];
    }
    parts[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && at != NOWHERE && column < cols) {
        for (u32 other = 1; other < 8; other++) sum += parts[other][lane];
        sums[at + column] += sum;
    }
}

// For x, and dx, of type X, with x̂ kept as K.
#define OF_TYPES(X, K, SUFFIX)                                                                                               \
    extern "C" __global__ void __launch_bounds__(MOST_THREADS) bitfit_add_norm_##SUFFIX(                                     \
        const X* x, const float* bias, const float* residual, const float* weight, const float* beta, DROPOUT_PARAMETERS,    \
        float eps, float* y, K* normal, float* rstd, u64 cols) {                                                             \
        __shared__ float shared[32];                                                                                         \
        add_norm(x, bias, residual, weight, beta, DROPOUT_SITE, eps, y, normal, rstd, cols, shared);                         \
    }                                                                                                                        \
    extern "C" __global__ void __launch_bounds__(MOST_THREADS) bitfit_add_norm_backward_##SUFFIX(                            \
        const float* dy, const float* weight, const K* normal, const float* rstd, DROPOUT_PARAMETERS, float* dr, X* dx,      \
        float* partial, u64 rows, u64 cols) {                                                                                \
        __shared__ float2 shared[64];                                                                                        \
        add_norm_backward(dy, weight, normal, rstd, DROPOUT_SITE, dr, dx, partial, rows, cols, shared);                      \
    }

OF_TYPES(float, float, f32_f32)
OF_TYPES(float, bf16, f32_bf16)
OF_TYPES(bf16, float, bf16_f32)
OF_TYPES(bf16, bf16, bf16_bf16)
