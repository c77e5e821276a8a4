// Attention in bfloat16 on tensor cores where no sequence has more than LEN queries or keys, 64 or 128: one block
// processes a head of a sequence, holds all scores in registers, and backward computes them once for all three
// gradients.
//
// A warp takes sixteen queries and all keys; for the gradients of keys and values it takes sixteen keys and all
// queries, with scores from the other warps through shared memory. Steps of sixteen past the end of a sequence are
// skipped, so the cost of a block is that of its sequence.

#if __CUDA_ARCH__ >= 800

// The maximum size of a head's draws in bytes: sixteen bytes decide 128 elements of p, and a lane may read one group
// past the last.
#define DRAW_BYTES(LEN) (16 * ((LEN) * (LEN) / 128 + 1))

// The draws of a whole p, whose rows are contiguous: bit j of byte 16 l + c says whether element 128 l + 16 j + c is
// kept.
__device__ __forceinline__ void draw_all(const Dropout& dropout, const Head& at, unsigned char* draws) {
    if (dropout.threshold == 0) return;
    u32 groups = (at.queries * at.pitch + 127) / 128;
    u64 first = draw_block(at.first_element);
    for (u32 i = threadIdx.x; i < 16 * groups; i += blockDim.x)
        draws[i] = (unsigned char)kept_of_draw(dropout, philox(dropout, first + i));
}

// Which of a lane's columns of row `row` are kept: bit j of byte b of the result is for column 16 j + 2 t + b % 2 + 8
// (b / 2). A row can begin at any of the eight sixteenths of a group, so its bits are combined from two groups.
__device__ __forceinline__ u32 kept_of_row(const Dropout& dropout, const unsigned char* draws, u32 row, u32 pitch) {
    if (dropout.threshold == 0) return ~0u;
    u32 sixteenth = row * (pitch / 16), shift = sixteenth % 8;
    const unsigned short* pairs = reinterpret_cast<const unsigned short*>(draws + sixteenth / 8 * 16) + threadIdx.x % 4;
    u32 low = pairs[0] | (u32)pairs[4] << 16, high = pairs[8] | (u32)pairs[12] << 16;
    u32 of_low = 0x01010101u * (0xffu >> shift);
    return (low >> shift & of_low) | (high << (8 - shift) & ~of_low);
}

// Whether element i of product n is kept, by the bits of its row.
__device__ __forceinline__ bool is_kept(u32 bits, u32 n, u32 i) { return bits >> (8 * (n % 2 * 2 + i % 2) + n / 2) & 1; }

template <int DIM, int LEN>
struct ForwardShared {
    __align__(16) bf16 keys[LEN * (DIM + PAD)];
    __align__(16) bf16 values[LEN * (DIM + PAD)];
    __align__(16) bf16 queries[LEN * (DIM + PAD)];
    __align__(16) unsigned char draws[DRAW_BYTES(LEN)];
};

__device__ __forceinline__ u32 whole_steps(u32 rows) { return (rows + 15) / 16 * 16; }

// c = a · bᵀ over a head's columns: the warp's sixteen rows of a, and `count` rows of b, which are the columns of c.
template <int DIM, int LEN>
__device__ __forceinline__ void multiply_own_rows(const bf16* a, const bf16* b, u32 count, float (&c)[LEN / 8][4]) {
    clear(c);
#pragma unroll
    for (u32 step = 0; step < DIM / 16; step++) {
        u32 left[4];
        left_operand<DIM + PAD>(a, warp_row(), 16 * step, left);
        multiply_by_rows<LEN, DIM + PAD>(left, b, 16 * step, count, c);
    }
}

