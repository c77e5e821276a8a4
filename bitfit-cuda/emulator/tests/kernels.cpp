// Kernels whose results must be correct.

#include "cases.h"


void adds_vectors() {
    CUfunction add = kernel(R"(
extern "C" __global__ void kernel(const float* __restrict__ a, const float* b, float* sum, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) sum[i] = a[i] + b[i];
})");
    constexpr unsigned N = 10'001;
    std::vector<float> a(N), b(N);
    for (unsigned i = 0; i < N; ++i) a[i] = float(i), b[i] = 0.5f;
    CUdeviceptr sum = room(4 * N);
    SUCCEEDS(launch(add, (N + 127) / 128, 128, 0, upload(a), upload(b), sum, N));
    std::vector<float> got = download<float>(sum, N);
    for (unsigned i = 0; i < N; ++i) CHECK(got[i] == float(i) + 0.5f);
}

void sums_a_block() {
    CUfunction sum = kernel(R"(
__device__ __forceinline__ float warp_sum(float x) {
    for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}
extern "C" __global__ void __launch_bounds__(256) kernel(const float* from, float* to) {
    __shared__ float warps[8];
    float x = warp_sum(from[blockIdx.x * 256 + threadIdx.x]);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < 8; warp++) sum += warps[warp];
    __syncthreads();
    warps[threadIdx.x / 32] = 0.0f;
    if (threadIdx.x == 255) to[blockIdx.x] = sum;
})");
    constexpr unsigned BLOCKS = 37;
    std::vector<float> from(256 * BLOCKS);
    for (unsigned i = 0; i < from.size(); ++i) from[i] = float(i % 101);
    CUdeviceptr to = room(4 * BLOCKS);
    SUCCEEDS(launch(sum, BLOCKS, 256, 0, upload(from), to));
    std::vector<float> got = download<float>(to, BLOCKS);
    for (unsigned block = 0; block < BLOCKS; ++block) {
        float expected = 0;
        for (unsigned i = 0; i < 256; ++i) expected += from[256 * block + i];
        CHECK(got[block] == expected);
    }
    CHECK(launch(sum, 1, 512, 0, upload(from), to) == CUDA_ERROR_INVALID_VALUE);
}

void shuffles() {
    CUfunction shuffle = kernel(R"(
extern "C" __global__ void kernel(int* to) {
    int lane = threadIdx.x % 32;
    int* own = to + threadIdx.x * 8;
    own[0] = __shfl_xor_sync(0xffffffffu, lane, 5);
    own[1] = __shfl_down_sync(0xffffffffu, lane, 3);
    own[2] = __shfl_up_sync(0xffffffffu, lane, 3);
    own[3] = __shfl_sync(0xffffffffu, lane, 9);
    own[4] = __shfl_down_sync(0xffffffffu, lane, 3, 8);
    own[5] = __shfl_sync(0xffffffffu, lane, 2, 8);
    own[6] = (int)__ballot_sync(0xffffffffu, lane % 3 == 0);
    own[7] = (int)__shfl_xor_sync(0xffffffffu, (double)threadIdx.x, 1);
})");
    CUdeviceptr to = room(64 * 8 * 4);
    SUCCEEDS(launch(shuffle, 1, 64, 0, to));
    std::vector<int> got = download<int>(to, 64 * 8);
    for (int thread = 0; thread < 64; ++thread) {
        int lane = thread % 32;
        const int* own = &got[size_t(thread) * 8];
        CHECK(own[0] == (lane ^ 5));
        CHECK(own[1] == (lane + 3 < 32 ? lane + 3 : lane));
        CHECK(own[2] == (lane >= 3 ? lane - 3 : lane));
        CHECK(own[3] == 9);
        CHECK(own[4] == (lane % 8 + 3 < 8 ? lane + 3 : lane));
        CHECK(own[5] == lane / 8 * 8 + 2);
        CHECK(own[6] == int(0x49249249u));
        CHECK(own[7] == (thread ^ 1));
    }
}

