// Attention in tiles with multiply-adds in f32, for matrices of either type and heads of at most 128 columns: for f32,
// and for bfloat16 if tensor cores do not support it.
//
// A block of 256 threads takes TILE queries (or keys) and loops over all keys (or queries) TILE at a time, so that only
// one tile of scores exists. Thread (ty, tx) of 16 · 16 has rows ty · ROWS .. of a tile and columns tx, tx + 16, …:
// sixteen threads read the same element of a row at the same time, and elements of columns in sixteen different banks.
// For the same reason rows in shared memory are one element longer than DIM. A head with fewer columns than DIM is
// padded with zeros.
//
// TILE is as large as 48 KiB of shared memory allow: 64 in forward (a little more than 48 KiB for DIM = 64, which every
// device since Turing has; 32 for DIM = 128), 32 in backward, which holds four tiles (16 for DIM = 128).

#define THREADS 256

template <int DIM>
struct Tiles {
    static const int FORWARD = DIM > 64 ? 32 : 64;
    static const int BACKWARD = DIM > 64 ? 16 : 32;
};

// Copies `rows` rows of a head's columns, from row `first` on, to TILE rows in shared memory, padded with zeros.
template <class T, int DIM, int TILE>
__device__ __forceinline__ void load_tile(const T* from, u64 stride, u64 first, u32 rows, u32 column, u32 dim, float* to) {
    for (u32 i = threadIdx.x; i < TILE * DIM; i += THREADS) {
        u32 row = i / DIM, d = i % DIM;
        to[row * (DIM + 1) + d] = row < rows && d < dim ? load(from, (first + row) * stride + column + d) : 0.0f;
    }
}

// c[r][j] = Σ_d a[row r of the thread][d] b[column j of the thread][d].
template <int DIM, int ROWS>
__device__ __forceinline__ void multiply_rows(const float* a, const float* b, float (&c)[ROWS][ROWS]) {
    u32 ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < ROWS; j++) c[r][j] = 0.0f;
#pragma unroll 8
    for (int d = 0; d < DIM; d++) {
        float left[ROWS], right[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            left[r] = a[(ty * ROWS + r) * (DIM + 1) + d];
            right[r] = b[(tx + 16 * r) * (DIM + 1) + d];
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int j = 0; j < ROWS; j++) c[r][j] = fmaf(left[r], right[j], c[r][j]);
    }
}

// c[r][j] += Σ_i a[row r of the thread][i] b[i][column j of the thread], or of aᵀ; a [TILE, TILE], b [TILE, DIM].
template <int DIM, int TILE, bool TRANSPOSED>
__device__ __forceinline__ void multiply_tile(const float* a, const float* b, float (&c)[TILE / 16][DIM / 16]) {
    const int ROWS = TILE / 16, COLUMNS = DIM / 16;
    u32 ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll 4
    for (int i = 0; i < TILE; i++) {
        float left[ROWS], right[COLUMNS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) left[r] = TRANSPOSED ? a[i * TILE + ty * ROWS + r] : a[(ty * ROWS + r) * TILE + i];
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) right[j] = b[i * (DIM + 1) + tx + 16 * j];
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) c[r][j] = fmaf(left[r], right[j], c[r][j]);
    }
}

// The sum and the maximum over the sixteen threads that share rows, in each of them.
__device__ __forceinline__ float sum_of_sixteen(float x) {
    for (int distance = 8; distance > 0; distance /= 2) x += __shfl_xor_sync(FULL_WARP, x, distance);
    return x;
}
__device__ __forceinline__ float max_of_sixteen(float x) {
    for (int distance = 8; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, distance));
    return x;
}

// Writes the thread's part of a tile of DIM columns, times `factor[r]`, to `rows` rows from row `first` on.
template <class T, int DIM, int ROWS>
__device__ __forceinline__ void store_tile(
    T* to, u64 stride, u64 first, u32 rows, u64 column, u32 dim, const float (&c)[ROWS][DIM / 16], const float (&factor)[ROWS]) {
    u32 ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    for (int r = 0; r < ROWS; r++) {
        u32 row = ty * ROWS + r;
        for (int j = 0; j < DIM / 16; j++) {
            u32 d = tx + 16 * j;
            if (row < rows && d < dim) store(to, (first + row) * stride + column + d, c[r][j] * factor[r]);
        }
    }
}

