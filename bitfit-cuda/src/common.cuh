// What the kernels of all ops share. NVRTC is given this text, then an op's `.cu` file, as one string: there is nothing
// to include.
//
// Under BITFIT_EMULATOR the same text is compiled as C++ for a CPU, behind a prelude that supplies what CUDA has by itself
// (the keywords, threadIdx and its like, __syncthreads, the shuffles, the vector types, the functions of floats) and what is left
// out here because only a GPU has it: `DYNAMIC_SHARED`, `copy_16_bytes`, `wait_for_copies`, `write_16_bytes`,
// `ex2_approx`, `rcp_approx`, `mma_bf16_m16n8k16`, `load_matrices` and `load_matrices_transposed`.
//
// Names of kernels: `bitfit_<op>_<what>`, with a suffix `_f32` or `_bf16` for each matrix whose type the kernel is made for, in
// the order of its arguments. A kernel of several types is a template's body, instantiated under these names by a macro of the
// op's file. On the Rust side `kernel!("bitfit_<op>_<what>", dtype, …)` makes the same name.
//
// Sums: every one has a shape that depends on sizes alone. Within a warp by halves (`warp_sum`), then over a block's warps in
// their order; over blocks through memory, in a second kernel that adds the blocks' sums in a fixed order (`sums.cu`, and layer
// norm's own). There is no atomic operation anywhere.

typedef unsigned int u32;
typedef unsigned long long u64;
// bfloat16 as it is stored: the upper half of an f32.
typedef unsigned short bf16;

// ---------------------------------------------------------------------------------------------------------------- elements

// From sm_80 on there is an instruction that rounds to bfloat16.
#if !defined(BITFIT_EMULATOR) && __CUDA_ARCH__ >= 800
#define ROUNDS_TO_BF16 1
#else
#define ROUNDS_TO_BF16 0
#endif

// An f32's nearest bfloat16, ties to even; a NaN stays one. As half::bf16::from_f32 of the host, but for the bits of a NaN.
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

// Writes an f32 as element i of a matrix of either type, rounded where it is narrow.
__device__ __forceinline__ void store(float* to, u64 i, float x) { to[i] = x; }
__device__ __forceinline__ void store(bf16* to, u64 i, float x) { to[i] = to_bf16(x); }

// Two narrow elements in one register, the first in the lower half: how tensor cores take them.
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

// The greatest over a block, in every thread. `shared` has room for a float a warp; all threads call, and may call again at once.
__device__ __forceinline__ float block_max(float x, float* shared) {
    x = warp_max(x);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    float max = shared[0];
    for (u32 warp = 1; warp < blockDim.x / 32; warp++) max = fmaxf(max, shared[warp]);
    __syncthreads();
    return max;
}