static float from_bf16(uint16_t bits) {
    uint32_t word = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

// Compares one tile of a kernel with the parameters (a, b, c) with a plain loop.
static void check_mma(CUfunction multiply) {
    std::vector<uint16_t> a(16 * 16), b(8 * 16);
    std::vector<float> c(16 * 8);
    uint32_t random = 1;
    auto draw = [&] {
        random = random * 1664525 + 1013904223;
        return uint16_t(0x3f00 + (random >> 25) + ((random >> 16 & 1) << 15));
    };
    for (auto& x : a) x = draw();
    for (auto& x : b) x = draw();
    for (size_t i = 0; i < c.size(); ++i) c[i] = float(i);
    CUdeviceptr result = upload(c);
    SUCCEEDS(launch(multiply, 1, 32, 0, upload(a), upload(b), result));
    std::vector<float> got = download<float>(result, c.size());
    for (size_t i = 0; i < 16; ++i)
        for (size_t j = 0; j < 8; ++j) {
            double sum = c[i * 8 + j];
            for (size_t k = 0; k < 16; ++k) sum += double(from_bf16(a[i * 16 + k])) * from_bf16(b[j * 16 + k]);
            CHECK(std::abs(got[i * 8 + j] - sum) <= 1e-5 * (1 + std::abs(sum)));
        }
}

// The fragments are loaded as in the figures of the PTX ISA: row-major a, column-major b.
static const char MMA_KERNEL[] = R"(
extern "C" __global__ void kernel(const unsigned short* a, const unsigned short* b, float* c) {
    unsigned group = threadIdx.x / 4, member = threadIdx.x % 4;
    auto pair = [](const unsigned short* at) { return (unsigned)at[0] | (unsigned)at[1] << 16; };
    unsigned fragment_a[4] = {pair(a + group * 16 + 2 * member), pair(a + (group + 8) * 16 + 2 * member),
                              pair(a + group * 16 + 2 * member + 8), pair(a + (group + 8) * 16 + 2 * member + 8)};
    unsigned fragment_b[2] = {pair(b + group * 16 + 2 * member), pair(b + group * 16 + 2 * member + 8)};
    float* upper = c + group * 8 + 2 * member;
    float* lower = upper + 64;
    float fragment_c[4] = {upper[0], upper[1], lower[0], lower[1]};
    mma_bf16_m16n8k16(fragment_c, fragment_a, fragment_b);
    upper[0] = fragment_c[0], upper[1] = fragment_c[1], lower[0] = fragment_c[2], lower[1] = fragment_c[3];
})";

void multiplies_by_mma() { check_mma(kernel(MMA_KERNEL)); }

