// y = LN(r + m ∘ (x + b)) over the rows of [rows, cols], and its backward with the column sums of β, b and γ in the
// same pass.
//
// A block processes ROWS rows at once, and each thread four neighbouring columns of all of them; the rows stay in
// registers from the first load to the last store. All loads are issued before the first use, dropout bits are
// generated meanwhile, and the sums of the rows are reduced together, so a block waits once rather than once per row.
// The sum of a column over the rows of the block needs no other thread. A block has cols / 4 threads, in whole warps,
// so a row has at most 4096 columns.
//
// Matrices are accessed in vectors if the rows of all of them are aligned (WIDE); a vector parameter can start anywhere
// in the arena, and is checked separately.

// The four columns of a thread, or fewer at the end of a row.
struct Columns {
    u32 first, count;
};

__device__ __forceinline__ Columns columns_of_thread(u32 cols) {
    u32 first = 4 * threadIdx.x;
    u32 rest = first < cols ? cols - first : 0;
    return Columns{first, rest < 4 ? rest : 4};
}

// Row r after `row`. The distance in bytes is the same for all threads, so an address takes one addition.
template <class T>
__device__ __forceinline__ T* next_row(T* row, u32 r, u32 cols) {
    return (T*)((char*)row + (u64)cols * (r * (u32)sizeof(T)));
}

// Whether rows of `cols` elements from `from` on can be read four elements at a time. True for null.
template <class T>
__device__ __forceinline__ bool is_wide(const T* from, u64 cols) {
    return cols % 4 == 0 && (u64)from % (4 * sizeof(T)) == 0;
}

// Four elements in memory format, and their conversion, which is done at the use because it waits for the load.
template <class T>
struct Stored;
template <>
struct Stored<float> {
    typedef float4 Four;
};
template <>
struct Stored<bf16> {
    typedef uint2 Four;
};
__device__ __forceinline__ float4 numbers(float4 four) { return four; }
__device__ __forceinline__ float4 numbers(uint2 four) {
    return make_float4(low_bf16(four.x), high_bf16(four.x), low_bf16(four.y), high_bf16(four.y));
}

// The thread's columns of a row; zero if it has none, or the row does not exist (`there`).
template <bool WIDE>
__device__ __forceinline__ float4 load_four(const float* row, Columns columns, bool there = true) {
    float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    row += columns.first;
    if (WIDE) {
        if (there && columns.count > 0) four = *reinterpret_cast<const float4*>(row);
    } else {
        if (there && columns.count > 0) four.x = row[0];
        if (there && columns.count > 1) four.y = row[1];
        if (there && columns.count > 2) four.z = row[2];
        if (there && columns.count > 3) four.w = row[3];
    }
    return four;
}
template <bool WIDE>
__device__ __forceinline__ uint2 load_four(const bf16* row, Columns columns, bool there = true) {
    uint2 four = make_uint2(0, 0);
    row += columns.first;
    if (WIDE) {
        if (there && columns.count > 0) four = *reinterpret_cast<const uint2*>(row);
    } else {
        if (there && columns.count > 0) four.x = row[0];
        if (there && columns.count > 1) four.x |= (u32)row[1] << 16;
        if (there && columns.count > 2) four.y = row[2];
        if (there && columns.count > 3) four.y |= (u32)row[3] << 16;
    }
    return four;
}

// The thread's columns of a vector parameter; zero if there is none.
__device__ __forceinline__ float4 load_parameter(const float* from, u64 cols, Columns columns) {
    if (!from) return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    return is_wide(from, cols) ? load_four<true>(from, columns) : load_four<false>(from, columns);
}

__device__ __forceinline__ void store_vector(float* to, float4 v) { *reinterpret_cast<float4*>(to) = v; }
__device__ __forceinline__ void store_vector(bf16* to, float4 v) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w));
}

template <bool WIDE, class T>
__device__ __forceinline__ void store_four(T* row, Columns columns, bool there, float4 v) {
    row += columns.first;
    if (WIDE) {
        if (there && columns.count > 0) store_vector(row, v);
    } else {
        if (there && columns.count > 0) store(row, 0, v.x);
        if (there && columns.count > 1) store(row, 1, v.y);
        if (there && columns.count > 2) store(row, 2, v.z);
        if (there && columns.count > 3) store(row, 3, v.w);
    }
}

__device__ __forceinline__ float4 add_four(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
__device__ __forceinline__ float4 multiply_four(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}
// a ∘ b + c.
__device__ __forceinline__ float4 fuse_four(float4 a, float4 b, float4 c) {
    return make_float4(fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y), fmaf(a.z, b.z, c.z), fmaf(a.w, b.w, c.w));
}
__device__ __forceinline__ float sum_four(float4 a) { return (a.x + a.y) + (a.z + a.w); }