// o = (m ∘ softmax(q · kᵀ / √D)) · v, and the rows' log-sum-exps if `lse` is not null. Launch: 2 LEN threads.
template <int DIM, int LEN>
__device__ __forceinline__ void attention(const Input<bf16>& input, bf16* o, float* lse, ForwardShared<DIM, LEN>& shared) {
    const int LINE = DIM + PAD;
    Head at = head_of_block(input);
    u32 queries = whole_steps(at.queries), keys = whole_steps(at.keys);
    copy_rows<DIM>(input.q, input.q_stride, at.first_query, at.queries, queries, at.column, input.dim, shared.queries);
    copy_rows<DIM>(input.k, input.kv_stride, at.first_key, at.keys, keys, at.column, input.dim, shared.keys);
    copy_rows<DIM>(input.v, input.kv_stride, at.first_key, at.keys, keys, at.column, input.dim, shared.values);
    draw_all(input.dropout, at, shared.draws);
    wait_for_copies();
    __syncthreads();
    if (warp_row() >= at.queries) return;

    float s[LEN / 8][4];
    multiply_own_rows<DIM, LEN>(shared.queries, shared.keys, at.keys, s);
    u32 lane = threadIdx.x % 32, row = warp_row() + lane / 4, kept[2];
    float greatest[2] = {MINUS_INFINITY, MINUS_INFINITY}, sums[2] = {0.0f, 0.0f}, factor = input.scale * LOG2_E;
#pragma unroll
    for (u32 n = 0; n < LEN / 8; n++) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            if (8 * n + 2 * (lane % 4) + i % 2 >= at.keys) s[n][i] = MINUS_INFINITY;
            greatest[i / 2] = fmaxf(greatest[i / 2], s[n][i]);
        }
    }
    for (u32 half = 0; half < 2; half++) {
        // Finite, because there is a key: a sequence without tokens has no query.
        greatest[half] = max_of_four(greatest[half]);
        kept[half] = kept_of_row(input.dropout, shared.draws, row + 8 * half, at.pitch);
    }
    float c[DIM / 8][4];
    clear(c);
#pragma unroll
    for (u32 step = 0; step < LEN / 16; step++) {
        if (16 * step >= at.keys) break;
#pragma unroll
        for (u32 n = 2 * step; n < 2 * step + 2; n++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                float e = ex2_approx((s[n][i] - greatest[i / 2]) * factor);
                sums[i / 2] += e;
                s[n][i] = is_kept(kept[i / 2], n, i) ? e : 0.0f;
            }
        }
        u32 p[4];
        left_operand(s[2 * step], s[2 * step + 1], p);
        multiply_by_columns<DIM, LINE>(p, shared.values, 16 * step, c);
    }
    float inverse[2];
    for (u32 half = 0; half < 2; half++) {
        sums[half] = sum_of_four(sums[half]);
        inverse[half] = input.dropout.scale / sums[half];
        u32 r = row + 8 * half;
        if (lse && lane % 4 == 0 && r < at.queries)
            lse[(at.first_query + r) * input.heads + at.head] = fmaf(greatest[half], input.scale, logf(sums[half]));
    }
    u64 stride = (u64)input.heads * input.dim;
    store_rows<DIM>(o, stride, at.first_query, at.queries, at.column, input.dim, c, inverse[0], inverse[1]);
}

template <int DIM, int LEN>
struct BackwardShared {
    __align__(16) bf16 queries[LEN * (DIM + PAD)];
    __align__(16) bf16 keys[LEN * (DIM + PAD)];
    __align__(16) bf16 gradients[LEN * (DIM + PAD)];
    union {
        // The values, until every warp has its scores,
        __align__(16) bf16 values[LEN * (DIM + PAD)];
        // then m ∘ p, then ds: [queries, keys].
        __align__(16) bf16 scores[LEN * (LEN + PAD)];
    };
    __align__(16) unsigned char draws[DRAW_BYTES(LEN)];
};