// o = (m ∘ softmax(q · kᵀ / √D)) · v [Tq, H], and if `lse` [Tq, heads] is not null the rows' log-sum-exps. A block
// takes FORWARD queries. The softmax is computed online: a row's maximum so far, the sum of exponentials and the sum of
// values weighted by them, both rescaled when a greater score occurs (Milakov, Gimelshein, arXiv 1805.02867). Launch:
// blocks of queries along z; dynamic shared memory (2 · TILE · (DIM + 1) + TILE²) · 4 bytes.
template <class T, int DIM>
__device__ __forceinline__ void attention(const Input<T>& input, T* o, float* lse, float* shared, unsigned char* kept) {
    const int TILE = Tiles<DIM>::FORWARD, ROWS = TILE / 16;
    Head at = head_of_block(input);
    u32 query0 = blockIdx.z * TILE;
    if (query0 >= at.queries) return;
    u32 ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    // k and v take turns in one tile.
    float *queries = shared, *keys = queries + TILE * (DIM + 1), *p = keys + TILE * (DIM + 1);
    load_tile<T, DIM, TILE>(input.q, input.q_stride, at.first_query + query0, at.queries - query0, at.column, input.dim, queries);
    float sums[ROWS], greatest[ROWS], c[ROWS][DIM / 16];
    for (int r = 0; r < ROWS; r++) {
        sums[r] = 0.0f;
        greatest[r] = MINUS_INFINITY;
        for (int j = 0; j < DIM / 16; j++) c[r][j] = 0.0f;
    }
    for (u32 key0 = 0; key0 < at.keys; key0 += TILE) {
        __syncthreads();
        load_tile<T, DIM, TILE>(input.k, input.kv_stride, at.first_key + key0, at.keys - key0, at.column, input.dim, keys);
        draw_tile(input.dropout, at.first_element + (u64)query0 * at.pitch + key0, at.pitch, TILE, TILE, kept);
        __syncthreads();
        float s[ROWS][ROWS];
        multiply_rows<DIM, ROWS>(queries, keys, s);
        for (int r = 0; r < ROWS; r++) {
            float max = greatest[r];
            for (int j = 0; j < ROWS; j++) {
                u32 query = query0 + ty * ROWS + r, key = key0 + tx + 16 * j;
                s[r][j] = key < at.keys ? s[r][j] * input.scale + position_bias(input, at.head, query, key) : MINUS_INFINITY;
                max = fmaxf(max, s[r][j]);
            }
            // Finite: every tile has a key.
            max = max_of_sixteen(max);
            float correction = expf(greatest[r] - max), sum = 0.0f;
            greatest[r] = max;
            for (int j = 0; j < ROWS; j++) {
                float e = expf(s[r][j] - max);
                sum += e;
                u32 row = ty * ROWS + r, column = tx + 16 * j;
                p[row * TILE + column] = e * tile_factor(input.dropout, kept, row, column);
            }
            sums[r] = sums[r] * correction + sum_of_sixteen(sum);
            for (int j = 0; j < DIM / 16; j++) c[r][j] *= correction;
        }
        __syncthreads();
        load_tile<T, DIM, TILE>(input.v, input.kv_stride, at.first_key + key0, at.keys - key0, at.column, input.dim, keys);
        __syncthreads();
        multiply_tile<DIM, TILE, false>(p, keys, c);
    }
    u64 stride = (u64)input.heads * input.dim;
    float inverse[ROWS];
    for (int r = 0; r < ROWS; r++) {
        inverse[r] = 1.0f / sums[r];
        u32 row = query0 + ty * ROWS + r;
        if (lse && tx == 0 && row < at.queries) lse[(at.first_query + row) * input.heads + at.head] = greatest[r] + logf(sums[r]);
    }
    store_tile<T, DIM, ROWS>(o, stride, at.first_query + query0, at.queries - query0, at.column, input.dim, c, inverse);
}

// Of a tile of queries from `query0` on against one of keys from `key0` on, both loaded: p and m ∘ dp of the thread's
// elements; p is zero outside of the tiles' rows.
template <class T, int DIM, int TILE>
__device__ __forceinline__ void probabilities(
    const Input<T>& input, u32 head, u32 query0, u32 key0, const float* queries, const float* gradients, const float* keys, const float* values,
    const float* lse, u32 query_count, u32 key_count, const unsigned char* kept, float (&p)[TILE / 16][TILE / 16],
    float (&dp)[TILE / 16][TILE / 16]) {
    const int ROWS = TILE / 16;
    u32 ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    multiply_rows<DIM, ROWS>(queries, keys, p);
    multiply_rows<DIM, ROWS>(gradients, values, dp);
    for (int r = 0; r < ROWS; r++) {
        u32 row = ty * ROWS + r;
        for (int j = 0; j < ROWS; j++) {
            u32 column = tx + 16 * j;
            float score = p[r][j] * input.scale + position_bias(input, head, query0 + row, key0 + column);
            p[r][j] = row < query_count && column < key_count ? expf(score - lse[row]) : 0.0f;
            dp[r][j] *= tile_factor(input.dropout, kept, row, column);
        }
    }
}

