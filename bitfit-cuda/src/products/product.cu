// Matrix product, used if cuBLASLt has no algorithm. It is much slower: no tensor cores, and one tile size for all
// shapes. Each element is the sum of its terms in their order.

// The rows and columns of the tile of a block, and the number of terms that it loads at once.
#define TILE 64
#define DEPTH 16

// c = a · b, or c += a · b if `accumulate`: a [m, k] with element (i, p) at i * a_row + p * a_column, b [k, n] with
// element (p, j) at p * b_row + j * b_column, c [m, n] row by row. Launch: 256 threads, a block per tile, along the
// rows of tiles.
template <class T, class U>
__device__ __forceinline__ void product(const T* a, u64 a_row, u64 a_column, const T* b, u64 b_row, u64 b_column, U* c, u64 m,
                                        u64 k, u64 n, u32 accumulate) {
    __shared__ float left[DEPTH][TILE + 1], right[DEPTH][TILE + 1];
    u64 across = (n + TILE - 1) / TILE, down = quotient(blockIdx.x, across);
    u64 first_row = down * TILE, first_column = (blockIdx.x - down * across) * TILE;
    // The elements of c of a thread are 16 rows and 16 columns apart, so that neighbouring threads write neighbouring
    // elements.
    u32 x = threadIdx.x % 16, y = threadIdx.x / 16;
    float sums[4][4] = {};
    for (u64 first = 0; first < k; first += DEPTH) {
        for (u32 e = threadIdx.x; e < TILE * DEPTH; e += 256) {
            // Neighbouring threads read neighbouring elements.
            u32 p = a_column == 1 ? e % DEPTH : e / TILE, i = a_column == 1 ? e / DEPTH : e % TILE;
            bool there = first + p < k && first_row + i < m;
            left[p][i] = there ? load(a, (first_row + i) * a_row + (first + p) * a_column) : 0.0f;
            u32 q = b_row == 1 ? e % DEPTH : e / TILE, j = b_row == 1 ? e / DEPTH : e % TILE;
            there = first + q < k && first_column + j < n;
            right[q][j] = there ? load(b, (first + q) * b_row + (first_column + j) * b_column) : 0.0f;
        }
        __syncthreads();
        for (u32 p = 0; p < DEPTH; p++) {
            for (u32 r = 0; r < 4; r++) {
                float factor = left[p][y + 16 * r];
                for (u32 s = 0; s < 4; s++) sums[r][s] = fmaf(factor, right[p][x + 16 * s], sums[r][s]);
            }
        }
        __syncthreads();
    }
    for (u32 r = 0; r < 4; r++) {
        for (u32 s = 0; s < 4; s++) {
            u64 row = first_row + y + 16 * r, column = first_column + x + 16 * s, at = row * n + column;
            if (row < m && column < n) store(c, at, accumulate ? load(c, at) + sums[r][s] : sums[r][s]);
        }
    }
}

#define OF_TYPES(T, U, SUFFIX)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256) bitfit_product_##SUFFIX(                                            \
        const T* a, u64 a_row, u64 a_column, const T* b, u64 b_row, u64 b_column, U* c, u64 m, u64 k, u64 n, u32 accumulate) { \
        product(a, a_row, a_column, b, b_row, b_column, c, m, k, n, accumulate);                                           \
    }

OF_TYPES(float, float, f32_f32)
OF_TYPES(float, bf16, f32_bf16)
OF_TYPES(bf16, float, bf16_f32)
OF_TYPES(bf16, bf16, bf16_bf16)