// The sum over the thread's own columns.
template <bool WIDE>
__device__ __forceinline__ float sum_of_columns(float4 v, Columns columns) {
    if (WIDE) return columns.count > 0 ? sum_four(v) : 0.0f;
    return sum_four(make_float4(
        columns.count > 0 ? v.x : 0.0f, columns.count > 1 ? v.y : 0.0f, columns.count > 2 ? v.z : 0.0f, columns.count > 3 ? v.w : 0.0f));
}

// COUNT sums over the block, COUNT a power of two up to 32: lanes i, i + COUNT and so on of every warp receive the sum
// of value i over all threads. `shared` has room for COUNT floats per warp, and serves one call.
//
// Within a warp, lanes exchange half of their remaining values and keep the other half until each has one. That takes
// one shuffle per value, where a `warp_sum` for each would take five.
template <u32 COUNT>
__device__ __forceinline__ float block_sums(float (&values)[COUNT], float* shared) {
    u32 lane = threadIdx.x % 32, distance = 16;
#pragma unroll
    for (u32 half = COUNT / 2; half > 0; half /= 2, distance /= 2) {
        bool upper = lane & distance;
#pragma unroll
        for (u32 i = 0; i < half; i++) {
            float kept = upper ? values[half + i] : values[i], given = upper ? values[i] : values[half + i];
            values[i] = kept + __shfl_xor_sync(FULL_WARP, given, distance);
        }
    }
    float sum = values[0];
#pragma unroll
    for (; distance > 0; distance /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, distance);
    // The upper bits of the lane number select the value that is left in a lane.
    if (lane % (32 / COUNT) == 0) shared[threadIdx.x / 32 * COUNT + lane / (32 / COUNT)] = sum;
    __syncthreads();
    sum = 0.0f;
    shared += lane % COUNT;
#pragma unroll 1
    for (u32 warp = 0, warps = blockDim.x / 32; warp < warps; warp += 8, shared += 8 * COUNT) {
        float parts[8];
#pragma unroll
        for (u32 i = 0; i < 8; i++) parts[i] = warp + i < warps ? shared[i * COUNT] : 0.0f;
#pragma unroll
        for (u32 i = 0; i < 8; i++) sum += parts[i];
    }
    return sum;
}

// Which elements the dropout keeps: bit 4 r + i for the thread's column i of row `first` + r. All threads of the block
// call.
//
// A draw decides eight elements that are sixteen apart in a group of 128, and a warp has 128 columns of a row. The
// lanes of a warp therefore generate all draws together and exchange the bits.
template <u32 ROWS, bool WIDE>
__device__ __forceinline__ u32 kept_of_rows(const Dropout& dropout, u64 first, u64 cols) {
    if (dropout.threshold == 0) return ~0u;
    u32 lane = threadIdx.x % 32, kept = 0;
    u64 begin = dropout.first + first * cols + threadIdx.x / 32 * 128;
    if (WIDE && cols % 128 == 0 && dropout.first % 128 == 0) {
        // A warp's columns of a row are one group of sixteen draws: half of the warp draws for a row, the other half
        // for the next. Byte p of `drawn` belongs to the pair p of rows.
        u32 drawn = 0;
#pragma unroll
        for (u32 pair = 0; pair < ROWS / 2; pair++) {
            u64 block = draw_block(begin + (2 * pair + lane / 16) * cols + lane % 16);
            drawn |= kept_of_draw(dropout, philox(dropout, block)) << (8 * pair);
        }
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
            u32 from = i / 4 * 16 + (4 * lane + i % 4) % 16;
            kept |= ((__shfl_sync(FULL_WARP, drawn, from) >> (lane / 4)) & 0x01010101u) << i;
        }
    } else {
        // The columns are in two groups, and half of the warp draws for each. Not unrolled, to save compile time.
#pragma unroll 1
        for (u32 row = 0; row < ROWS; row++, begin += cols) {
            u32 drawn = kept_of_draw(dropout, philox(dropout, (begin / 128 + lane / 16) * 16 + lane % 16));
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                u32 at = (u32)(begin % 128) + 4 * lane + i;
                u32 bits = __shfl_sync(FULL_WARP, drawn, at / 128 * 16 + at % 16);
                kept |= ((bits >> (at % 128 / 16)) & 1u) << (4 * row + i);
            }
        }
    }
    return kept;
}

// The dropout factors of the thread's columns of row r of the block.
__device__ __forceinline__ float4 factors_of_row(const Dropout& dropout, u32 kept, u32 r) {
    kept >>= 4 * r;
    return make_float4(
        kept & 1u ? dropout.scale : 0.0f, kept & 2u ? dropout.scale : 0.0f, kept & 4u ? dropout.scale : 0.0f,
        kept & 8u ? dropout.scale : 0.0f);
}

