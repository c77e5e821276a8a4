// The gradient of a position bias that trains, db[r] = Σ ds over the queries and keys whose distance is that of row r,
// in two kernels: the first writes Σⱼ p dp of each query and head, the second sums ds. Each thread computes p and dp of
// its elements again, so that no matrix of scores exists.

#define WARPS 8
#define THREADS (32 * WARPS)

// p and m ∘ dp of a query and a key.
struct Element {
    float p, dp;
};

template <class T>
__device__ __forceinline__ Element element(
    const Input<T>& input, const Head& at, u32 query, u32 key, const float* lse, const T* dy) {
    u64 row = at.first_query + query;
    u64 q = row * input.q_stride + at.column, kv = (at.first_key + key) * input.kv_stride + at.column;
    u64 g = row * input.heads * input.dim + at.column;
    float score = 0.0f, dp = 0.0f;
    for (u32 d = 0; d < input.dim; d++) {
        score = fmaf(load(input.q, q + d), load(input.k, kv + d), score);
        dp = fmaf(load(dy, g + d), load(input.v, kv + d), dp);
    }
    score = score * input.scale + position_bias(input, at.head, query, key);
    return Element{
        expf(score - lse[row * input.heads + at.head]),
        dp * dropout_factor(input.dropout, at.first_element + (u64)query * at.pitch + key)};
}

// Σⱼ p dp to `means` [Tq, heads]. A warp takes a query, its lanes the keys in turn. Launch: blocks of WARPS queries
// along z.
template <class T>
__device__ __forceinline__ void bias_means(const Input<T>& input, const float* lse, const T* dy, float* means) {
    Head at = head_of_block(input);
    u32 query = blockIdx.z * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (query >= at.queries) return;
    float sum = 0.0f;
    for (u32 key = lane; key < at.keys; key += 32) {
        Element e = element(input, at, query, key, lse, dy);
        sum = fmaf(e.p, e.dp, sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) means[(at.first_query + query) * input.heads + at.head] = sum;
}

// A block takes a row of the table, along x, and a head, along y; its threads take the queries of each sequence in
// turn.
template <class T>
__device__ __forceinline__ void bias_gradient(
    const Input<T>& input, const float* lse, const T* dy, const float* means, u32 sequences, float* gradient, float* sums) {
    u32 row = blockIdx.x, head = blockIdx.y;
    float sum = 0.0f;
    for (u32 sequence = 0; sequence < sequences; sequence++) {
        Head at = head_of(input, sequence, head);
        for (u32 query = threadIdx.x; query < at.queries; query += THREADS) {
            // The keys at the row's distance; the first and the last row have those beyond, too.
            long long here = (long long)query + row - input.reach;
            long long first = row == 0 ? 0 : here, last = row == 2 * input.reach ? (long long)at.keys - 1 : here;
            if (first < 0) first = 0;
            if (last >= at.keys) last = (long long)at.keys - 1;
            float mean = means[(at.first_query + query) * input.heads + head];
            for (long long key = first; key <= last; key++) {
                Element e = element(input, at, query, (u32)key, lse, dy);
                sum = fmaf(e.p, e.dp - mean, sum);
            }
        }
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 warp = 1; warp < WARPS; warp++) sum += sums[warp];
        gradient[(u64)row * input.heads + head] = sum;
    }
}

#define OF_TYPE(T, SUFFIX)                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_bias_means_##SUFFIX(              \
        ATTENTION_PARAMETERS(T), const float* lse, const T* dy, float* means) {                              \
        bias_means<T>(ATTENTION_INPUT(T), lse, dy, means);                                                   \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) bitfit_attention_bias_gradient_##SUFFIX(           \
        ATTENTION_PARAMETERS(T), const float* lse, const T* dy, const float* means, u32 sequences, float* gradient) { \
        __shared__ float sums[WARPS];                                                                        \
        bias_gradient<T>(ATTENTION_INPUT(T), lse, dy, means, sequences, gradient, sums);                     \
    }

OF_TYPE(float, f32)
OF_TYPE(bf16, bf16)
