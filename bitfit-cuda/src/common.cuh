// What the kernels of all ops share. NVRTC is given this text, then an op's `.cu` file, as one string: there is nothing
// to include.
//
// Under BITFIT_EMULATOR the same text is compiled as C++ for a CPU, behind a prelude that supplies what CUDA has by itself
// (the keywords, threadIdx and its like, __syncthreads, the shuffles, the vector types, the functions of floats) and the
// things that are left out here: `DYNAMIC_SHARED`, `mma_bf16_m16n8k16` and `load_matrices`.
//
// Names of kernels: `bitfit_<op>_<what>`, with a suffix `_f32` or `_bf16` for each matrix whose type the kernel is made for, in
// the order of its arguments. A kernel of several types is a template's body, instantiated under these names by a macro of the
// op's file. On the Rust side `kernel!("bitfit_<op>_<what>", dtype, …)` makes the same name.
//
// Sums: every one has a shape that depends on sizes alone. Within a warp by halves (`warp_sum`), then over a block's warps in
// their order (`block_sum`); over blocks through memory, in a second kernel that adds the blocks' sums in their order. There is
// no atomic operation anywhere.

typedef unsigned int u32;
typedef unsigned long long u64;
// bfloat16 as it is stored: the upper half of an f32.
typedef unsigned short bf16;

// ---------------------------------------------------------------------------------------------------------------- elements

// An f32's nearest bfloat16, ties to even; a NaN stays one. As half::bf16::from_f32 of the host.
__device__ __forceinline__ bf16 to_bf16(float x) {
    u32 bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bf16)((bits >> 16) | 0x40u);
    return (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ __forceinline__ float from_bf16(bf16 x) { return __uint_as_float((u32)x << 16); }

// Element i of a matrix of either type, as f32.
__device__ __forceinline__ float load(const float* from, u64 i) { return from[i]; }
__device__ __forceinline__ float load(const bf16* from, u64 i) { return from_bf16(from[i]); }

// Writes an f32 as element i of a matrix of either type, rounded where it is narrow.
__device__ __forceinline__ void store(float* to, u64 i, float x) { to[i] = x; }
__device__ __forceinline__ void store(bf16* to, u64 i, float x) { to[i] = to_bf16(x); }

// Two narrow elements in one register, the first in the lower half: how tensor cores take them. From sm_80 on it is one
// instruction, which rounds as to_bf16 does.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
#if !defined(BITFIT_EMULATOR) && __CUDA_ARCH__ >= 800
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return (u32)to_bf16(low) | (u32)to_bf16(high) << 16;
#endif
}
__device__ __forceinline__ float low_bf16(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_bf16(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

// The body runs for every i below n, the threads of the whole grid striding over them. Launch: Shape::elements(n).
#define FOR_EACH_ELEMENT(i, n) \
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (u64)gridDim.x * blockDim.x)

// i / n, of 32 bits where both fit, which takes a fraction of the time.
__device__ __forceinline__ u64 quotient(u64 i, u64 n) { return (i | n) >> 32 ? i / n : (u32)i / (u32)n; }

// ------------------------------------------------------------------------------------------------------------------ memory

#ifndef BITFIT_EMULATOR
// The launch's dynamic shared memory as an array of `type`, aligned for vectors. Once in a kernel.
#define DYNAMIC_SHARED(type, name)                                           \
    extern __shared__ __align__(16) unsigned char bitfit_dynamic_shared[]; \
    type* name = reinterpret_cast<type*>(bitfit_dynamic_shared)
#endif

// -------------------------------------------------------------------------------------------------------------- reductions

#define FULL_WARP 0xffffffffu

// The sum over a warp's 32 lanes, in every lane.
__device__ __forceinline__ float warp_sum(float x) {
    for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(FULL_WARP, x, distance);
    return x;
}

// The greatest over a warp's 32 lanes, in every lane.
__device__ __forceinline__ float warp_max(float x) {
    for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, distance));
    return x;
}

// The sum over a block, in every thread. `shared` has room for a float a warp; all threads call, and may call again at once.
__device__ __forceinline__ float block_sum(float x, float* shared) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.0f;
    for (u32 warp = 0; warp < blockDim.x / 32; warp++) sum += shared[warp];
    __syncthreads();
    return sum;
}

