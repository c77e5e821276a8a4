// Whole buffers: fill, copy, add, gather and scatter. The first three process eight elements at a time if both slices
// are aligned, and the rest one by one. Launch: Shape::eights(len), and Shape::elements(number of indices) for gather
// and scatter.

template <class T>
__device__ __forceinline__ void fill(float value, T* to, u64 len) {
    u64 eights = is_aligned(to) ? len / 8 : 0;
    float x[8] = {value, value, value, value, value, value, value, value};
    FOR_EACH_ELEMENT(i, eights) write_eight<true>(to + 8 * i, 8, x);
    FOR_EACH_ELEMENT(i, len - 8 * eights) store(to, 8 * eights + i, value);
}

// to[i] = from[i], in to's type.
template <class A, class B>
__device__ __forceinline__ void copy(const A* from, B* to, u64 len) {
    u64 eights = is_aligned(from) && is_aligned(to) ? len / 8 : 0;
    FOR_EACH_ELEMENT(i, eights) {
        float x[8];
        unpack_eight(read_eight<true>(from + 8 * i, 8), x);
        write_eight<true>(to + 8 * i, 8, x);
    }
    FOR_EACH_ELEMENT(i, len - 8 * eights) store(to, 8 * eights + i, load(from, 8 * eights + i));
}

// to[i] += from[i], added in f32 and rounded to to's type.
template <class A, class B>
__device__ __forceinline__ void accumulate(const A* from, B* to, u64 len) {
    u64 eights = is_aligned(from) && is_aligned(to) ? len / 8 : 0;
    FOR_EACH_ELEMENT(i, eights) {
        float sum[8], x[8];
        unpack_eight(read_eight<true>(to + 8 * i, 8), sum);
        unpack_eight(read_eight<true>(from + 8 * i, 8), x);
#pragma unroll
        for (u32 j = 0; j < 8; j++) sum[j] += x[j];
        write_eight<true>(to + 8 * i, 8, sum);
    }
    FOR_EACH_ELEMENT(i, len - 8 * eights) store(to, 8 * eights + i, load(to, 8 * eights + i) + load(from, 8 * eights + i));
}

extern "C" __global__ void bitfit_fill_f32(float value, float* to, u64 len) { fill(value, to, len); }
extern "C" __global__ void bitfit_fill_bf16(float value, bf16* to, u64 len) { fill(value, to, len); }

#define OF_TYPES(A, B, SUFFIX)                                                                                         \
    extern "C" __global__ void bitfit_copy_##SUFFIX(const A* from, B* to, u64 len) { copy(from, to, len); }            \
    extern "C" __global__ void bitfit_accumulate_##SUFFIX(const A* from, B* to, u64 len) { accumulate(from, to, len); }

OF_TYPES(float, float, f32_f32)
OF_TYPES(float, bf16, f32_bf16)
OF_TYPES(bf16, float, bf16_f32)
OF_TYPES(bf16, bf16, bf16_bf16)

// to[i] = from[at[i]]; len indices.
extern "C" __global__ void bitfit_gather_accumulate(const float* from, const u32* at, float* to, u64 len) {
    FOR_EACH_ELEMENT(i, len) to[i] += from[at[i]];
}

// to[at[i]] = from[i], in to's type; `at` has no duplicates.
extern "C" __global__ void bitfit_scatter_f32(const float* from, const u32* at, float* to, u64 len) {
    FOR_EACH_ELEMENT(i, len) to[at[i]] = from[i];
}
extern "C" __global__ void bitfit_scatter_bf16(const float* from, const u32* at, bf16* to, u64 len) {
    FOR_EACH_ELEMENT(i, len) store(to, at[i], from[i]);
}
