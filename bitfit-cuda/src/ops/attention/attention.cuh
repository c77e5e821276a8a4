// Code that the kernels of attention share: arguments, the rows of a block, the dropout of a tile. It precedes each of
// this op's files.
//
// Rows of queries, and of keys and values, are q_stride and kv_stride elements apart, with H = heads · dim columns
// each; `k` and `v` point to the columns of keys and values of row 0. `query_offsets` and `key_offsets`, B + 1 each,
// bound the rows of the sequences. The grid has the size for the longest sequence; blocks past the end of a shorter one
// return, all threads together. Sequences are along x, heads along y, tiles along z.

#define ATTENTION_PARAMETERS(T)                                                                                                     \
    const T *q, u64 q_stride, const T *k, const T *v, u64 kv_stride, const u32 *query_offsets, const u32 *key_offsets, u32 heads, u32 dim, \
        float scale, const float *position_bias, u32 reach, DROPOUT_PARAMETERS
#define ATTENTION_INPUT(T) \
    Input<T> { q, k, v, q_stride, kv_stride, query_offsets, key_offsets, heads, dim, scale, position_bias, reach, DROPOUT_SITE }

template <class T>
struct Input {
    const T *q, *k, *v;
    u64 q_stride, kv_stride;
    const u32 *query_offsets, *key_offsets;
    u32 heads, dim;
    // 1 / √D.
    float scale;
    // [2 · reach + 1, heads], or null (`PositionBias` of the op in core). attention_short.cu and attention_mma.cu are
    // not used where there is one.
    const float* position_bias;
    u32 reach;
    Dropout dropout;
};

// One head of one sequence: the first rows, how many, and the first of the head's columns.
struct Head {
    u64 first_query, first_key;
    u32 queries, keys, head, column;
    // The dropout number of p's first element, and the number of elements of a row of p (`dropout_element` of the op in
    // core).
    u64 first_element;
    u32 pitch;
};

template <class T>
__device__ __forceinline__ Head head_of(const Input<T>& input, u32 sequence, u32 head) {
    u32 first_query = input.query_offsets[sequence], first_key = input.key_offsets[sequence];
    u32 keys = input.key_offsets[sequence + 1] - first_key;
    return Head{
        first_query, first_key, input.query_offsets[sequence + 1] - first_query, keys, head, head * input.dim,
        input.dropout.first + (((u64)sequence * input.heads + head) << 32), (keys + 15) / 16 * 16};
}

template <class T>
__device__ __forceinline__ Head head_of_block(const Input<T>& input) {
    return head_of(input, blockIdx.x, blockIdx.y);
}

// The row of the position bias for the distance of a key from a query.
__device__ __forceinline__ u32 position_bias_row(u32 reach, u32 query, u32 key) {
    u32 behind = key + reach, row = behind > query ? behind - query : 0;
    return row > 2 * reach ? 2 * reach : row;
}

// What is added to a score for the distance of its key from its query.
template <class T>
__device__ __forceinline__ float position_bias(const Input<T>& input, u32 head, u32 query, u32 key) {
    if (!input.position_bias) return 0.0f;
    return input.position_bias[(u64)position_bias_row(input.reach, query, key) * input.heads + head];
}

// The dropout bits of a tile of p: bit b of byte 16 r + c says whether row r keeps column 16 b + c. One draw decides
// eight elements of a row that are sixteen apart, so it is generated once, by one thread. For `columns` columns, a
// multiple of 16 and at most 128, from element `first` on; without dropout nothing is written or read.
__device__ __forceinline__ void draw_tile(
    const Dropout& dropout, u64 first, u32 pitch, u32 rows, u32 columns, unsigned char* kept) {
    if (dropout.threshold == 0) return;
    for (u32 i = threadIdx.x; i < 16 * rows; i += blockDim.x) {
        u64 element = first + (u64)(i / 16) * pitch + i % 16;
        u64 block = draw_block(element);
        u32 drawn = kept_of_draw(dropout, philox(dropout, block)), bits = 0;
        for (u32 b = 0; b < columns / 16; b++, element += 16) {
            if (draw_block(element) != block) {
                block = draw_block(element);
                drawn = kept_of_draw(dropout, philox(dropout, block));
            }
            bits |= (drawn >> draw_half_word(element) & 1) << b;
        }
        kept[i] = (unsigned char)bits;
    }
}

// The factor of an element of a tile.
__device__ __forceinline__ float tile_factor(const Dropout& dropout, const unsigned char* kept, u32 row, u32 column) {
    if (dropout.threshold == 0) return 1.0f;
    return (kept[16 * row + column % 16] >> (column / 16)) & 1 ? dropout.scale : 0.0f;
}

// The initial value of a maximum.
#define MINUS_INFINITY (-__uint_as_float(0x7f800000u))
