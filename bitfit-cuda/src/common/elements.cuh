// Code that the kernels of all ops share. NVRTC compiles the files of this folder, in the order of `compile.rs`, and
// then the `.cu` file of an op as one text; there are no includes. This file comes first.
//
// With BITFIT_EMULATOR the same text is compiled as C++ for a CPU, after a prelude that supplies what is built into
// CUDA (the keywords, threadIdx and the like, __syncthreads, the shuffles, the vector types, the functions of floats)
// and the functions that are omitted here because they need a GPU: `DYNAMIC_SHARED`, `copy_16_bytes`,
// `wait_for_copies`, `write_16_bytes`, `ex2_approx`, `rcp_approx`, `mma_bf16_m16n8k16`, `load_matrices` and
// `load_matrices_transposed`.
//
// Names of kernels: `bitfit_<op>_<what>`, with a suffix `_f32` or `_bf16` for each matrix of variable type, in the
// order of the arguments. A kernel for several types is a template function, instantiated under these names by a macro
// of the op's file. In Rust, `kernel!("bitfit_<op>_<what>", dtype, …)` makes the same name.
//
// Sums: the order of every sum depends only on sizes. Within a warp sums are formed by halves (`warp_sum`), then over
// the warps of a block in their order; over blocks through memory, by a second kernel that adds the sums of the blocks
// in a fixed order (`sums.cu`, and that of layer norm). There are no atomic operations.
//
// Elements of matrices: f32 and bfloat16, loads and stores, loops over elements, shared memory.

typedef unsigned int u32;
typedef unsigned long long u64;
// bfloat16 as it is stored: the upper half of an f32.
typedef unsigned short bf16;

// From sm_80 on there is an instruction that rounds to bfloat16.
#if !defined(BITFIT_EMULATOR) && __CUDA_ARCH__ >= 800
#define ROUNDS_TO_BF16 1
#else
#define ROUNDS_TO_BF16 0
#endif

// An f32's nearest bfloat16, ties to even; a NaN stays one. As half::bf16::from_f32 of the host, but for the bits of a
// NaN.
__device__ __forceinline__ bf16 to_bf16(float x) {
#if ROUNDS_TO_BF16
    bf16 rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(x));
    return rounded;
#else
    u32 bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bf16)((bits >> 16) | 0x40u);
    return (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

__device__ __forceinline__ float from_bf16(bf16 x) { return __uint_as_float((u32)x << 16); }

// Element i of a matrix of either type, as f32.
__device__ __forceinline__ float load(const float* from, u64 i) { return from[i]; }
__device__ __forceinline__ float load(const bf16* from, u64 i) { return from_bf16(from[i]); }

// Stores an f32 as element i of a matrix of either type, rounded to the type.
__device__ __forceinline__ void store(float* to, u64 i, float x) { to[i] = x; }
__device__ __forceinline__ void store(bf16* to, u64 i, float x) { to[i] = to_bf16(x); }

// Two elements of bfloat16 in one register, the first in the lower half, as tensor cores require.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
#if ROUNDS_TO_BF16
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

// i / n, computed with 32 bits if both fit, which is several times faster.
__device__ __forceinline__ u64 quotient(u64 i, u64 n) { return (i | n) >> 32 ? i / n : (u32)i / (u32)n; }

#ifndef BITFIT_EMULATOR
// The launch's dynamic shared memory as an array of `type`, aligned for vectors. Once in a kernel.
#define DYNAMIC_SHARED(type, name)                                           \
    extern __shared__ __align__(16) unsigned char bitfit_dynamic_shared[]; \
    type* name = reinterpret_cast<type*>(bitfit_dynamic_shared)
#endif
