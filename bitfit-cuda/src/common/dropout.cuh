// Dropout.

// The masks of bitfit-core/src/rng/dropout.rs. Philox-4x32-10 (Salmon et al., SC 2011); a block of 128 bits decides
// eight elements: of block l of a group of sixteen, half-word j decides element 16 j + l of the group's 128.

// A kernel's parameters for one site, as `Arguments::dropout` hands them over, and the site itself. The numbers of the
// pass are in memory, so that the arguments are the same in every step and every part of a batch: that of the training
// step, then those of the rows of each kind that the batch has before this part. They are not read without dropout.
#define DROPOUT_PARAMETERS \
    u32 key_low, u32 key_high, const u64 *pass, u32 rows_of, u64 row_elements, u32 site, u32 threshold, float kept_scale
#define DROPOUT_SITE                                                                \
    Dropout {                                                                       \
        key_low, key_high, threshold ? (u32)pass[0] : 0, site, threshold, kept_scale, \
            threshold ? pass[1 + rows_of] * row_elements : 0                          \
    }

// Elements are numbered over the whole batch.
struct Dropout {
    u32 key_low, key_high, step, site;
    // Elements whose 16 bits are below it are dropped; 0 without dropout.
    u32 threshold;
    // The factor of the other elements.
    float scale;
    // The number of the first element of this pass.
    u64 first;
};

struct Draw {
    u32 words[4];
};

__device__ __forceinline__ Draw philox(const Dropout& dropout, u64 block) {
    u32 c0 = (u32)block, c1 = (u32)(block >> 32), c2 = dropout.site, c3 = dropout.step;
    u32 k0 = dropout.key_low, k1 = dropout.key_high;
    for (int round = 0; round < 10; round++) {
        u32 high0 = __umulhi(c0, 0xD2511F53u), low0 = c0 * 0xD2511F53u;
        u32 high1 = __umulhi(c2, 0xCD9E8D57u), low1 = c2 * 0xCD9E8D57u;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return Draw{{c0, c1, c2, c3}};
}

// The factor, 0 or the scale, of half-word j of a draw.
__device__ __forceinline__ float draw_factor(const Dropout& dropout, const Draw& draw, u32 j) {
    u32 bits = (draw.words[j / 2] >> (16 * (j % 2))) & 0xffffu;
    return bits >= dropout.threshold ? dropout.scale : 0.0f;
}

// Bit j: whether the draw keeps its half-word j's element.
__device__ __forceinline__ u32 kept_of_draw(const Dropout& dropout, const Draw& draw) {
    u32 kept = 0;
#pragma unroll
    for (u32 j = 0; j < 8; j++) {
        u32 bits = j % 2 ? draw.words[j / 2] >> 16 : draw.words[j / 2] & 0xffffu;
        kept |= (bits >= dropout.threshold ? 1u : 0u) << j;
    }
    return kept;
}

// The block that decides an element, and the half-word of it.
__device__ __forceinline__ u64 draw_block(u64 element) { return element / 128 * 16 + element % 16; }
__device__ __forceinline__ u32 draw_half_word(u64 element) { return (u32)(element % 128) / 16; }

// The factor of a single element, if its neighbours belong to other threads.
__device__ __forceinline__ float dropout_factor(const Dropout& dropout, u64 element) {
    if (dropout.threshold == 0) return 1.0f;
    Draw draw = philox(dropout, draw_block(element));
    return draw_factor(dropout, draw, draw_half_word(element));
}
