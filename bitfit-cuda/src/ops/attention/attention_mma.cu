// Attention in bfloat16 on tensor cores for sequences of any length; sums and the softmax in f32.
//
// A block of four warps takes 64 queries (or keys), sixteen per warp, and loops over the keys (or queries) in steps.
// The number of registers limits the steps, because the data and the sums of a warp's rows grow with DIM. A step is 64
// keys in forward; in backward 64 keys for the gradient of the queries (32 for DIM = 128), and 32 queries for the
// gradients of keys and values (16 for DIM = 128).

#if __CUDA_ARCH__ >= 800

#define WARPS 4
#define THREADS (32 * WARPS)
// Rows of a block.
#define TILE (16 * WARPS)
// The number of keys for which dropout is drawn at once, a whole number of steps: a draw decides eight elements that
// are sixteen apart.
#define DRAWN 128

template <int DIM>
struct Steps {
    static const int FORWARD = 64;
    static const int DQ = DIM > 64 ? 32 : 64;
    static const int DKV = DIM > 64 ? 16 : 32;
};

// A warp's sixteen rows of a head's columns as left operands, read directly from global memory, because they are read
// once.
template <int DIM>
__device__ __forceinline__ void load_left(
    const bf16* from, u64 stride, u64 first, u32 rows, u32 column, u32 dim, u32 (&a)[DIM / 16][4]) {
    u32 row = warp_row() + threadIdx.x % 32 / 4, pair = 2 * (threadIdx.x % 4);
#pragma unroll
    for (u32 step = 0; step < DIM / 16; step++) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u32 r = row + i % 2 * 8, d = 16 * step + i / 2 * 8 + pair;
            bool there = r < rows && d < dim;
            a[step][i] = there ? *reinterpret_cast<const u32*>(from + (first + r) * stride + column + d) : 0;
        }
    }
}

// c = a · bᵀ: a [16, DIM] in registers, b [COLUMNS, DIM] in shared memory, in lines of DIM + PAD.
template <int DIM, int COLUMNS>
__device__ __forceinline__ void multiply_left(const u32 (&a)[DIM / 16][4], const bf16* b, float (&c)[COLUMNS / 8][4]) {
    clear(c);
#pragma unroll
    for (u32 step = 0; step < DIM / 16; step++) multiply_by_rows<COLUMNS, DIM + PAD>(a[step], b, 16 * step, COLUMNS, c);
}

// c += a · b: a [16, SUM] in the register layout of a product, rounded; b [SUM, DIM] in lines of DIM + PAD.
template <int DIM, int SUM>
__device__ __forceinline__ void multiply_again(const float (&a)[SUM / 8][4], const bf16* b, float (&c)[DIM / 8][4]) {
#pragma unroll
    for (u32 step = 0; step < SUM / 16; step++) {
        u32 left[4];
        left_operand(a[2 * step], a[2 * step + 1], left);
        multiply_by_columns<DIM, DIM + PAD>(left, b, 16 * step, c);
    }
}

template <int DIM>
struct ForwardShared {
    static const int KEYS = Steps<DIM>::FORWARD;
    __align__(16) bf16 keys[KEYS * (DIM + PAD)];
    __align__(16) bf16 values[KEYS * (DIM + PAD)];
    unsigned char kept[TILE * 16];
};

