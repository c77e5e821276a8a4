// The second stage of sums over rows, for many matrices at once: to[at + j] += Σ partial[row, j] for each of `count`
// sums, whose results do not overlap.
//
// Launch: blocks of 256 threads, each for eight columns of one sum. Each thread adds every 32nd row of one column, so
// that a warp reads whole sectors of four rows. Then the sums of the threads of a column are added.

// As in sums.rs.
struct Sum {
    const float* partial;
    // Elements between the rows of `partial`.
    u64 stride;
    u64 at;
    u32 rows, cols;
    // The first block of the sum.
    u32 first_block, unused;
};
struct Sums {
    Sum of[64];
    u32 count, unused;
};

extern "C" __global__ void __launch_bounds__(256) bitfit_add_sums(const __grid_constant__ Sums sums, float* to) {
    __shared__ float parts[8][8];
    u32 low = 0, high = sums.count;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (blockIdx.x < sums.of[middle].first_block) high = middle;
        else low = middle;
    }
    const Sum& own = sums.of[low];
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = threadIdx.x / 8;
    u64 column = (u64)(blockIdx.x - own.first_block) * 8 + lane % 8;
    bool there = column < own.cols;
    to += own.at + column;
    float before = threadIdx.x < 8 && there ? *to : 0.0f;
    float sum = 0.0f;
    if (there && first < own.rows) {
        sum = sum_of_every(own.partial + first * own.stride + column, (own.rows - first + 31) / 32, 32 * own.stride);
    }
    sum += __shfl_xor_sync(FULL_WARP, sum, 16);
    sum += __shfl_xor_sync(FULL_WARP, sum, 8);
    if (lane < 8) parts[warp][lane] = sum;
    __syncthreads();
    if (threadIdx.x < 8 && there) {
        for (u32 other = 1; other < 8; other++) sum += parts[other][lane];
        *to = before + sum;
    }
}
