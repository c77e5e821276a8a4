// CUDA's language for g++: code before a kernel's source when the emulated NVRTC compiles it (after abi.h). It defines
// what NVRTC has built in and nothing else, so that a kernel which needs more fails here too.

#define BITFIT_EMULATOR 1
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1

#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static
// A block runs on one OS thread from beginning to end, so its shared variables are that thread's own. The driver fills
// them with NaNs before each block.
#define __shared__ static thread_local
#define DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(emulated_thread->dynamic_shared)

typedef __SIZE_TYPE__ size_t;

// The running thread. It is in a register, because a switch of fibers then changes it at no cost.
register EmulatedThread* emulated_thread asm("r15");
#define threadIdx (emulated_thread->thread_idx)
#define blockIdx (emulated_thread->block_idx)
#define blockDim (emulated_thread->block_dim)
#define gridDim (emulated_thread->grid_dim)
#define warpSize 32

// Vectors.

#define EMULATED_VECTORS(scalar, name)                                                \
    struct name##2 { scalar x, y; }                                                   \
    __attribute__((aligned(2 * sizeof(scalar))));                                     \
    struct name##3 { scalar x, y, z; };                                               \
    struct name##4 { scalar x, y, z, w; }                                             \
    __attribute__((aligned(4 * sizeof(scalar) > 16 ? 16 : 4 * sizeof(scalar))));      \
    inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }              \
    inline name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; } \
    inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
EMULATED_VECTORS(signed char, char)
EMULATED_VECTORS(unsigned char, uchar)
EMULATED_VECTORS(short, short)
EMULATED_VECTORS(unsigned short, ushort)
EMULATED_VECTORS(int, int)
EMULATED_VECTORS(unsigned, uint)
EMULATED_VECTORS(float, float)
EMULATED_VECTORS(double, double)
EMULATED_VECTORS(long long, longlong)
EMULATED_VECTORS(unsigned long long, ulonglong)
#undef EMULATED_VECTORS

// Memory.

inline void write_16_bytes(void* to, uint4 v) { *static_cast<uint4*>(to) = v; }

// Mathematics: functions from libm, and the machine's instructions for the rest.

extern "C" {
float erff(float);
float erfcf(float);
float expf(float);
float exp2f(float);
float expm1f(float);
float logf(float);
float log2f(float);
float log1pf(float);
float tanhf(float);
float sqrtf(float);
float powf(float, float);
float sinf(float);
float cosf(float);
float fmaf(float, float, float);
float fmaxf(float, float);
float fminf(float, float);
float fabsf(float);
float floorf(float);
float ceilf(float);
float rintf(float);
float truncf(float);
float copysignf(float, float);
float fmodf(float, float);
double erf(double);
double exp(double);
double log(double);
double tanh(double);
double sqrt(double);
double pow(double, double);
double fma(double, double, double);
double fmax(double, double);
double fmin(double, double);
double fabs(double);
double floor(double);
int abs(int);
void* memcpy(void*, const void*, size_t);
void* memset(void*, int, size_t);
}
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
// The PTX instructions ex2.approx.ftz.f32 and rcp.approx.ftz.f32.
inline float emulated_ftz(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }
inline float ex2_approx(float x) { return emulated_ftz(exp2f(emulated_ftz(x))); }
inline float rcp_approx(float x) { return emulated_ftz(1.0f / emulated_ftz(x)); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }

#ifdef EMULATED_ULPS
// BITFIT_EMULATOR_CHECK=ulps: each function is changed by the maximum error of CUDA's own ("Mathematical Functions
// Appendix" of the Programming Guide; for an instruction, that of the function made of it, exp2f and 1 / x without
// precise division), up or down depending on the bits of its result. Results that are exact in every implementation (0,
// 1, infinity and NaN) are not changed.
inline float emulated_off(float x, unsigned most) {
    unsigned bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    if (x == 0.0f || x == 1.0f || x == -1.0f || (bits & 0x7f800000u) == 0x7f800000u || (bits & 0x7f800000u) == 0) return x;
    unsigned hash = bits * 0x9e3779b9u;
    bits += (hash >> 16) % (2 * most + 1) - most;
    __builtin_memcpy(&x, &bits, sizeof bits);
    return x;
}
#define erff(x) emulated_off(erff(x), 2)
#define erfcf(x) emulated_off(erfcf(x), 4)
#define expf(x) emulated_off(expf(x), 1)
#define exp2f(x) emulated_off(exp2f(x), 2)
#define expm1f(x) emulated_off(expm1f(x), 1)
#define logf(x) emulated_off(logf(x), 1)
#define log2f(x) emulated_off(log2f(x), 1)
#define log1pf(x) emulated_off(log1pf(x), 1)
#define tanhf(x) emulated_off(tanhf(x), 2)
#define sinf(x) emulated_off(sinf(x), 2)
#define cosf(x) emulated_off(cosf(x), 2)
#define powf(x, y) emulated_off(powf(x, y), 4)
#define rsqrtf(x) emulated_off(rsqrtf(x), 2)
#define ex2_approx(x) emulated_off(ex2_approx(x), 2)
#define rcp_approx(x) emulated_off(rcp_approx(x), 1)
#endif

inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }

#define EMULATED_MIN_MAX(type)                                \
    inline type min(type a, type b) { return b < a ? b : a; } \
    inline type max(type a, type b) { return a < b ? b : a; }
EMULATED_MIN_MAX(int)
EMULATED_MIN_MAX(unsigned)
EMULATED_MIN_MAX(long)
EMULATED_MIN_MAX(unsigned long)
EMULATED_MIN_MAX(long long)
EMULATED_MIN_MAX(unsigned long long)
#undef EMULATED_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

// Intrinsics.

template <typename To, typename From>
inline To emulated_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}
inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline float __int_as_float(int x) { return emulated_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32); }
inline int __mulhi(int a, int b) { return static_cast<int>((static_cast<long long>(a) * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fdiv_rn(float a, float b) { return a / b; }
// Never fused with neighbouring operations, as on the device.
__attribute__((noinline, optimize("fp-contract=off"))) inline float __fadd_rn(float a, float b) { return a + b; }
__attribute__((noinline, optimize("fp-contract=off"))) inline float __fsub_rn(float a, float b) { return a - b; }
__attribute__((noinline, optimize("fp-contract=off"))) inline float __fmul_rn(float a, float b) { return a * b; }
inline int __float2int_rn(float x) { return static_cast<int>(rintf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
template <typename T>
inline T __ldg(const T* from) {
    return *from;
}

// For integers only: these kernels do not use atomic sums of floats, because their order is not defined.
#define EMULATED_ATOMICS(type)                                                                                              \
    inline type atomicAdd(type* at, type value) { return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST); }                 \
    inline type atomicExch(type* at, type value) { return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST); }               \
    inline type atomicOr(type* at, type value) { return __atomic_fetch_or(at, value, __ATOMIC_SEQ_CST); }                   \
    inline type atomicMax(type* at, type value) {                                                                           \
        type seen = __atomic_load_n(at, __ATOMIC_SEQ_CST);                                                                  \
        while (seen < value && !__atomic_compare_exchange_n(at, &seen, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) { \
        }                                                                                                                   \
        return seen;                                                                                                        \
    }
EMULATED_ATOMICS(int)
EMULATED_ATOMICS(unsigned)
EMULATED_ATOMICS(unsigned long long)
#undef EMULATED_ATOMICS
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { asm volatile("" ::: "memory"); }
[[noreturn]] inline void __trap() { __builtin_trap(); }

// Synchronisation of threads. The compiler must assume that memory changes there.

inline void __syncthreads() {
    asm volatile("" ::: "memory");
    emulated_thread->calls->barrier(emulated_thread);
    asm volatile("" ::: "memory");
}

inline const unsigned long long* emulated_meet(const char* what, unsigned mask, unsigned long long value,
                                               void (*leader)(unsigned long long*) = nullptr) {
    asm volatile("" ::: "memory");
    const unsigned long long* values = emulated_thread->calls->meet(emulated_thread, what, mask, value, leader);
    asm volatile("" ::: "memory");
    return values;
}

inline void __syncwarp(unsigned mask = 0xffffffffu) { emulated_meet("__syncwarp", mask, 0); }

template <typename T>
inline unsigned long long emulated_pack(T value) {
    static_assert(sizeof(T) <= sizeof(unsigned long long), "a shuffle moves at most eight bytes");
    unsigned long long packed = 0;
    __builtin_memcpy(&packed, &value, sizeof value);
    return packed;
}
template <typename T>
inline T emulated_unpack(unsigned long long packed) {
    T value;
    __builtin_memcpy(&value, &packed, sizeof value);
    return value;
}

// For a source lane outside the segment, the result is the lane's own value, as specified for PTX's `shfl`.
template <typename T>
inline T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    unsigned lane = emulated_thread->lane, segment = lane & ~(static_cast<unsigned>(width) - 1);
    return emulated_unpack<T>(
        emulated_meet("__shfl_sync", mask, emulated_pack(value))[segment | (static_cast<unsigned>(from) & (width - 1))]);
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
    unsigned lane = emulated_thread->lane, end = (lane & ~(static_cast<unsigned>(width) - 1)) + width,
             from = lane ^ static_cast<unsigned>(with);
    return emulated_unpack<T>(emulated_meet("__shfl_xor_sync", mask, emulated_pack(value))[from < end ? from : lane]);
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    unsigned lane = emulated_thread->lane, end = (lane & ~(static_cast<unsigned>(width) - 1)) + width, from = lane + by;
    return emulated_unpack<T>(emulated_meet("__shfl_down_sync", mask, emulated_pack(value))[from < end ? from : lane]);
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    unsigned lane = emulated_thread->lane, segment = lane & ~(static_cast<unsigned>(width) - 1);
    return emulated_unpack<T>(
        emulated_meet("__shfl_up_sync", mask, emulated_pack(value))[lane - segment >= by ? lane - by : lane]);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const unsigned long long* values = emulated_meet("__ballot_sync", mask, predicate != 0);
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < 32; ++lane) ballot |= static_cast<unsigned>(values[lane]) << lane;
    return ballot;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == 0xffffffffu; }

// cp.async: sixteen bytes to shared memory, or zeros. The copy completes immediately here; a read without a wait is
// detected only on a device.
inline void copy_16_bytes(void* to, const void* from, bool there) {
    *static_cast<uint4*>(to) = there ? *static_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
}
inline void wait_for_copies() {}

// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32: c += a · b, by the whole warp.
//
// The layout is that of the PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type". With group = lane /
// 4 and member = lane % 4, the low half of a register standing before its high half:
//
//     a (16x16)   register r: row group + 8 (r % 2), columns 2 member + 8 (r / 2) and the next
//     b (16x8)    register r: rows 2 member + 8 r and the next, column group
//     c (16x8)    element e: row group + 8 (e / 2), column 2 member + e % 2
struct EmulatedMma {
    float* c;
    const unsigned* a;
    const unsigned* b;
};

inline void emulated_mma(unsigned long long* values) {
    const auto half = [](unsigned bits, unsigned high) { return __uint_as_float(high ? bits & 0xffff0000u : bits << 16); };
    float a[16][16], b[16][8];
    for (unsigned lane = 0; lane < 32; ++lane) {
        const EmulatedMma& own = *reinterpret_cast<const EmulatedMma*>(values[lane]);
        unsigned group = lane / 4, member = lane % 4;
        for (unsigned r = 0; r < 4; ++r)
            for (unsigned h = 0; h < 2; ++h) a[group + 8 * (r % 2)][2 * member + 8 * (r / 2) + h] = half(own.a[r], h);
        for (unsigned r = 0; r < 2; ++r)
            for (unsigned h = 0; h < 2; ++h) b[2 * member + 8 * r + h][group] = half(own.b[r], h);
    }
    float c[16][8] = {};
    for (unsigned i = 0; i < 16; ++i)
        for (unsigned k = 0; k < 16; ++k)
            for (unsigned j = 0; j < 8; ++j) c[i][j] += a[i][k] * b[k][j];
    for (unsigned lane = 0; lane < 32; ++lane) {
        const EmulatedMma& own = *reinterpret_cast<const EmulatedMma*>(values[lane]);
        for (unsigned e = 0; e < 4; ++e) own.c[e] += c[lane / 4 + 8 * (e / 2)][2 * (lane % 4) + e % 2];
    }
}

inline void mma_bf16_m16n8k16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    EmulatedMma own{c, a, b};
    emulated_meet("mma_bf16_m16n8k16", 0xffffffffu, reinterpret_cast<unsigned long long>(&own), emulated_mma);
}

// ldmatrix.sync.aligned.m8n8.x4.shared.b16, by the whole warp: lane l points to row l % 8 of matrix l / 8 and receives,
// from each matrix, elements 2 (l % 4) and the next of row l / 4; with `.trans`, elements of columns instead.
struct EmulatedMatrices {
    unsigned* to;
    const unsigned short* row;
};

template <bool TRANSPOSED>
inline void emulated_load_matrices(unsigned long long* values) {
    const auto of = [values](unsigned lane) { return *reinterpret_cast<const EmulatedMatrices*>(values[lane]); };
    for (unsigned lane = 0; lane < 32; ++lane)
        for (unsigned matrix = 0; matrix < 4; ++matrix) {
            const auto element = [&](unsigned next) -> unsigned {
                unsigned row = lane / 4, column = 2 * (lane % 4) + next;
                return TRANSPOSED ? of(8 * matrix + column).row[row] : of(8 * matrix + row).row[column];
            };
            of(lane).to[matrix] = element(0) | element(1) << 16;
        }
}

inline void emulated_load(const char* what, unsigned (&to)[4], const unsigned short* row, void (*leader)(unsigned long long*)) {
    if (reinterpret_cast<unsigned long long>(row) % 16 != 0) __builtin_trap();
    EmulatedMatrices own{to, row};
    emulated_meet(what, 0xffffffffu, reinterpret_cast<unsigned long long>(&own), leader);
}
inline void load_matrices(unsigned (&to)[4], const unsigned short* row) {
    emulated_load("load_matrices", to, row, emulated_load_matrices<false>);
}
inline void load_matrices_transposed(unsigned (&to)[4], const unsigned short* row) {
    emulated_load("load_matrices_transposed", to, row, emulated_load_matrices<true>);
}
