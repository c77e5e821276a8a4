// Attention for at most one query per sequence, such as [CLS] in the last layer: a block takes a query and head, its
// warps the keys in turn, a lane columns lane, lane + 32, … of a head of at most 128. Everything is read once, so tiles
// are not needed.
//
// A warp takes four keys at a time, so that the loads of their rows overlap.

#define WARPS 8
#define THREADS (32 * WARPS)
#define PARTS 4
#define KEYS 4

// The lane's columns of the row at `row`.
template <class T>
__device__ __forceinline__ void load_row(const T* from, u64 row, u32 dim, float (&to)[PARTS]) {
    for (u32 i = 0; i < PARTS; i++) {
        u32 d = threadIdx.x % 32 + 32 * i;
        to[i] = d < dim ? load(from, row + d) : 0.0f;
    }
}

template <class T>
__device__ __forceinline__ void store_row(T* to, u64 row, u32 dim, const float (&from)[PARTS]) {
    for (u32 i = 0; i < PARTS; i++) {
        u32 d = threadIdx.x % 32 + 32 * i;
        if (d < dim) store(to, row + d, from[i]);
    }
}

__device__ __forceinline__ float dot(const float (&a)[PARTS], const float (&b)[PARTS]) {
    float sum = 0.0f;
    for (u32 i = 0; i < PARTS; i++) sum = fmaf(a[i], b[i], sum);
    return warp_sum(sum);
}

// The sum over the block's warps of a row that each holds a part of, for warp 0 to write.
__device__ __forceinline__ void sum_rows(float (&row)[PARTS], float (*shared)[32 * PARTS]) {
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (u32 i = 0; i < PARTS; i++) shared[warp][lane + 32 * i] = row[i];
    __syncthreads();
    for (u32 i = 0; i < PARTS; i++) {
        row[i] = 0.0f;
        for (u32 other = 0; other < WARPS; other++) row[i] += shared[other][lane + 32 * i];
    }
}

// As `attention`; `lse` may be null.
template <class T>
__device__ __forceinline__ void single(
    const Input<T>& input, T* o, float* lse, float (*rows)[32 * PARTS], float* greatest, float* sums) {
    Head at = head_of_block(input);
    if (at.queries == 0) return;
    u32 warp = threadIdx.x / 32;
    float q[PARTS], c[PARTS] = {0.0f, 0.0f, 0.0f, 0.0f};
    load_row(input.q, at.first_query * input.q_stride + at.column, input.dim, q);
    // Over the keys that this warp has processed.
    float max = MINUS_INFINITY, sum = 0.0f;
    for (u32 key0 = KEYS * warp; key0 < at.keys; key0 += KEYS * WARPS) {
        float k[KEYS][PARTS], v[KEYS][PARTS], s[KEYS], next = max;
        for (u32 i = 0; i < KEYS; i++) {
            u64 row = (at.first_key + (key0 + i < at.keys ? key0 + i : key0)) * input.kv_stride + at.column;
            load_row(input.k, row, input.dim, k[i]);
            load_row(input.v, row, input.dim, v[i]);
        }
        for (u32 i = 0; i < KEYS; i++) {
            s[i] = dot(q, k[i]) * input.scale + position_bias(input, at.head, 0, key0 + i);
            if (key0 + i >= at.keys) s[i] = MINUS_INFINITY;
            next = fmaxf(next, s[i]);
        }
        float correction = expf(max - next);
        max = next;
        sum *= correction;
        for (u32 i = 0; i < PARTS; i++) c[i] *= correction;
        for (u32 i = 0; i < KEYS; i++) {
            float e = expf(s[i] - max);
            sum += e;
            e *= dropout_factor(input.dropout, at.first_element + key0 + i);
            for (u32 part = 0; part < PARTS; part++) c[part] = fmaf(e, v[i][part], c[part]);
        }
    }
    // A warp without a key has a maximum of -∞ and does not contribute.
    if (threadIdx.x % 32 == 0) {
        greatest[warp] = max;
        sums[warp] = sum;
    }
    __syncthreads();
    float all = greatest[0], total = 0.0f;
    for (u32 other = 1; other < WARPS; other++) all = fmaxf(all, greatest[other]);
    for (u32 other = 0; other < WARPS; other++) total += sums[other] * expf(greatest[other] - all);
    float factor = expf(max - all) / total;
    for (u32 i = 0; i < PARTS; i++) c[i] *= factor;
    sum_rows(c, rows);
    if (warp == 0) {
        store_row(o, at.first_query * input.heads * input.dim + at.column, input.dim, c);
        if (lse && threadIdx.x == 0) lse[at.first_query * input.heads + at.head] = all + logf(total);
    }
}

