// Tiles: how a kernel processes a matrix, and the first stage of sums over its rows.

// A block of 256 threads processes a tile of 32 rows and 256 columns: a lane has eight neighbouring columns, a warp
// every eighth row. A thread thus reads four rows at once, and keeps the data of its columns in registers. Tiles are
// numbered row by row. Launch: Shape::tiles(rows, cols), which has the same constants.
#define TILE_ROWS 32
#define TILE_COLUMNS 256
#define TILE_WARPS 8
#define TILE_THREADS (32 * TILE_WARPS)
#define THREAD_ROWS (TILE_ROWS / TILE_WARPS)

// A thread's part of a tile.
struct Tile {
    // The row of the tile in the grid of tiles.
    u32 down;
    // The thread's first row, TILE_WARPS before its second.
    u64 row;
    // The thread's first column, and how many of the eight there are.
    u64 column;
    u32 count;
};

__device__ __forceinline__ u32 tiles_across(u64 cols) { return (u32)((cols + TILE_COLUMNS - 1) / TILE_COLUMNS); }

// The thread's part of the tile at row `down` and column `across` of the grid of tiles.
__device__ __forceinline__ Tile tile_at(u32 down, u32 across, u64 cols) {
    u64 column = (u64)across * TILE_COLUMNS + threadIdx.x % 32 * 8;
    u64 rest = column < cols ? cols - column : 0;
    return Tile{down, (u64)down * TILE_ROWS + threadIdx.x / 32, column, rest < 8 ? (u32)rest : 8};
}

__device__ __forceinline__ Tile tile_of_thread(u64 cols) {
    u32 across = tiles_across(cols), down = blockIdx.x / across;
    return tile_at(down, blockIdx.x - down * across, cols);
}

// The number of rows that a thread reads before it uses the first. One without vectors, because the code would be long.
template <bool WIDE>
struct Together {
    static const u32 ROWS = WIDE ? THREAD_ROWS : 1;
};

// The thread's elements of its rows from `first` on, zeros for rows that do not exist; rows of `from` are `stride`
// elements apart.
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

// The first stage of sums over rows (`sums.rs`): partial[down, j] = the sum over the tile's rows, of which each thread
// has summed its own; those of the warps are added in their order. `stride` elements lie between the rows of `partial`.
// All threads of the block call.
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
