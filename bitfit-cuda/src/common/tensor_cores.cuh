// Tensor cores: products of bfloat16 over a warp.

// c += a · b over a warp: a [16, 16] and b [16, 8] in bfloat16, c [16, 8] in f32. Of lane 4 g + t:
//
//   a[0] row g, columns 2t, 2t+1      a[2] row g, columns 2t+8, 2t+9      c[0], c[1] row g, columns 2t, 2t+1
//   a[1] row g+8, the same            a[3] row g+8, the same              c[2], c[3] row g+8, the same
//   b[0] column g, rows 2t, 2t+1      b[1] column g, rows 2t+8, 2t+9
//
// (PTX ISA, "Matrix Fragments for mma.m16n8k16"). All 32 lanes take part.

// Before sm_80 tensor cores do not support bfloat16, and the function does not exist.
#if !defined(BITFIT_EMULATOR) && __CUDA_ARCH__ >= 800
__device__ __forceinline__ void mma_bf16_m16n8k16(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four matrices [8, 8] in bfloat16 from shared memory to a register each, by the whole warp ("ldmatrix"): lane l points
// to row l % 8 of matrix l / 8, aligned to sixteen bytes, and receives elements 2t, 2t+1 of row g of each matrix, or of
// its transpose.
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