// Stores a warp's rows of a matrix of scores, rounded, to lines of LEN + PAD: the computed part, `steps` steps of
// sixteen keys.
template <int LEN>
__device__ __forceinline__ void store_scores(bf16* to, const u32 (&rounded)[LEN / 16][4], u32 keys) {
    u32 lane = threadIdx.x % 32;
    u32* at = reinterpret_cast<u32*>(to + (warp_row() + lane / 4) * (LEN + PAD)) + lane % 4;
#pragma unroll
    for (u32 step = 0; step < LEN / 16; step++) {
        if (16 * step >= keys) break;
#pragma unroll
        for (u32 i = 0; i < 4; i++) at[8 * step + i / 2 * 4 + i % 2 * (8 * (LEN + PAD) / 2)] = rounded[step][i];
    }
}

// The gradient of a warp's sixteen keys or values: the sum over the queries of scores times rows.
template <int DIM, int LEN>
__device__ __forceinline__ void sum_over_queries(const bf16* scores, const bf16* rows, u32 queries, float (&c)[DIM / 8][4]) {
    clear(c);
#pragma unroll
    for (u32 step = 0; step < LEN / 16; step++) {
        if (16 * step >= queries) break;
        u32 a[4];
        left_operand_transposed<LEN + PAD>(scores, warp_row(), 16 * step, a);
        multiply_by_columns<DIM, DIM + PAD>(a, rows, 16 * step, c);
    }
}

// dq = ds · k / √D, dk = dsᵀ · q / √D, dv = (m ∘ p)ᵀ · dy, to columns of `dq` and `dkv`; `dkv` is null if all are in
// the rows of `dq`. Launch: 2 LEN threads.
template <int DIM, int LEN>
__device__ __forceinline__ void attention_backward(
    const Input<bf16>& input, const float* lse, const bf16* dy, bf16* dq, u64 dq_stride, bf16* dkv, u64 dkv_stride, u64 k_at, u64 v_at,
    BackwardShared<DIM, LEN>& shared) {
    const int LINE = DIM + PAD;
    Head at = head_of_block(input);
    u32 queries = whole_steps(at.queries), keys = whole_steps(at.keys);
    u64 stride = (u64)input.heads * input.dim;
    if (!dkv) dkv = dq;
    copy_rows<DIM>(input.q, input.q_stride, at.first_query, at.queries, queries, at.column, input.dim, shared.queries);
    copy_rows<DIM>(input.k, input.kv_stride, at.first_key, at.keys, keys, at.column, input.dim, shared.keys);
    copy_rows<DIM>(input.v, input.kv_stride, at.first_key, at.keys, keys, at.column, input.dim, shared.values);
    copy_rows<DIM>(dy, stride, at.first_query, at.queries, queries, at.column, input.dim, shared.gradients);
    draw_all(input.dropout, at, shared.draws);
    u32 lane = threadIdx.x % 32, row = warp_row() + lane / 4, kept[2];
    // Rows past the end get a probability of zero, so that their products do not contribute.
    float row_lse[2], mean[2] = {0.0f, 0.0f}, factor = input.scale * LOG2_E;
    for (u32 half = 0; half < 2; half++) {
        u32 r = row + 8 * half;
        row_lse[half] = r < at.queries ? lse[(at.first_query + r) * input.heads + at.head] * LOG2_E : -MINUS_INFINITY;
    }
    wait_for_copies();
    __syncthreads();

    u32 p[LEN / 16][4], ds[LEN / 16][4];
    if (warp_row() < at.queries) {
        float probability[LEN / 8][4], slope[LEN / 8][4];
        multiply_own_rows<DIM, LEN>(shared.queries, shared.keys, at.keys, probability);
        multiply_own_rows<DIM, LEN>(shared.gradients, shared.values, at.keys, slope);
        for (u32 half = 0; half < 2; half++) kept[half] = kept_of_row(input.dropout, shared.draws, row + 8 * half, at.pitch);
#pragma unroll
        for (u32 step = 0; step < LEN / 16; step++) {
            if (16 * step >= at.keys) break;
            float masked[2][4];
#pragma unroll
            for (u32 n = 2 * step; n < 2 * step + 2; n++) {
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    bool there = 8 * n + 2 * (lane % 4) + i % 2 < at.keys;
                    float e = there ? ex2_approx(fmaf(probability[n][i], factor, -row_lse[i / 2])) : 0.0f;
                    float m = is_kept(kept[i / 2], n, i) ? input.dropout.scale : 0.0f;
                    masked[n % 2][i] = e * m;
                    slope[n][i] *= m;
                    mean[i / 2] = fmaf(e, slope[n][i], mean[i / 2]);
                    probability[n][i] = e;
                }
            }
            left_operand(masked[0], masked[1], p[step]);
        }
        mean[0] = sum_of_four(mean[0]);
        mean[1] = sum_of_four(mean[1]);
        float c[DIM / 8][4];
        clear(c);
#pragma unroll
        for (u32 step = 0; step < LEN / 16; step++) {
            if (16 * step >= at.keys) break;
#pragma unroll
            for (u32 n = 2 * step; n < 2 * step + 2; n++) {
#pragma unroll
                for (u32 i = 0; i < 4; i++) slope[n][i] = probability[n][i] * (slope[n][i] - mean[i / 2]);
            }
            left_operand(slope[2 * step], slope[2 * step + 1], ds[step]);
            multiply_by_columns<DIM, LINE>(ds[step], shared.keys, 16 * step, c);
        }
        store_rows<DIM>(dq, dq_stride, at.first_query, at.queries, at.column, input.dim, c, input.scale, input.scale);
    }

    // Both matrices reuse the memory of the values, one after the other.
    float c[DIM / 8][4];
    __syncthreads();
    if (warp_row() < at.queries) store_scores<LEN>(shared.scores, p, at.keys);
    __syncthreads();
    if (warp_row() < at.keys) {
        sum_over_queries<DIM, LEN>(shared.scores, shared.gradients, at.queries, c);
        store_rows<DIM>(dkv, dkv_stride, at.first_key, at.keys, v_at + at.column, input.dim, c, 1.0f, 1.0f);
    }
    __syncthreads();
    if (warp_row() < at.queries) store_scores<LEN>(shared.scores, ds, at.keys);
    __syncthreads();
    if (warp_row() < at.keys) {
        sum_over_queries<DIM, LEN>(shared.scores, shared.queries, at.queries, c);
        store_rows<DIM>(dkv, dkv_stride, at.first_key, at.keys, k_at + at.column, input.dim, c, input.scale, input.scale);
    }
}