// o = (m ∘ softmax(q · kᵀ / √D)) · v, and the rows' log-sum-exps if `lse` is not null, with an online softmax as in
// attention.cu. Launch: blocks of TILE queries along z.
template <int DIM>
__device__ __forceinline__ void attention(const Input<bf16>& input, bf16* o, float* lse, ForwardShared<DIM>& shared) {
    const int KEYS = Steps<DIM>::FORWARD;
    Head at = head_of_block(input);
    u32 query0 = blockIdx.z * TILE;
    if (query0 >= at.queries) return;
    u32 queries = at.queries - query0, lane = threadIdx.x % 32, row = warp_row() + lane / 4;
    u32 q[DIM / 16][4];
    load_left<DIM>(input.q, input.q_stride, at.first_query + query0, queries, at.column, input.dim, q);
    float c[DIM / 8][4], greatest[2] = {MINUS_INFINITY, MINUS_INFINITY}, sums[2] = {0.0f, 0.0f};
    clear(c);
    for (u32 key0 = 0; key0 < at.keys; key0 += KEYS) {
        __syncthreads();
        u32 keys = at.keys - key0;
        copy_rows<DIM>(input.k, input.kv_stride, at.first_key + key0, keys, KEYS, at.column, input.dim, shared.keys);
        copy_rows<DIM>(input.v, input.kv_stride, at.first_key + key0, keys, KEYS, at.column, input.dim, shared.values);
        if (key0 % DRAWN == 0)
            draw_tile(input.dropout, at.first_element + (u64)query0 * at.pitch + key0, at.pitch, TILE, DRAWN, shared.kept);
        wait_for_copies();
        __syncthreads();
        float s[KEYS / 8][4], max[2] = {greatest[0], greatest[1]};
        multiply_left<DIM, KEYS>(q, shared.keys, s);
#pragma unroll
        for (u32 n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                s[n][i] = 8 * n + 2 * (lane % 4) + i % 2 < keys ? s[n][i] * input.scale : MINUS_INFINITY;
                max[i / 2] = fmaxf(max[i / 2], s[n][i]);
            }
        }
        float correction[2];
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            // Finite, because every step has a key.
            max[half] = max_of_four(max[half]);
            correction[half] = expf(greatest[half] - max[half]);
            greatest[half] = max[half];
            // The sum of the lane's own columns; those of the other three lanes are added at the end.
            sums[half] *= correction[half];
        }
#pragma unroll
        for (u32 n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                float e = expf(s[n][i] - max[i / 2]);
                sums[i / 2] += e;
                s[n][i] = e * tile_factor(
                             input.dropout, shared.kept, row + i / 2 * 8, key0 % DRAWN + 8 * n + 2 * (lane % 4) + i % 2);
            }
        }
#pragma unroll
        for (u32 n = 0; n < DIM / 8; n++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) c[n][i] *= correction[i / 2];
        }
        multiply_again<DIM, KEYS>(s, shared.values, c);
    }
    for (u32 half = 0; half < 2; half++) {
        sums[half] = sum_of_four(sums[half]);
        u32 r = row + 8 * half;
        if (lse && lane % 4 == 0 && r < queries)
            lse[(at.first_query + query0 + r) * input.heads + at.head] = greatest[half] + logf(sums[half]);
    }
    u64 stride = (u64)input.heads * input.dim;
    store_rows<DIM>(o, stride, at.first_query + query0, queries, at.column, input.dim, c, 1.0f / sums[0], 1.0f / sums[1]);
}

template <int DIM>
struct DqShared {
    static const int KEYS = Steps<DIM>::DQ;
    __align__(16) bf16 keys[KEYS * (DIM + PAD)];
    __align__(16) bf16 values[KEYS * (DIM + PAD)];
    unsigned char kept[TILE * 16];
};