// The greatest over a block, in every thread; as block_sum.
__device__ __forceinline__ float block_max(float x, float* shared) {
    x = warp_max(x);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    float max = shared[0];
    for (u32 warp = 1; warp < blockDim.x / 32; warp++) max = fmaxf(max, shared[warp]);
    __syncthreads();
    return max;
}

// The f64 sum over a block, in thread 0. `shared` has room for a double a thread; the block's size is a power of two.
__device__ __forceinline__ double block_sum_f64(double x, double* shared) {
    shared[threadIdx.x] = x;
    __syncthreads();
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    return shared[0];
}

// -------------------------------------------------------------------------------------------------------------------- GELU
//
// The exact one, z Φ(z) with Φ the normal distribution, and its derivative Φ(z) + z φ(z).

// Φ by erfc: 1 + erf would leave nothing of it where z is far below zero.
__device__ __forceinline__ float normal_distribution(float z) { return 0.5f * erfcf(z * -0.70710678118654752f); }

__device__ __forceinline__ float gelu_slope(float z, float distribution) {
    return distribution + z * (0.39894228040143268f * expf(-0.5f * z * z));
}

// ----------------------------------------------------------------------------------------------------------------- dropout
//
// The draws of bitfit-core/src/dropout.rs. Philox-4x32-10 (Salmon et al., SC 2011); a block of 128 bits decides eight elements:
// of block l of a group of sixteen, half-word j decides element 16 j + l of the group's 128.

// A kernel's parameters for one site, as `Arguments::dropout` hands them over, and the site itself.
#define DROPOUT_PARAMETERS u32 key_low, u32 key_high, u32 draw_step, u32 site, u32 threshold, float kept_scale
#define DROPOUT_SITE \
    Dropout { key_low, key_high, draw_step, site, threshold, kept_scale }

struct Dropout {
    u32 key_low, key_high, step, site;
    // Elements whose 16 bits lie below are dropped; 0 where there is no dropout.
    u32 threshold;
    // What the others are multiplied by.
    float scale;
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

// The block that decides an element, and the half-word of it.
__device__ __forceinline__ u64 draw_block(u64 element) { return element / 128 * 16 + element % 16; }
__device__ __forceinline__ u32 draw_half_word(u64 element) { return (u32)(element % 128) / 16; }

// The factor of one element by itself: for where its neighbours are another thread's.
__device__ __forceinline__ float dropout_factor(const Dropout& dropout, u64 element) {
    if (dropout.threshold == 0) return 1.0f;
    Draw draw = philox(dropout, draw_block(element));
    return draw_factor(dropout, draw, draw_half_word(element));
}

// ------------------------------------------------------------------------------------------------------------ tensor cores
//
// c += a · b over a warp: a [16, 16] and b [16, 8] in bfloat16, c [16, 8] in f32. Of lane 4 g + t:
//
//   a[0] row g, columns 2t, 2t+1      a[2] row g, columns 2t+8, 2t+9      c[0], c[1] row g, columns 2t, 2t+1
//   a[1] row g+8, the same            a[3] row g+8, the same              c[2], c[3] row g+8, the same
//   b[0] column g, rows 2t, 2t+1      b[1] column g, rows 2t+8, 2t+9
//
// (PTX ISA, "Matrix Fragments for mma.m16n8k16"). All 32 lanes take part.

// Before sm_80 tensor cores do not take bfloat16, and there is no such function.
#if !defined(BITFIT_EMULATOR) && __CUDA_ARCH__ >= 800
__device__ __forceinline__ void mma_bf16_m16n8k16(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four matrices [8, 8] in bfloat16 from shared memory to a register each, by the whole warp ("ldmatrix"): lane l points to row
// l % 8 of matrix l / 8, aligned to sixteen bytes, and of each matrix is given elements 2t, 2t+1 of row g; of its transpose, if
// that is asked for.
__device__ __forceinline__ void load_matrices(u32 (&to)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((u32)__cvta_generic_to_shared(row))
                 : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(u32 (&to)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((u32)__cvta_generic_to_shared(row))
                 : "memory");
}
#endif