// `count` elements that lie `stride` apart, added one after the other. Groups of them are under way at once: the sums of blocks are
// short, and their time is that of loads which wait for one another. A group is whole, because of loads that each had a bound to
// keep the compiler put every one behind the addition of the one before.
template <u32 GROUP>
__device__ __forceinline__ void add_groups(const float*& from, u64& count, u64 stride, float& sum) {
    for (; count >= GROUP; count -= GROUP) {
        float x[GROUP];
#pragma unroll
        for (u32 i = 0; i < GROUP; i++, from += stride) x[i] = *from;
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) sum += x[i];
    }
}
__device__ __forceinline__ float sum_of_every(const float* from, u64 count, u64 stride) {
    float sum = 0.0f;
    add_groups<8>(from, count, stride, sum);
    add_groups<4>(from, count, stride, sum);
    add_groups<1>(from, count, stride, sum);
    return sum;
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

// -------------------------------------------------------------------------------------------------------- eight neighbours
//
// Memory is fastest in accesses of 16 bytes that begin at multiples of 16. So a thread takes eight neighbouring elements: narrow
// ones in one access, floats in two. `WIDE` says that all eight are there and lie so; where it is false, as many as there are go
// one by one. It is a template's parameter so that several vectors can be read with no branch between them, and are under way
// at once.

// Eight neighbouring elements as they lie in memory.
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
// Sixteen bytes from global to shared memory, or as many zeros, by a copy that the thread does not wait for before
// `wait_for_copies`; other threads see them behind a barrier. Before sm_80 it does.
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

// One store of 16 bytes to global memory. Said in PTX, because NVRTC took assignments of vectors of eight elements
// apart into words.
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

// Whether vectors may begin here.
template <class T>
__device__ __forceinline__ bool is_aligned(const T* at) {
    return (u64)at % 16 == 0;
}

// Whether they may at every eighth column of a matrix whose rows are `stride` elements apart. They may where there is none.
template <class T>
__device__ __forceinline__ bool rows_are_aligned(const T* at, u64 stride) {
    return is_aligned(at) && stride * sizeof(T) % 16 == 0;
}

// Eight elements, or the first `count`, and zeros behind them.
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

// Eight elements, or the first `count`, rounded where they are narrow.
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

// Eight elements of a vector, or the first `count`, and zeros behind them; it may begin anywhere, as parameters do in an arena.
__device__ __forceinline__ void read_vector(const float* from, u32 count, float (&x)[8]) {
    unpack_eight(count == 8 && is_aligned(from) ? read_eight<true>(from, 8) : read_eight<false>(from, count), x);
}

// ------------------------------------------------------------------------------------------------------------------- tiles
//
// How a kernel goes over a matrix: a block of 256 threads takes a tile of 32 rows and 256 columns, a lane eight neighbouring columns,
// a warp every eighth row. So a thread has four rows to read at once, and keeps what belongs to its columns in registers. Tiles are
// counted along the rows of tiles. Launch: Shape::tiles(rows, cols), which has these numbers too.
#define TILE_ROWS 32
#define TILE_COLUMNS 256
#define TILE_WARPS 8
#define TILE_THREADS (32 * TILE_WARPS)
#define THREAD_ROWS (TILE_ROWS / TILE_WARPS)

// A thread's part of a tile.
struct Tile {
    // Of the tile, among those of its columns.
    u32 down;
    // The thread's first row, TILE_WARPS before its second.
    u64 row;
    // The thread's first column, and how many of the eight there are.
    u64 column;
    u32 count;
};

__device__ __forceinline__ u32 tiles_across(u64 cols) { return (u32)((cols + TILE_COLUMNS - 1) / TILE_COLUMNS); }

// The thread's part of the tile that has `across` others before it and `down` above it.
__device__ __forceinline__ Tile tile_at(u32 down, u32 across, u64 cols) {
    u64 column = (u64)across * TILE_COLUMNS + threadIdx.x % 32 * 8;
    u64 rest = column < cols ? cols - column : 0;
    return Tile{down, (u64)down * TILE_ROWS + threadIdx.x / 32, column, rest < 8 ? (u32)rest : 8};
}

__device__ __forceinline__ Tile tile_of_thread(u64 cols) {
    u32 across = tiles_across(cols), down = blockIdx.x / across;
    return tile_at(down, blockIdx.x - down * across, cols);
}

// Rows that a thread reads before it uses the first of them. One by one where there are no vectors, whose code would be long.
template <bool WIDE>
struct Together {
    static const u32 ROWS = WIDE ? THREAD_ROWS : 1;
};

// The thread's elements of its rows `first ..`, zeros where there is no row; `stride` elements lie between the rows of `from`.
template <bool WIDE, class T, u32 ROWS>
__device__ __forceinline__ void read_rows(
    const T* from, u64 rows, u64 stride, const Tile& tile, u32 first, Eight<T> (&to)[ROWS]) {
#pragma unroll
    for (u32 k = 0; k < ROWS; k++) {
        u64 row = tile.row + (first + k) * TILE_WARPS;
        to[k] = Eight<T>{};
        if (row < rows) to[k] = read_eight<WIDE>(from + row * stride + tile.column, tile.count);
    }
}

// The first stage of sums over rows (`sums.rs`): partial[down, j] = the sum over the tile's rows, of which each thread has summed
// its own; those of the warps are added in their order. `stride` elements lie between the rows of `partial`. All threads of the
// block call.
struct __align__(16) TileSums {
    float floats[TILE_WARPS * TILE_COLUMNS];
};

__device__ __forceinline__ void put_column_sums(
    const float (&sum)[8], const Tile& tile, u64 cols, float* partial, u64 stride, TileSums& shared) {
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float4* own = reinterpret_cast<float4*>(shared.floats + warp * TILE_COLUMNS + lane * 8);
    own[0] = make_float4(sum[0], sum[1], sum[2], sum[3]);
    own[1] = make_float4(sum[4], sum[5], sum[6], sum[7]);
    __syncthreads();
    u64 column = tile.column - lane * 8 + threadIdx.x;
    if (column >= cols) return;
    float total = shared.floats[threadIdx.x];
#pragma unroll
    for (u32 other = 1; other < TILE_WARPS; other++) total += shared.floats[other * TILE_COLUMNS + threadIdx.x];
    partial[tile.down * stride + column] = total;
}

// -------------------------------------------------------------------------------------------------------------------- runs

// Runs of elements that count as lying one behind the other, such as the parts of a bias, up to four in a launch (as `RUNS` of
// launch.rs); those that are not there have no elements. A run begins at a pointer, or at an index.
#define RUNS 4

template <class At>
struct Runs {
    At first[RUNS];
    u64 len[RUNS];
};

// Where an element of the runs lies, and how many there are from it to the end of its run.
template <class At>
struct Place {
    At at;
    u64 rest;
};

template <class At>
__device__ __forceinline__ Place<At> place_of(const Runs<At>& runs, u64 element) {
    Place<At> place = {};
    u64 begin = 0;
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) {
        // Below `begin`, the difference is greater than any length.
        u64 inside = element - begin;
        if (inside < runs.len[run]) place = Place<At>{runs.first[run] + inside, runs.len[run] - inside};
        begin += runs.len[run];
    }
    return place;
}