// dq = ds · k / √D, and the rows' Σⱼ p dp to `means` [Tq, heads], which the next kernel reads. Loops over the keys
// twice: for the sum, then for ds. Launch: blocks of TILE queries along z.
template <int DIM>
__device__ __forceinline__ void attention_dq(
    const Input<bf16>& input, const float* lse, const bf16* dy, float* means, bf16* dq, u64 dq_stride, DqShared<DIM>& shared) {
    const int KEYS = Steps<DIM>::DQ;
    Head at = head_of_block(input);
    u32 query0 = blockIdx.z * TILE;
    if (query0 >= at.queries) return;
    u32 queries = at.queries - query0, lane = threadIdx.x % 32, row = warp_row() + lane / 4;
    u64 stride = (u64)input.heads * input.dim, first = at.first_query + query0;
    u32 q[DIM / 16][4], g[DIM / 16][4];
    load_left<DIM>(input.q, input.q_stride, first, queries, at.column, input.dim, q);
    load_left<DIM>(dy, stride, first, queries, at.column, input.dim, g);
    float c[DIM / 8][4], row_lse[2], mean[2] = {0.0f, 0.0f};
    clear(c);
    for (u32 half = 0; half < 2; half++) {
        u32 r = row + 8 * half;
        row_lse[half] = r < queries ? lse[(first + r) * input.heads + at.head] : 0.0f;
    }
    for (u32 pass = 0; pass < 2; pass++) {
        for (u32 key0 = 0; key0 < at.keys; key0 += KEYS) {
            __syncthreads();
            u32 keys = at.keys - key0;
            // If one step takes all keys, they are still in shared memory in the second pass.
            if (pass == 0 || at.keys > KEYS) {
                copy_rows<DIM>(input.k, input.kv_stride, at.first_key + key0, keys, KEYS, at.column, input.dim, shared.keys);
                copy_rows<DIM>(input.v, input.kv_stride, at.first_key + key0, keys, KEYS, at.column, input.dim, shared.values);
            }
            if (key0 % DRAWN == 0 && (pass == 0 || at.keys > DRAWN))
                draw_tile(input.dropout, at.first_element + (u64)query0 * at.pitch + key0, at.pitch, TILE, DRAWN, shared.kept);
            wait_for_copies();
            __syncthreads();
            float p[KEYS / 8][4], dp[KEYS / 8][4];
            multiply_left<DIM, KEYS>(q, shared.keys, p);
            multiply_left<DIM, KEYS>(g, shared.values, dp);
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n++) {
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    u32 key = 8 * n + 2 * (lane % 4) + i % 2;
                    p[n][i] = key < keys ? expf(p[n][i] * input.scale - row_lse[i / 2]) : 0.0f;
                    dp[n][i] *= tile_factor(input.dropout, shared.kept, row + i / 2 * 8, key0 % DRAWN + key);
                    if (pass == 0)
                        mean[i / 2] = fmaf(p[n][i], dp[n][i], mean[i / 2]);
                    else
                        p[n][i] *= dp[n][i] - mean[i / 2];
                }
            }
            if (pass == 1) multiply_again<DIM, KEYS>(p, shared.keys, c);
        }
        if (pass == 0) {
            for (u32 half = 0; half < 2; half++) {
                mean[half] = sum_of_four(mean[half]);
                u32 r = row + 8 * half;
                if (lane % 4 == 0 && r < queries) means[(first + r) * input.heads + at.head] = mean[half];
            }
        }
    }
    store_rows<DIM>(dq, dq_stride, first, queries, at.column, input.dim, c, input.scale, input.scale);
}

template <int DIM>
struct DkvShared {
    static const int QUERIES = Steps<DIM>::DKV;
    __align__(16) bf16 queries[QUERIES * (DIM + PAD)];
    __align__(16) bf16 gradients[QUERIES * (DIM + PAD)];
    float lse[QUERIES], means[QUERIES];
    unsigned char kept[QUERIES * 16];
};