// The shared memory of the backward kernels.
template <int DIM>
struct Shared {
    static const int TILE = Tiles<DIM>::BACKWARD;
    float queries[TILE * (DIM + 1)], gradients[TILE * (DIM + 1)], keys[TILE * (DIM + 1)], values[TILE * (DIM + 1)];
    // ds, and m ∘ p if it is needed.
    float ds[TILE * TILE], p[TILE * TILE];
    float lse[TILE], means[TILE];
    unsigned char kept[TILE * 16];
};

// dq = ds · k / √D, and the rows' Σⱼ p dp to `means` [Tq, heads], which the next kernel reads. A block takes BACKWARD
// queries and loops over the keys twice: for the sum, then for ds. If one tile holds all keys, the second pass reuses
// the results of the first. Launch: blocks of queries along z.
template <class T, int DIM>
__device__ __forceinline__ void attention_dq(
    const Input<T>& input, const float* lse, const T* dy, float* means, T* dq, u64 dq_stride, Shared<DIM>& shared) {
    const int TILE = Tiles<DIM>::BACKWARD, ROWS = TILE / 16;
    Head at = head_of_block(input);
    u32 query0 = blockIdx.z * TILE;
    if (query0 >= at.queries) return;
    u32 ty = threadIdx.x / 16, tx = threadIdx.x % 16, queries = at.queries - query0;
    u64 stride = (u64)input.heads * input.dim, first = at.first_query + query0;
    load_tile<T, DIM, TILE>(input.q, input.q_stride, first, queries, at.column, input.dim, shared.queries);
    load_tile<T, DIM, TILE>(dy, stride, first, queries, at.column, input.dim, shared.gradients);
    if (threadIdx.x < TILE) {
        shared.lse[threadIdx.x] = threadIdx.x < queries ? lse[(first + threadIdx.x) * input.heads + at.head] : 0.0f;
    }
    float mean[ROWS], p[ROWS][ROWS], dp[ROWS][ROWS], c[ROWS][DIM / 16], factor[ROWS];
    for (int r = 0; r < ROWS; r++) {
        mean[r] = 0.0f;
        factor[r] = input.scale;
        for (int j = 0; j < DIM / 16; j++) c[r][j] = 0.0f;
    }
    for (u32 pass = 0; pass < 2; pass++) {
        for (u32 key0 = 0; key0 < at.keys; key0 += TILE) {
            if (pass == 0 || at.keys > TILE) {
                __syncthreads();
                load_tile<T, DIM, TILE>(input.k, input.kv_stride, at.first_key + key0, at.keys - key0, at.column, input.dim, shared.keys);
                load_tile<T, DIM, TILE>(input.v, input.kv_stride, at.first_key + key0, at.keys - key0, at.column, input.dim, shared.values);
                draw_tile(input.dropout, at.first_element + (u64)query0 * at.pitch + key0, at.pitch, TILE, TILE, shared.kept);
                __syncthreads();
                probabilities<T, DIM, TILE>(
                    input, at.head, query0, key0, shared.queries, shared.gradients, shared.keys, shared.values, shared.lse, queries,
                    at.keys - key0, shared.kept, p, dp);
            }
            if (pass == 0) {
                for (int r = 0; r < ROWS; r++)
                    for (int j = 0; j < ROWS; j++) mean[r] = fmaf(p[r][j], dp[r][j], mean[r]);
            } else {
                for (int r = 0; r < ROWS; r++)
                    for (int j = 0; j < ROWS; j++) shared.ds[(ty * ROWS + r) * TILE + tx + 16 * j] = p[r][j] * (dp[r][j] - mean[r]);
                __syncthreads();
                multiply_tile<DIM, TILE, false>(shared.ds, shared.keys, c);
            }
        }
        if (pass == 0) {
            for (int r = 0; r < ROWS; r++) {
                mean[r] = sum_of_sixteen(mean[r]);
                u32 row = ty * ROWS + r;
                if (tx == 0 && row < queries) means[(first + row) * input.heads + at.head] = mean[r];
            }
        }
    }
    store_tile<T, DIM, ROWS>(dq, dq_stride, first, queries, at.column, input.dim, c, factor);
}

