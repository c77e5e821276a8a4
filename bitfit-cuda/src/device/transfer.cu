// Whole buffers: fill, copy, add, and the same by a list of indices. A thread takes an element at a time, striding over the grid
// (Shape::elements of as many elements as there are).

template <class T>
__device__ __forceinline__ void fill(float value, T* to, u64 len) {
    FOR_EACH_ELEMENT(i, len) store(to, i, value);
}

// to[i] = from[i], in to's type.
template <class A, class B>
__device__ __forceinline__ void copy(const A* from, B* to, u64 len) {
    FOR_EACH_ELEMENT(i, len) store(to, i, load(from, i));
}

// to[i] += from[i], added in f32 and rounded to to's type.
template <class A, class B>
__device__ __forceinline__ void accumulate(const A* from, B* to, u64 len) {
    FOR_EACH_ELEMENT(i, len) store(to, i, load(to, i) + load(from, i));
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

// to[at[i]] = from[i]; `at` names no element twice.
extern "C" __global__ void bitfit_scatter(const float* from, const u32* at, float* to, u64 len) {
    FOR_EACH_ELEMENT(i, len) to[at[i]] = from[i];
}