// dk = dsᵀ · q / √D and dv = (m ∘ p)ᵀ · dy, to columns `k_at ..` and `v_at ..` of rows of dkv. Everything is transposed
// here: the rows of a warp are keys, and the columns of the scores are queries. Launch: blocks of TILE keys along z.
template <int DIM>
__device__ __forceinline__ void attention_dkv(
    const Input<bf16>& input, const float* lse, const bf16* dy, const float* means, bf16* dkv, u64 dkv_stride, u64 k_at, u64 v_at,
    DkvShared<DIM>& shared) {
    const int QUERIES = Steps<DIM>::DKV;
    Head at = head_of_block(input);
    u32 key0 = blockIdx.z * TILE;
    if (key0 >= at.keys) return;
    u32 keys = at.keys - key0, lane = threadIdx.x % 32, row = warp_row() + lane / 4;
    u64 stride = (u64)input.heads * input.dim, first = at.first_key + key0;
    u32 k[DIM / 16][4], v[DIM / 16][4];
    load_left<DIM>(input.k, input.kv_stride, first, keys, at.column, input.dim, k);
    load_left<DIM>(input.v, input.kv_stride, first, keys, at.column, input.dim, v);
    float dk[DIM / 8][4], dv[DIM / 8][4];
    clear(dk);
    clear(dv);
    for (u32 query0 = 0; query0 < at.queries; query0 += QUERIES) {
        u32 queries = at.queries - query0;
        u64 row0 = at.first_query + query0;
        __syncthreads();
        copy_rows<DIM>(input.q, input.q_stride, row0, queries, QUERIES, at.column, input.dim, shared.queries);
        copy_rows<DIM>(dy, stride, row0, queries, QUERIES, at.column, input.dim, shared.gradients);
        draw_tile(input.dropout, at.first_element + (u64)query0 * at.pitch + key0, at.pitch, QUERIES, TILE, shared.kept);
        if (threadIdx.x < QUERIES) {
            u64 i = (row0 + threadIdx.x) * input.heads + at.head;
            shared.lse[threadIdx.x] = threadIdx.x < queries ? lse[i] : 0.0f;
            shared.means[threadIdx.x] = threadIdx.x < queries ? means[i] : 0.0f;
        }
        wait_for_copies();
        __syncthreads();
        float p[QUERIES / 8][4], ds[QUERIES / 8][4];
        multiply_left<DIM, QUERIES>(k, shared.queries, p);
        multiply_left<DIM, QUERIES>(v, shared.gradients, ds);
#pragma unroll
        for (u32 n = 0; n < QUERIES / 8; n++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                u32 query = 8 * n + 2 * (lane % 4) + i % 2;
                float factor = tile_factor(input.dropout, shared.kept, query, row + i / 2 * 8);
                float probability = query < queries ? expf(p[n][i] * input.scale - shared.lse[query]) : 0.0f;
                p[n][i] = probability * factor;
                ds[n][i] = probability * (ds[n][i] * factor - shared.means[query]);
            }
        }
        multiply_again<DIM, QUERIES>(p, shared.gradients, dv);
        multiply_again<DIM, QUERIES>(ds, shared.queries, dk);
    }
    store_rows<DIM>(dkv, dkv_stride, first, keys, k_at + at.column, input.dim, dk, input.scale, input.scale);
    store_rows<DIM>(dkv, dkv_stride, first, keys, v_at + at.column, input.dim, dv, 1.0f, 1.0f);
}

#define OF_DIM(DIM)                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_mma_##DIM(                                                \
        ATTENTION_PARAMETERS(bf16), bf16* o, float* lse) {                                                                      \
        __shared__ ForwardShared<DIM> shared;                                                                                        \
        attention<DIM>(ATTENTION_INPUT(bf16), o, lse, shared);                                                                  \
    }                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_mma_dq_##DIM(                                             \
        ATTENTION_PARAMETERS(bf16), const float* lse, const bf16* dy, float* means, bf16* dq, u64 dq_stride) {                  \
        __shared__ DqShared<DIM> shared;                                                                                             \
        attention_dq<DIM>(ATTENTION_INPUT(bf16), lse, dy, means, dq, dq_stride, shared);                                        \
    }                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_mma_dkv_##DIM(                                            \
        ATTENTION_PARAMETERS(bf16), const float* lse, const bf16* dy, const float* means, bf16* dkv, u64 dkv_stride, u64 k_at,  \
        u64 v_at) {                                                                                                                  \
        __shared__ DkvShared<DIM> shared;                                                                                            \
        attention_dkv<DIM>(ATTENTION_INPUT(bf16), lse, dy, means, dkv, dkv_stride, k_at, v_at, shared);                         \
    }

OF_DIM(32)
OF_DIM(64)
OF_DIM(128)
#endif