// dk = dsᵀ · q / √D and dv = (m ∘ p)ᵀ · dy, to columns `k_at ..` and `v_at ..` of rows of dkv. A block takes BACKWARD
// keys and loops over the queries. Launch: blocks of keys along z.
template <class T, int DIM>
__device__ __forceinline__ void attention_dkv(
    const Input<T>& input, const float* lse, const T* dy, const float* means, T* dkv, u64 dkv_stride, u64 k_at, u64 v_at,
    Shared<DIM>& shared) {
    const int TILE = Tiles<DIM>::BACKWARD, ROWS = TILE / 16;
    Head at = head_of_block(input);
    u32 key0 = blockIdx.z * TILE;
    if (key0 >= at.keys) return;
    u32 ty = threadIdx.x / 16, tx = threadIdx.x % 16, keys = at.keys - key0;
    u64 stride = (u64)input.heads * input.dim, first = at.first_key + key0;
    load_tile<T, DIM, TILE>(input.k, input.kv_stride, first, keys, at.column, input.dim, shared.keys);
    load_tile<T, DIM, TILE>(input.v, input.kv_stride, first, keys, at.column, input.dim, shared.values);
    float dk[ROWS][DIM / 16], dv[ROWS][DIM / 16], scale[ROWS], one[ROWS];
    for (int r = 0; r < ROWS; r++) {
        scale[r] = input.scale;
        one[r] = 1.0f;
        for (int j = 0; j < DIM / 16; j++) dk[r][j] = dv[r][j] = 0.0f;
    }
    for (u32 query0 = 0; query0 < at.queries; query0 += TILE) {
        u64 row0 = at.first_query + query0;
        u32 queries = at.queries - query0;
        __syncthreads();
        load_tile<T, DIM, TILE>(input.q, input.q_stride, row0, queries, at.column, input.dim, shared.queries);
        load_tile<T, DIM, TILE>(dy, stride, row0, queries, at.column, input.dim, shared.gradients);
        draw_tile(input.dropout, at.first_element + (u64)query0 * at.pitch + key0, at.pitch, TILE, TILE, shared.kept);
        if (threadIdx.x < TILE) {
            u64 i = (row0 + threadIdx.x) * input.heads + at.head;
            shared.lse[threadIdx.x] = threadIdx.x < queries ? lse[i] : 0.0f;
            shared.means[threadIdx.x] = threadIdx.x < queries ? means[i] : 0.0f;
        }
        __syncthreads();
        float p[ROWS][ROWS], dp[ROWS][ROWS];
        probabilities<T, DIM, TILE>(
            input, at.head, query0, key0, shared.queries, shared.gradients, shared.keys, shared.values, shared.lse, queries, keys,
            shared.kept, p, dp);
        for (int r = 0; r < ROWS; r++) {
            u32 row = ty * ROWS + r;
            for (int j = 0; j < ROWS; j++) {
                u32 column = tx + 16 * j;
                shared.ds[row * TILE + column] = p[r][j] * (dp[r][j] - shared.means[row]);
                shared.p[row * TILE + column] = p[r][j] * tile_factor(input.dropout, shared.kept, row, column);
            }
        }
        __syncthreads();
        multiply_tile<DIM, TILE, true>(shared.p, shared.gradients, dv);
        multiply_tile<DIM, TILE, true>(shared.ds, shared.queries, dk);
    }
    store_tile<T, DIM, ROWS>(dkv, dkv_stride, first, keys, k_at + at.column, input.dim, dk, scale);
    store_tile<T, DIM, ROWS>(dkv, dkv_stride, first, keys, v_at + at.column, input.dim, dv, one);
}

#define OF_TYPE_AND_DIM(T, SUFFIX, DIM)                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_##DIM##_##SUFFIX(                                        \
        ATTENTION_PARAMETERS(T), T* o, float* lse) {                                                                           \
        DYNAMIC_SHARED(float, shared);                                                                                              \
        __shared__ unsigned char kept[Tiles<DIM>::FORWARD * 16];                                                                    \
        attention<T, DIM>(ATTENTION_INPUT(T), o, lse, shared, kept);                                                           \
    }                                                                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_dq_##DIM##_##SUFFIX(                                     \
        ATTENTION_PARAMETERS(T), const float* lse, const T* dy, float* means, T* dq, u64 dq_stride) {                          \
        __shared__ Shared<DIM> shared;                                                                                              \
        attention_dq<T, DIM>(ATTENTION_INPUT(T), lse, dy, means, dq, dq_stride, shared);                                       \
    }                                                                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_dkv_##DIM##_##SUFFIX(                                    \
        ATTENTION_PARAMETERS(T), const float* lse, const T* dy, const float* means, T* dkv, u64 dkv_stride, u64 k_at, u64 v_at) { \
        __shared__ Shared<DIM> shared;                                                                                              \
        attention_dkv<T, DIM>(ATTENTION_INPUT(T), lse, dy, means, dkv, dkv_stride, k_at, v_at, shared);                        \
    }

OF_TYPE_AND_DIM(float, f32, 32)
OF_TYPE_AND_DIM(float, f32, 64)
OF_TYPE_AND_DIM(float, f32, 128)
OF_TYPE_AND_DIM(bf16, bf16, 32)
OF_TYPE_AND_DIM(bf16, bf16, 64)
OF_TYPE_AND_DIM(bf16, bf16, 128)