// A block processes the ROWS rows from `first` on. `bias`, `residual`, `rounded` (a copy of y), and `normalized` with
// `rstd` may be null.
template <u32 ROWS, bool WIDE, class X, class K>
__device__ __forceinline__ void add_norm(
    const X* x, const float* bias, const float* residual, const float* weight, const float* beta, const Dropout& dropout, float eps,
    float* y, bf16* rounded, K* normalized, float* rstd, u64 first, u64 rows, u32 cols, float* shared) {
    u64 begin = first * cols;
    u32 there = rows - first < ROWS ? (u32)(rows - first) : ROWS;
    Columns columns = columns_of_thread(cols);
    typename Stored<X>::Four of_x[ROWS];
    float4 v[ROWS];
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) of_x[r] = load_four<WIDE>(next_row(x + begin, r, cols), columns, r < there);
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        v[r] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (residual) v[r] = load_four<WIDE>(next_row(residual + begin, r, cols), columns, r < there);
    }
    float4 of_bias = load_parameter(bias, cols, columns);
    float4 of_weight = load_parameter(weight, cols, columns), of_beta = load_parameter(beta, cols, columns);
    u32 kept = kept_of_rows<ROWS, WIDE>(dropout, first, cols);

    float sums[ROWS];
    float share = 1.0f / (float)cols;
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        v[r] = fuse_four(factors_of_row(dropout, kept, r), add_four(numbers(of_x[r]), of_bias), v[r]);
        sums[r] = sum_four(v[r]);
    }
    float mean = block_sums(sums, shared) * share;
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        float of_row = __shfl_sync(FULL_WARP, mean, r);
        v[r] = make_float4(v[r].x - of_row, v[r].y - of_row, v[r].z - of_row, v[r].w - of_row);
        sums[r] = sum_of_columns<WIDE>(multiply_four(v[r], v[r]), columns);
    }
    float inverse = rsqrtf(block_sums(sums, shared + 32 * ROWS) * share + eps);
    if (normalized && threadIdx.x < there) rstd[first + threadIdx.x] = inverse;
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        float of_row = __shfl_sync(FULL_WARP, inverse, r);
        float4 n = make_float4(v[r].x * of_row, v[r].y * of_row, v[r].z * of_row, v[r].w * of_row);
        if (normalized) store_four<WIDE>(next_row(normalized + begin, r, cols), columns, r < there, n);
        n = fuse_four(of_weight, n, of_beta);
        store_four<WIDE>(next_row(y + begin, r, cols), columns, r < there, n);
        if (rounded) store_four<WIDE>(next_row(rounded + begin, r, cols), columns, r < there, n);
    }
}

// Launch: a block for `block_rows` rows, which it processes ROWS at a time. `normalized` with `rstd` may be null if
// only the sum for β is needed. `dr` and `dx` may be null, and so may each of the sums for β, b and γ over the rows of
// each block, [blocks, cols].
template <u32 ROWS, bool WIDE, class X, class K>
__device__ __forceinline__ void add_norm_backward(
    const float* dy, const float* weight, const K* normalized, const float* rstd, const Dropout& dropout, float* dr, X* dx, float* beta,
    float* bias, float* gamma, u64 rows, u64 block_rows, u32 cols, float* shared) {
    const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    u64 first = blockIdx.x * block_rows, end = first + block_rows < rows ? first + block_rows : rows;
    u32 lane = threadIdx.x % 32;
    float share = 1.0f / (float)cols;
    Columns columns = columns_of_thread(cols);
    float4 of_weight = load_parameter(normalized ? weight : nullptr, cols, columns);
    float4 of_beta = zero, of_bias = zero, of_gamma = zero;
    for (; first < end; first += ROWS) {
        u64 begin = first * cols;
        u32 there = end - first < ROWS ? (u32)(end - first) : ROWS;
        float4 g[ROWS];
        typename Stored<K>::Four of_normalized[ROWS];
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) g[r] = load_four<WIDE>(next_row(dy + begin, r, cols), columns, r < there);
        if (normalized) {
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) of_normalized[r] = load_four<WIDE>(next_row(normalized + begin, r, cols), columns, r < there);
        }
        float inverse = normalized && lane < there ? rstd[first + lane] : 0.0f;
        u32 kept = normalized ? kept_of_rows<ROWS, WIDE>(dropout, first, cols) : 0;
        if (beta) {
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) of_beta = add_four(of_beta, g[r]);
        }
        if (!normalized) continue;
        if (gamma) {
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) of_gamma = fuse_four(g[r], numbers(of_normalized[r]), of_gamma);
        }

        // For each row, the sums of g and of g ∘ x̂. Two buffers alternate, so that a slow thread can still read one
        // while the next is written.
        float sums[2 * ROWS];
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) {
            g[r] = multiply_four(g[r], of_weight);
            sums[r] = sum_four(g[r]);
            sums[ROWS + r] = sum_four(multiply_four(g[r], numbers(of_normalized[r])));
        }
        float means = block_sums(sums, shared + first / ROWS % 2 * (32 * 2 * ROWS)) * share;
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) {
            float mean = __shfl_sync(FULL_WARP, means, r), along = __shfl_sync(FULL_WARP, means, ROWS + r);
            // Zero for a row that does not exist, and so is everything that follows.
            float scale = __shfl_sync(FULL_WARP, inverse, r);
            float4 n = numbers(of_normalized[r]);
            float4 v = make_float4(
                scale * (g[r].x - mean - n.x * along), scale * (g[r].y - mean - n.y * along), scale * (g[r].z - mean - n.z * along),
                scale * (g[r].w - mean - n.w * along));
            if (dr) store_four<WIDE>(next_row(dr + begin, r, cols), columns, r < there, v);
            v = multiply_four(v, factors_of_row(dropout, kept, r));
            of_bias = add_four(of_bias, v);
            if (dx) store_four<WIDE>(next_row(dx + begin, r, cols), columns, r < there, v);
        }
    }
    u64 begin = (u64)blockIdx.x * cols;
    if (beta) store_four<WIDE>(beta + begin, columns, true, of_beta);
    if (bias) store_four<WIDE>(bias + begin, columns, true, of_bias);
    if (gamma) store_four<WIDE>(gamma + begin, columns, true, of_gamma);
}