void uses_dynamic_shared_memory() {
    CUfunction reverse = kernel(R"(
extern "C" __global__ void kernel(float* values, bool* untouched) {
    DYNAMIC_SHARED(float, buffer);
    *untouched = isnan(buffer[threadIdx.x]);
    __syncthreads();
    buffer[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    values[threadIdx.x] = buffer[blockDim.x - 1 - threadIdx.x];
})");
    std::vector<float> values(1024);
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(i);
    CUdeviceptr on_device = upload(values), untouched = room(1);
    SUCCEEDS(launch(reverse, 1, 1024, 4096, on_device, untouched));
    std::vector<float> got = download<float>(on_device, 1024);
    for (size_t i = 0; i < 1024; ++i) CHECK(got[i] == float(1023 - i));
    CHECK(download<uint8_t>(untouched, 1)[0] == 1);
    CHECK(launch(reverse, 1, 1024, 64 << 10, on_device, untouched) == CUDA_ERROR_INVALID_VALUE);
    SUCCEEDS(cuFuncSetAttribute(reverse, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 64 << 10));
    SUCCEEDS(launch(reverse, 1, 1024, 64 << 10, on_device, untouched));
    CHECK(cuFuncSetAttribute(reverse, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 300 << 10) == CUDA_ERROR_INVALID_VALUE);
}

void is_off_by_ulps() {
    CUfunction exponentials = kernel(R"(
extern "C" __global__ void kernel(float* x) {
    float last = expf(x[threadIdx.x]);
    x[threadIdx.x] = last;
})");
    std::vector<float> x(1024);
    for (size_t i = 1; i < x.size(); ++i) x[i] = float(i) / 100;
    CUdeviceptr on_device = upload(x);
    SUCCEEDS(launch(exponentials, 1, 1024, 0, on_device));
    std::vector<float> got = download<float>(on_device, x.size());
    CHECK(got[0] == 1);
    int off[3] = {};
    for (size_t i = 1; i < x.size(); ++i) {
        float exact = expf(x[i]);
        int32_t bits[2];
        memcpy(&bits[0], &exact, 4), memcpy(&bits[1], &got[i], 4);
        CHECK(std::abs(bits[1] - bits[0]) <= 1);
        ++off[bits[1] - bits[0] + 1];
    }
    for (int count : off) CHECK(count > 200);
}

void finds_kernels_of_macros() {
    std::vector<char> image = compile(R"(
// __global__ void not_this_one(
template <typename T> __device__ void twice(T* at) { *at = *at + *at; }
constexpr int LANES = 32;
#define TWICE(name, type) extern "C" __global__ void __launch_bounds__(LANES, 2) twice_##name(type* at) { twice(at); }
TWICE(f32, float)
TWICE(i64, long long)
)");
    CHECK(!image.empty());
    CUmodule module;
    CUfunction function;
    SUCCEEDS(cuModuleLoadData(&module, image.data()));
    SUCCEEDS(cuModuleGetFunction(&function, module, "twice_f32"));
    CHECK(cuModuleGetFunction(&function, module, "not_this_one") == CUDA_ERROR_NOT_FOUND);
    SUCCEEDS(cuModuleGetFunction(&function, module, "twice_i64"));
    CUdeviceptr at = upload(std::vector<long long>{21});
    SUCCEEDS(launch(function, 1, 1, 0, at));
    CHECK(download<long long>(at, 1)[0] == 42);
    CHECK(launch(function, 1, 64, 0, at) == CUDA_ERROR_INVALID_VALUE);
}

void reports_compile_errors() {
    std::string log;
    CHECK(compile("extern \"C\" __global__ void kernel() {\n    nothing();\n}", &log).empty());
    CHECK(log.find("test.cu:2:") != std::string::npos && log.find("nothing") != std::string::npos);
}

void waits() {
    CUfunction store = kernel("extern \"C\" __global__ void kernel(int* to, int value) { *to = value; }");
    CUdeviceptr to = room(4);
    void* pinned;
    SUCCEEDS(cuMemHostAlloc(&pinned, 4, 0));
    int& got = *static_cast<int*>(pinned);
    got = 1;
    SUCCEEDS(launch(store, 1, 1, 0, to, 5));
    SUCCEEDS(cuMemcpyDtoHAsync_v2(pinned, to, 4, nullptr));
    CHECK(got == 1);
    SUCCEEDS(cuCtxSynchronize());
    CHECK(got == 5);
}

// An event is waited for up to its last recording, and not at all before the first: other work is executed later here.
void waits_for_events() {
    CUdeviceptr one = upload(std::vector<float>{1.0f}), two = upload(std::vector<float>{2.0f});
    void* memory;
    SUCCEEDS(cuMemHostAlloc(&memory, 8, 0));
    float* to = static_cast<float*>(memory);
    to[0] = to[1] = 0.0f;
    CUevent event;
    SUCCEEDS(cuEventCreate(&event, 0));
    SUCCEEDS(cuMemcpyDtoHAsync_v2(to, one, 4, nullptr));
    SUCCEEDS(cuEventSynchronize(event));
    CHECK(to[0] == 0.0f);
    SUCCEEDS(cuEventRecord(event, nullptr));
    SUCCEEDS(cuMemcpyDtoHAsync_v2(to + 1, one, 4, nullptr));
    SUCCEEDS(cuEventSynchronize(event));
    CHECK(to[0] == 1.0f && to[1] == 0.0f);
    SUCCEEDS(cuMemcpyDtoHAsync_v2(to, two, 4, nullptr));
    SUCCEEDS(cuEventRecord(event, nullptr));
    SUCCEEDS(cuEventSynchronize(event));
    CHECK(to[0] == 2.0f && to[1] == 1.0f);
    SUCCEEDS(cuMemFreeHost(memory));
}

// A graph is a chain of the kernels that its stream was given, and changes nothing before it is launched.
void launches_graphs() {
    CUfunction add = kernel("extern \"C\" __global__ void kernel(int* to, int value) { *to = *to * 10 + value; }");
    CUdeviceptr to = upload(std::vector<int>{0});
    CUstream stream;
    SUCCEEDS(cuStreamCreate(&stream, 1));
    auto capture = [&](std::vector<int> values) {
        CUgraph graph;
        SUCCEEDS(cuStreamBeginCapture_v2(stream, 2));
        for (int value : values) SUCCEEDS(launch_on(stream, add, 1, 1, 0, to, value));
        // What cannot be captured is refused, and the capture goes on.
        CHECK(cuStreamSynchronize(stream) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        CHECK(cuStreamBeginCapture_v2(stream, 2) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        SUCCEEDS(cuStreamEndCapture(stream, &graph));
        return graph;
    };
    CUgraphExec first, second;
    CUgraph graphs[] = {capture({1, 2}), capture({3, 4})};
    CHECK(download<int>(to, 1)[0] == 0);
    SUCCEEDS(cuGraphInstantiateWithFlags(&first, graphs[0], 0));
    SUCCEEDS(cuGraphInstantiateWithFlags(&second, graphs[1], 0));
    for (CUgraph graph : graphs) SUCCEEDS(cuGraphDestroy(graph));
    SUCCEEDS(cuGraphLaunch(first, stream));
    SUCCEEDS(cuGraphLaunch(second, stream));
    SUCCEEDS(launch_on(stream, add, 1, 1, 0, to, 5));
    SUCCEEDS(cuGraphLaunch(first, stream));
    SUCCEEDS(cuGraphExecDestroy(first));
    SUCCEEDS(cuGraphExecDestroy(second));
    SUCCEEDS(cuStreamSynchronize(stream));
    CHECK(download<int>(to, 1)[0] == 1234512);
    CUgraph none;
    CHECK(cuStreamEndCapture(stream, &none) == CUDA_ERROR_ILLEGAL_STATE);
}