// The register limit allows this number of blocks on a multiprocessor.
#define OF_SIZES(DIM, LEN, FORWARD_BLOCKS, BACKWARD_BLOCKS)                                                                            \
    extern "C" __global__ void __launch_bounds__(2 * LEN, FORWARD_BLOCKS)                                                              \
        bitfit_attention_short_##DIM##_##LEN(ATTENTION_PARAMETERS(bf16), bf16* o, float* lse) {                                   \
        DYNAMIC_SHARED(unsigned char, shared);                                                                                         \
        attention<DIM, LEN>(ATTENTION_INPUT(bf16), o, lse, *reinterpret_cast<ForwardShared<DIM, LEN>*>(shared));                  \
    }                                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(2 * LEN, BACKWARD_BLOCKS) bitfit_attention_short_backward_##DIM##_##LEN(              \
        ATTENTION_PARAMETERS(bf16), const float* lse, const bf16* dy, bf16* dq, u64 dq_stride, bf16* dkv, u64 dkv_stride, u64 k_at, \
        u64 v_at) {                                                                                                                    \
        DYNAMIC_SHARED(unsigned char, shared);                                                                                         \
        attention_backward<DIM, LEN>(                                                                                                  \
            ATTENTION_INPUT(bf16), lse, dy, dq, dq_stride, dkv, dkv_stride, k_at, v_at,                                           \
            *reinterpret_cast<BackwardShared<DIM, LEN>*>(shared));                                                                     \
    }

OF_SIZES(32, 64, 5, 4)
OF_SIZES(32, 128, 2, 1)
OF_SIZES(64, 64, 5, 3)
OF_SIZES(64, 128, 2, 1)
#endif
