// The second stage of sums over rows: to[the runs' column j] += Σ partial[tile, j], partial [tiles, cols]. Each of the
// eight warps of a block adds every eighth tile, then their sums are added in order. Launch: blocks of 256 threads, for
// 32 columns.
extern "C" __global__ void __launch_bounds__(256) bitfit_add_partial_sums(
    u64 first0, u64 len0, u64 first1, u64 len1, u64 first2, u64 len2, u64 first3, u64 len3, const float* partial, u64 tiles,
    u64 cols, float* to) {
    __shared__ float parts[8][32];
    Runs<u64> runs = {{first0, first1, first2, first3}, {len0, len1, len2, len3}};
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    u64 column = (u64)blockIdx.x * 32 + lane;
    float sum = 0.0f;
    if (column < cols && warp < tiles) sum = sum_of_every(partial + warp * cols + column, (tiles - warp + 7) / 8, 8 * cols);
    parts[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && column < cols) {
        for (u32 other = 1; other < 8; other++) sum += parts[other][lane];
        to[place_of(runs, column).at] += sum;
    }
}