// -------------------------------------------------------------------------------------------------------------------- GELU
//
// The exact one, z Φ(z) with Φ the normal distribution and φ its density, and its derivative Φ(z) + z φ(z), as
// bitfit-core/src/simd/math.rs computes them: both from one exponential and one division, with the same polynomial for the upper
// tail. The lower tail is a product, not a difference, so that it keeps its leading digits.
//
// Of max(1, |z|), the value is within 3e-7 and the derivative within 4e-7 even if both instructions below are off by all that they
// may be, and within 2e-7 if they are exact. A few 1e-8 of it come from the exponent, whose rounding grows with z², while what it
// decides shrinks faster.

#ifndef BITFIT_EMULATOR
// 2^x within 2 ulp, zero where that is subnormal; 1 / x within 2^-23 of itself. One instruction each, unlike exp2f and a division.
__device__ __forceinline__ float ex2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ float rcp_approx(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

struct Gelu {
    float value, slope;
};

__device__ __forceinline__ Gelu gelu(float z) {
    // √(2π) φ(z): 2 to the power of -z² / (2 ln 2). It is zero beyond 13.3, where the polynomial ends, and NaN where z is.
    float density = ex2_approx(z * z * -0.72134752f);
    float size = fminf(fabsf(z), 13.5f);
    float t = rcp_approx(fmaf(0.35f, size, 1.0f));
    float p = fmaf(-0.029157834f, t, 0.1440307f);
    p = fmaf(p, t, -0.25583863f);
    p = fmaf(p, t, 0.15931934f);
    p = fmaf(p, t, -0.023212153f);
    p = fmaf(p, t, 0.105552435f);
    p = fmaf(p, t, 0.1198213f);
    p = fmaf(p, t, 0.13986352f);
    p = fmaf(p, t, 0.1396213f);
    float tail = density * (t * p);
    float distribution = z < 0.0f ? tail : 1.0f - tail;
    return Gelu{z * distribution, fmaf(copysignf(size, z) * 0.3989423f, density, distribution)};
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