// For x and dx of type X, with x̂ saved as K; for blocks of at most THREADS threads, of which a multiprocessor should
// hold BLOCKS. If rows are not WIDE, which happens for odd sizes only, two rows are processed at a time, to limit the
// code size.
#define FORWARD(ROWS, X, K, SUFFIX, THREADS, BLOCKS)                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) bitfit_add_norm_by##ROWS##_##SUFFIX(                           \
        const X* x, const float* bias, const float* residual, const float* weight, const float* beta, DROPOUT_PARAMETERS,        \
        float eps, float* y, bf16* rounded, K* normalized, float* rstd, u64 rows, u64 cols) {                                        \
        __shared__ float shared[2 * 32 * ROWS];                                                                                  \
        u64 first = (u64)blockIdx.x * ROWS;                                                                                      \
        bool wide = is_wide(x, cols) && is_wide(residual, cols) && is_wide(y, cols);                                             \
        if (wide && is_wide(rounded, cols) && is_wide(normalized, cols)) {                                                           \
            add_norm<ROWS, true>(                                                                                                \
                x, bias, residual, weight, beta, DROPOUT_SITE, eps, y, rounded, normalized, rstd, first, rows, (u32)cols, shared);   \
            return;                                                                                                              \
        }                                                                                                                        \
        for (u64 end = first + ROWS < rows ? first + ROWS : rows; first < end; first += 2) {                                     \
            add_norm<2, false>(                                                                                                  \
                x, bias, residual, weight, beta, DROPOUT_SITE, eps, y, rounded, normalized, rstd, first, rows, (u32)cols, shared);   \
            __syncthreads();                                                                                                     \
        }                                                                                                                        \
    }
#define BACKWARD(ROWS, X, K, SUFFIX, THREADS, BLOCKS)                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) bitfit_add_norm_backward_by##ROWS##_##SUFFIX(                  \
        const float* dy, const float* weight, const K* normalized, const float* rstd, DROPOUT_PARAMETERS, float* dr, X* dx,          \
        float* beta, float* bias, float* gamma, u64 rows, u64 block_rows, u64 cols) {                                            \
        __shared__ float shared[2 * 32 * 2 * ROWS];                                                                              \
        if (is_wide(dy, cols) && is_wide(normalized, cols) && is_wide(dr, cols) && is_wide(dx, cols)) {                              \
            add_norm_backward<ROWS, true>(                                                                                       \
                dy, weight, normalized, rstd, DROPOUT_SITE, dr, dx, beta, bias, gamma, rows, block_rows, (u32)cols, shared);         \
        } else {                                                                                                                 \
            add_norm_backward<2, false>(                                                                                         \
                dy, weight, normalized, rstd, DROPOUT_SITE, dr, dx, beta, bias, gamma, rows, block_rows, (u32)cols, shared);         \
        }                                                                                                                        \
    }
#define OF_TYPES(X, K, SUFFIX)            \
    FORWARD(2, X, K, SUFFIX, 1024, 1)     \
    FORWARD(4, X, K, SUFFIX, 256, 4)      \
    BACKWARD(2, X, K, SUFFIX, 1024, 1)    \
    BACKWARD(4, X, K, SUFFIX, 256, 3)

OF_TYPES(float, float, f32_f32)
OF_TYPES(float, bf16, f32_bf16)
OF_TYPES(bf16, float, bf16_f32)
OF_TYPES(bf16, bf16, bf16_bf16)
