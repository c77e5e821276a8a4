// Kernels and copies whose errors must be detected.

#include "cases.h"

void refuses_copies() {
    CUdeviceptr ten = room(10);
    uint8_t bytes[16] = {};
    SUCCEEDS(cuMemcpyHtoD_v2(ten, bytes, 10));
    SUCCEEDS(cuMemcpyHtoD_v2(ten + 9, bytes, 1));
    CHECK(cuMemcpyHtoD_v2(ten, bytes, 11) == CUDA_ERROR_INVALID_VALUE);
    CHECK(cuMemcpyDtoH_v2(bytes, ten + 9, 2) == CUDA_ERROR_INVALID_VALUE);
    SUCCEEDS(cuMemFree_v2(ten));
    CHECK(cuMemcpyHtoD_v2(ten, bytes, 1) == CUDA_ERROR_INVALID_VALUE);
    CHECK(cuMemFree_v2(ten) == CUDA_ERROR_INVALID_VALUE);
    CUdeviceptr pointer;
    CHECK(cuMemAlloc_v2(&pointer, size_t(1) << 40) == CUDA_ERROR_OUT_OF_MEMORY);
}

void refuses_pointers() {
    CUfunction none = kernel("extern \"C\" __global__ void kernel(float* optional, unsigned long long n) {}");
    CUdeviceptr four = room(4), freed = room(4);
    SUCCEEDS(cuMemFree_v2(freed));
    SUCCEEDS(launch(none, 1, 1, 0, four, uint64_t{1}));
    SUCCEEDS(launch(none, 1, 1, 0, four + 4, uint64_t{0}));
    SUCCEEDS(launch(none, 1, 1, 0, CUdeviceptr{0}, uint64_t{0}));
    CHECK(launch(none, 1, 1, 0, uint64_t{1}, four) == CUDA_ERROR_INVALID_VALUE);
    CHECK(launch(none, 1, 1, 0, CUdeviceptr{0}, four) == CUDA_ERROR_INVALID_VALUE);
    CHECK(launch(none, 1, 1, 0, freed, uint64_t{1}) == CUDA_ERROR_INVALID_VALUE);
}

static float* pinned(size_t bytes) {
    void* memory;
    SUCCEEDS(cuMemHostAlloc(&memory, bytes, 0));
    memset(memory, 0, bytes);
    return static_cast<float*>(memory);
}

// After waiting for an event that was never recorded, which does not wait.
void frees_pinned_memory_too_early() {
    float* memory = pinned(64);
    SUCCEEDS(cuMemcpyHtoDAsync_v2(room(16), memory + 4, 16, nullptr));
    CUevent event;
    SUCCEEDS(cuEventCreate(&event, 0));
    SUCCEEDS(cuEventSynchronize(event));
    cuMemFreeHost(memory);
}

void writes_pinned_memory_too_early() {
    float* memory = pinned(64);
    SUCCEEDS(cuMemcpyHtoDAsync_v2(room(16), memory, 16, nullptr));
    memory[4] = 1.0f;
    memory[3] = 1.0f;
    cuCtxSynchronize();
}

void writes_pageable_memory_too_early() {
    std::vector<float> memory(4);
    SUCCEEDS(cuMemcpyHtoDAsync_v2(room(16), memory.data(), 16, nullptr));
    memory[0] = 1.0f;
    cuCtxSynchronize();
}

void writes_past_the_end() {
    launch(kernel("extern \"C\" __global__ void kernel(float* to) { to[threadIdx.x] = 1.0f; }"), 1, 32, 0, room(64));
}

void reads_before_the_beginning() {
    CUfunction read = kernel("extern \"C\" __global__ void kernel(float* to, long long at) { to[0] = to[at]; }");
    launch(read, 1, 1, 0, room(64), -1040LL);
}

void writes_past_an_odd_end() {
    launch(kernel("extern \"C\" __global__ void kernel(float* to) { to[threadIdx.x] = 1.0f; }"), 1, 6, 0, room(20));
}

void writes_just_before_the_beginning() {
    launch(kernel("extern \"C\" __global__ void kernel(float* to) { to[-3] = 1.0f; }"), 1, 1, 0, room(64));
}

// The pointer is read from memory, because a freed pointer among the arguments is refused at the launch.
void uses_freed_memory() {
    CUdeviceptr to = room(64), pointers = upload(std::vector<CUdeviceptr>{to});
    SUCCEEDS(cuMemFree_v2(to));
    launch(kernel("extern \"C\" __global__ void kernel(float** to) { **to = 1.0f; }"), 1, 1, 0, pointers);
}

void leaves_a_shared_array() {
    launch(kernel(R"(
extern "C" __global__ void kernel(float* to, int at) {
    __shared__ float inside[4], beside[4];
    inside[at] = beside[0] = 1.0f;
    to[0] = inside[0];
})"),
           1, 1, 0, room(4), 5);
}

void reads_a_vector_between_two() {
    launch(kernel("extern \"C\" __global__ void kernel(float* to) { *to = reinterpret_cast<float2*>(to + 1)->y; }"), 1, 1, 0,
           room(64));
}

void leaves_dynamic_shared_memory() {
    launch(kernel(R"(
extern "C" __global__ void kernel(float* to) {
    DYNAMIC_SHARED(float, buffer);
    buffer[threadIdx.x] = 1.0f;
    to[threadIdx.x] = buffer[threadIdx.x];
})"),
           1, 32, 64, room(128));
}

void ends_before_a_barrier() {
    launch(kernel(R"(
extern "C" __global__ void kernel() {
    if (threadIdx.x >= 32) return;
    __syncthreads();
})"),
           1, 64, 0);
}

void misses_a_shuffle() {
    launch(kernel(R"(
extern "C" __global__ void kernel(float* to) {
    if (threadIdx.x == 3) return;
    to[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
})"),
           1, 32, 0, room(128));
}

void mixes_shuffles() {
    launch(kernel(R"(
extern "C" __global__ void kernel(float* to) {
    if (threadIdx.x < 16) to[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
    else __syncwarp();
})"),
           1, 32, 0, room(128));
}

void races_between_warps() {
    launch(kernel(R"(
extern "C" __global__ void kernel(float* to) {
    __shared__ float last;
    last = (float)(threadIdx.x / 32);
    __syncthreads();
    to[threadIdx.x] = last;
})"),
           1, 64, 0, room(256));
}

void races_between_lanes() {
    launch(kernel(R"(
extern "C" __global__ void kernel(float* to) {
    __shared__ float first[1];
    if (threadIdx.x == 0) first[0] = 2.0f;
    to[threadIdx.x] = first[0];
})"),
           1, 32, 0, room(128));
}

void races_between_blocks() {
    launch(kernel("extern \"C\" __global__ void kernel(float* to) { to[0] = (float)blockIdx.x; }"), 9, 32, 0, room(4));
}

void overflows_the_stack() {
    launch(kernel(R"(
extern "C" __global__ void kernel(float* to, int n) {
    volatile float large[80000];
    for (int i = n; i >= 0; i--) large[i] = 1.0f;
    to[0] = large[n / 2];
})"),
           1, 1, 0, room(4), 79999);
}
