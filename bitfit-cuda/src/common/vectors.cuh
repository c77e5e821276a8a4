// Vectors: accesses of eight neighbouring elements.

// Memory is fastest with aligned accesses of 16 bytes. A thread therefore processes eight neighbouring elements:
// bfloat16 in one access, floats in two. `WIDE` states that all eight exist and are aligned; otherwise those that exist
// are accessed one by one. It is a template parameter, so that several vectors can be read without a branch in between
// and their loads overlap.

// Eight neighbouring elements in memory format.
template <class T>
struct Eight;
template <>
struct Eight<float> {
    float4 low, high;
};
template <>
struct Eight<bf16> {
    uint4 pairs;
};

__device__ __forceinline__ void unpack_eight(const Eight<float>& v, float (&x)[8]) {
    x[0] = v.low.x, x[1] = v.low.y, x[2] = v.low.z, x[3] = v.low.w;
    x[4] = v.high.x, x[5] = v.high.y, x[6] = v.high.z, x[7] = v.high.w;
}
__device__ __forceinline__ void unpack_eight(const Eight<bf16>& v, float (&x)[8]) {
    x[0] = low_bf16(v.pairs.x), x[1] = high_bf16(v.pairs.x), x[2] = low_bf16(v.pairs.y), x[3] = high_bf16(v.pairs.y);
    x[4] = low_bf16(v.pairs.z), x[5] = high_bf16(v.pairs.z), x[6] = low_bf16(v.pairs.w), x[7] = high_bf16(v.pairs.w);
}

__device__ __forceinline__ void pack_eight(const float (&x)[8], Eight<float>& v) {
    v.low = make_float4(x[0], x[1], x[2], x[3]);
    v.high = make_float4(x[4], x[5], x[6], x[7]);
}
__device__ __forceinline__ void pack_eight(const float (&x)[8], Eight<bf16>& v) {
    v.pairs = make_uint4(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7]));
}

#ifndef BITFIT_EMULATOR
// Copies sixteen bytes from global to shared memory, or zeros, asynchronously until `wait_for_copies`; other threads
// see them after a barrier. Before sm_80 the copy is synchronous.
__device__ __forceinline__ void copy_16_bytes(void* to, const void* from, bool there) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((u32)__cvta_generic_to_shared(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(there ? 16 : 0)
                 : "memory");
#else
    *reinterpret_cast<uint4*>(to) = there ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#endif
}
__device__ __forceinline__ void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// One store of 16 bytes to global memory, in PTX because NVRTC splits assignments of eight elements into words.
__device__ __forceinline__ void write_16_bytes(void* to, uint4 v) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}
#endif

__device__ __forceinline__ void write_vectors(float* to, const float (&x)[8]) {
#pragma unroll
    for (u32 i = 0; i < 8; i += 4) {
        write_16_bytes(
            to + i, make_uint4(__float_as_uint(x[i]), __float_as_uint(x[i + 1]), __float_as_uint(x[i + 2]), __float_as_uint(x[i + 3])));
    }
}
__device__ __forceinline__ void write_vectors(bf16* to, const float (&x)[8]) {
    write_16_bytes(to, make_uint4(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])));
}

// Whether vectors can start at this address.
template <class T>
__device__ __forceinline__ bool is_aligned(const T* at) {
    return (u64)at % 16 == 0;
}

// Whether vectors can start at every eighth column of a matrix whose rows are `stride` elements apart. True for null.
template <class T>
__device__ __forceinline__ bool rows_are_aligned(const T* at, u64 stride) {
    return is_aligned(at) && stride * sizeof(T) % 16 == 0;
}

// Eight elements, or the first `count` and zeros.
template <bool WIDE, class T>
__device__ __forceinline__ Eight<T> read_eight(const T* from, u32 count) {
    if constexpr (WIDE) {
        return *reinterpret_cast<const Eight<T>*>(from);
    } else {
        float x[8];
#pragma unroll
        for (u32 i = 0; i < 8; i++) x[i] = i < count ? load(from, i) : 0.0f;
        Eight<T> v;
        pack_eight(x, v);
        return v;
    }
}

// Stores eight elements, or the first `count`, rounded to the type.
template <bool WIDE, class T>
__device__ __forceinline__ void write_eight(T* to, u32 count, const float (&x)[8]) {
    if constexpr (WIDE) {
        write_vectors(to, x);
    } else {
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
            if (i < count) store(to, i, x[i]);
        }
    }
}

// Eight elements of a vector, or the first `count` and zeros; it can start anywhere, like parameters in an arena.
__device__ __forceinline__ void read_vector(const float* from, u32 count, float (&x)[8]) {
    unpack_eight(count == 8 && is_aligned(from) ? read_eight<true>(from, 8) : read_eight<false>(from, count), x);
}