// All three gradients: with one query, the warp of a key writes the gradients of the key and its value. It loops over
// the keys twice, for Σⱼ p dp and for ds. If `dkv` is null, everything is written to dq's matrix.
template <class T>
__device__ __forceinline__ void single_backward(
    const Input<T>& input, const float* lse, const T* dy, T* dq, u64 dq_stride, T* dkv, u64 dkv_stride, u64 k_at, u64 v_at,
    float (*rows)[32 * PARTS], float* shared) {
    Head at = head_of_block(input);
    if (!dkv) dkv = dq;
    u32 warp = threadIdx.x / 32;
    if (at.queries == 0) {
        const float zeros[PARTS] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (u32 key = warp; key < at.keys; key += WARPS) {
            u64 row = (at.first_key + key) * dkv_stride + at.column;
            store_row(dkv, row + k_at, input.dim, zeros);
            store_row(dkv, row + v_at, input.dim, zeros);
        }
        return;
    }
    float q[PARTS], g[PARTS], c[PARTS] = {0.0f, 0.0f, 0.0f, 0.0f};
    load_row(input.q, at.first_query * input.q_stride + at.column, input.dim, q);
    load_row(dy, at.first_query * input.heads * input.dim + at.column, input.dim, g);
    float row_lse = lse[at.first_query * input.heads + at.head], mean = 0.0f;
    for (u32 pass = 0; pass < 2; pass++) {
        for (u32 key0 = KEYS * warp; key0 < at.keys; key0 += KEYS * WARPS) {
            float k[KEYS][PARTS], v[KEYS][PARTS];
            for (u32 i = 0; i < KEYS; i++) {
                u64 row = (at.first_key + (key0 + i < at.keys ? key0 + i : key0)) * input.kv_stride + at.column;
                load_row(input.k, row, input.dim, k[i]);
                load_row(input.v, row, input.dim, v[i]);
            }
            for (u32 i = 0; i < KEYS; i++) {
                // All lanes have the same value, so there is no divergence.
                float p = expf(dot(q, k[i]) * input.scale + position_bias(input, at.head, 0, key0 + i) - row_lse);
                float factor = dropout_factor(input.dropout, at.first_element + key0 + i);
                float dp = dot(g, v[i]) * factor;
                if (key0 + i < at.keys) {
                    if (pass == 0) {
                        mean = fmaf(p, dp, mean);
                    } else {
                        float ds = p * (dp - mean) * input.scale, kept = p * factor;
                        u64 row = (at.first_key + key0 + i) * dkv_stride + at.column;
                        float dk[PARTS], dv[PARTS];
                        for (u32 part = 0; part < PARTS; part++) {
                            c[part] = fmaf(ds, k[i][part], c[part]);
                            dk[part] = ds * q[part];
                            dv[part] = kept * g[part];
                        }
                        store_row(dkv, row + k_at, input.dim, dk);
                        store_row(dkv, row + v_at, input.dim, dv);
                    }
                }
            }
        }
        if (pass == 0) {
            // Every lane of a warp has the warp's sum.
            if (threadIdx.x % 32 == 0) shared[warp] = mean;
            __syncthreads();
            mean = 0.0f;
            for (u32 other = 0; other < WARPS; other++) mean += shared[other];
        }
    }
    sum_rows(c, rows);
    if (warp == 0) store_row(dq, at.first_query * dq_stride + at.column, input.dim, c);
}

#define OF_TYPE(T, SUFFIX)                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_single_##SUFFIX(                                         \
        ATTENTION_PARAMETERS(T), T* o, float* lse) {                                                                           \
        __shared__ float rows[WARPS][32 * PARTS], greatest[WARPS], sums[WARPS];                                                     \
        single<T>(ATTENTION_INPUT(T), o, lse, rows, greatest, sums);                                                           \
    }                                                                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_single_backward_##SUFFIX(                                \
        ATTENTION_PARAMETERS(T), const float* lse, const T* dy, T* dq, u64 dq_stride, T* dkv, u64 dkv_stride, u64 k_at, u64 v_at) { \
        __shared__ float rows[WARPS][32 * PARTS], shared[WARPS];                                                                    \
        single_backward<T>(ATTENTION_INPUT(T), lse, dy, dq, dq_stride, dkv, dkv_stride, k_at, v_at, rows, shared);             \
    }

OF_TYPE(float, f32)
OF_TYPE(bf16, bf16)
