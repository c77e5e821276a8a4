// The API's calls for memory: allocating, copying and filling it.

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

#include "graph.h"
#include "memory.h"

// Allocations.

static CUresult allocate(CUdeviceptr* pointer, size_t bytes, CUstream stream) {
    ENTER_ON(stream, "cuMemAlloc %zu", bytes);
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    uint8_t* base = memory::allocate(bytes);
    if (!base) return CUDA_ERROR_OUT_OF_MEMORY;
    *pointer = reinterpret_cast<CUdeviceptr>(base);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) { return allocate(pointer, bytes, nullptr); }
EXPORT CUresult cuMemAllocAsync(CUdeviceptr* pointer, size_t bytes, CUstream stream) {
    return allocate(pointer, bytes, stream);
}
EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr* pointer, size_t bytes, CUmemoryPool, CUstream stream) {
    return allocate(pointer, bytes, stream);
}

EXPORT CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
    ENTER_ON(stream, "cuMemFree");
    auto* base = reinterpret_cast<uint8_t*>(pointer);
    memory::Allocation in;
    if (!memory::find(base, &in) || in.base != base)
        return fail(CUDA_ERROR_INVALID_VALUE, "cuMemFree: %s", memory::describe(pointer).c_str());
    queue::submit([=] { memory::release(base); });
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr pointer) {
    if (pointer == 0) return CUDA_SUCCESS;
    CUresult result = cuMemFreeAsync(pointer, nullptr);
    if (result == CUDA_SUCCESS) {
        std::lock_guard entered(queue::mutex());
        queue::finish();
    }
    return result;
}

EXPORT CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
    ENTER("cuMemGetInfo");
    *total = options().memory;
    *free = options().memory - memory::used();
    return CUDA_SUCCESS;
}

// Ranges of addresses, to which memory is added at the end, as one allocation that grows. Memory has an identity and a
// size, and exists once it is mapped.

static constexpr size_t GRANULARITY = size_t{2} << 20;

EXPORT CUresult cuMemGetAllocationGranularity(size_t* bytes, const void*, unsigned) {
    ENTER_WITHOUT_CONTEXT("cuMemGetAllocationGranularity");
    *bytes = GRANULARITY;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemAddressReserve(CUdeviceptr* base, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
    ENTER_WITHOUT_CONTEXT("cuMemAddressReserve %zu", bytes);
    if (bytes == 0 || bytes % GRANULARITY != 0) return CUDA_ERROR_INVALID_VALUE;
    uint8_t* reserved = memory::reserve(bytes);
    if (!reserved) return CUDA_ERROR_OUT_OF_MEMORY;
    *base = reinterpret_cast<CUdeviceptr>(reserved);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemCreate(uint64_t* handle, size_t bytes, const void*, unsigned long long) {
    ENTER_WITHOUT_CONTEXT("cuMemCreate %zu", bytes);
    if (bytes == 0 || bytes % GRANULARITY != 0) return CUDA_ERROR_INVALID_VALUE;
    if (bytes > options().memory - memory::used()) return CUDA_ERROR_OUT_OF_MEMORY;
    *handle = reinterpret_cast<uint64_t>(new size_t(bytes));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemMap(CUdeviceptr at, size_t bytes, size_t offset, uint64_t handle, unsigned long long) {
    ENTER_WITHOUT_CONTEXT("cuMemMap %zu", bytes);
    if (!handle || offset != 0 || *reinterpret_cast<size_t*>(handle) != bytes) return CUDA_ERROR_INVALID_VALUE;
    return memory::map(reinterpret_cast<uint8_t*>(at), bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemSetAccess(CUdeviceptr at, size_t bytes, const void*, size_t) {
    ENTER_WITHOUT_CONTEXT("cuMemSetAccess %zu", bytes);
    return memory::holds(reinterpret_cast<void*>(at), bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// The memory goes with its range.
EXPORT CUresult cuMemUnmap(CUdeviceptr, size_t bytes) {
    ENTER_WITHOUT_CONTEXT("cuMemUnmap %zu", bytes);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemRelease(uint64_t handle) {
    ENTER_WITHOUT_CONTEXT("cuMemRelease");
    if (!handle) return CUDA_ERROR_INVALID_VALUE;
    delete reinterpret_cast<size_t*>(handle);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemAddressFree(CUdeviceptr base, size_t) {
    ENTER_WITHOUT_CONTEXT("cuMemAddressFree");
    queue::finish();
    return memory::unreserve(reinterpret_cast<uint8_t*>(base)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// Pools are accepted and without effect.

struct Pool {
    uint64_t release_threshold = 0;
};

static Pool* default_pool() {
    static Pool pool;
    return &pool;
}

EXPORT CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice) {
    ENTER_WITHOUT_CONTEXT("cuDeviceGetDefaultMemPool");
    *pool = default_pool();
    return CUDA_SUCCESS;
}
EXPORT CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) { return cuDeviceGetDefaultMemPool(pool, device); }

EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool pool, unsigned attribute, void* value) {
    ENTER_WITHOUT_CONTEXT("cuMemPoolSetAttribute %u", attribute);
    constexpr unsigned CU_MEMPOOL_ATTR_RELEASE_THRESHOLD = 4;
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) pool->release_threshold = *static_cast<uint64_t*>(value);
    return CUDA_SUCCESS;
}

// Everything allocated counts as the pool's.
EXPORT CUresult cuMemPoolGetAttribute(CUmemoryPool, unsigned attribute, void* value) {
    ENTER_WITHOUT_CONTEXT("cuMemPoolGetAttribute %u", attribute);
    constexpr unsigned CU_MEMPOOL_ATTR_USED_MEM_HIGH = 8;
    if (attribute != CU_MEMPOOL_ATTR_USED_MEM_HIGH) return CUDA_ERROR_INVALID_VALUE;
    *static_cast<uint64_t*>(value) = memory::peak();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool, size_t) {
    ENTER_WITHOUT_CONTEXT("cuMemPoolTrimTo");
    return CUDA_SUCCESS;
}

// The host's pinned memory.

struct Pinned {
    size_t bytes;
    // The number of pending copies from or to it.
    unsigned copies = 0;
};

static std::map<uintptr_t, Pinned>& pinned() {
    static auto* allocations = new std::map<uintptr_t, Pinned>;
    return *allocations;
}

// The pinned block that an address lies in; null for pageable memory. A block stays where it is until it is freed.
static Pinned* pinned_at(const void* address) {
    auto wanted = reinterpret_cast<uintptr_t>(address);
    auto at = pinned().upper_bound(wanted);
    if (at == pinned().begin() || wanted - (--at)->first >= at->second.bytes) return nullptr;
    return &at->second;
}

// Reports an error and ends the process. A device would occasionally read wrong bytes, without an error.
[[noreturn]] __attribute__((format(printf, 1, 2))) static void caught(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    abort();
}

EXPORT CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned flags) {
    ENTER("cuMemHostAlloc %zu", bytes);
    if (bytes == 0 || flags > 7) return CUDA_ERROR_INVALID_VALUE;
    *pointer = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*pointer) return CUDA_ERROR_OUT_OF_MEMORY;
    memset(*pointer, 0xff, bytes);
    pinned()[reinterpret_cast<uintptr_t>(*pointer)] = {bytes};
    return CUDA_SUCCESS;
}
EXPORT CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) { return cuMemHostAlloc(pointer, bytes, 0); }

EXPORT CUresult cuMemFreeHost(void* pointer) {
    ENTER("cuMemFreeHost");
    auto at = pinned().find(reinterpret_cast<uintptr_t>(pointer));
    if (at == pinned().end()) return CUDA_ERROR_INVALID_VALUE;
    // The driver does not guarantee to wait for pending copies here.
    if (at->second.copies > 0) caught("cuMemFreeHost of %zu bytes that a pending copy still uses", at->second.bytes);
    pinned().erase(at);
    free(pointer);
    return CUDA_SUCCESS;
}

// Copies.

static CUresult check(const char* call, CUdeviceptr pointer, size_t bytes) {
    if (memory::holds(reinterpret_cast<void*>(pointer), bytes)) return CUDA_SUCCESS;
    return fail(CUDA_ERROR_INVALID_VALUE, "%s of %zu bytes from or to %s", call, bytes, memory::describe(pointer).c_str());
}

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    ENTER_ON(stream, "cuMemcpyHtoD %zu", bytes);
    if (bytes == 0) return CUDA_SUCCESS;
    if (CUresult result = check("cuMemcpyHtoD", to, bytes); result != CUDA_SUCCESS) return result;
    Pinned* block = pinned_at(from);
    if (block) ++block->copies;
    // Pinned and pageable memory are read when the copy is executed: drivers read pageable memory before the call
    // returns, but this is not guaranteed.
    std::shared_ptr<uint8_t[]> queued;
    if (options().lazy) {
        queued.reset(new uint8_t[bytes]);
        memcpy(queued.get(), from, bytes);
    }
    queue::submit([=] {
        if (queued && memcmp(queued.get(), from, bytes) != 0)
            caught("%s memory was written while a copy of %zu bytes from it was pending", block ? "pinned" : "pageable", bytes);
        memcpy(reinterpret_cast<void*>(to), from, bytes);
        if (block) --block->copies;
    });
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTER_ON(stream, "cuMemcpyDtoH %zu", bytes);
    if (bytes == 0) return CUDA_SUCCESS;
    if (CUresult result = check("cuMemcpyDtoH", from, bytes); result != CUDA_SUCCESS) return result;
    Pinned* block = pinned_at(to);
    if (block) ++block->copies;
    queue::submit([=] {
        memcpy(to, reinterpret_cast<const void*>(from), bytes);
        if (block) --block->copies;
    });
    if (!block) queue::finish();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTER_ON(stream, "cuMemcpyDtoD %zu", bytes);
    if (bytes == 0) return CUDA_SUCCESS;
    if (CUresult result = check("cuMemcpyDtoD", to, bytes); result != CUDA_SUCCESS) return result;
    if (CUresult result = check("cuMemcpyDtoD", from, bytes); result != CUDA_SUCCESS) return result;
    if (to < from + bytes && from < to + bytes) return fail(CUDA_ERROR_INVALID_VALUE, "cuMemcpyDtoD between ranges that overlap");
    queue::submit([=] { memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes); });
    return CUDA_SUCCESS;
}

// Calls without a stream also wait.
static CUresult finished(CUresult result) {
    std::lock_guard entered(queue::mutex());
    queue::finish();
    return result;
}

EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    return finished(cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr));
}
EXPORT CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    return finished(cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr));
}
EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return finished(cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr));
}

// Fills.

template <typename T>
static CUresult fill(CUdeviceptr to, T value, size_t count, CUstream stream = nullptr) {
    ENTER_ON(stream, "cuMemsetD%zu %zu", 8 * sizeof(T), count);
    if (count == 0) return CUDA_SUCCESS;
    if (to % sizeof(T) != 0) return CUDA_ERROR_INVALID_VALUE;
    if (CUresult result = check("cuMemset", to, count * sizeof(T)); result != CUDA_SUCCESS) return result;
    queue::submit([=] {
        auto* at = reinterpret_cast<T*>(to);
        for (size_t i = 0; i < count; ++i) at[i] = value;
    });
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, uint8_t value, size_t count, CUstream stream) { return fill(to, value, count, stream); }
EXPORT CUresult cuMemsetD16Async(CUdeviceptr to, uint16_t value, size_t count, CUstream stream) { return fill(to, value, count, stream); }
EXPORT CUresult cuMemsetD32Async(CUdeviceptr to, uint32_t value, size_t count, CUstream stream) { return fill(to, value, count, stream); }
EXPORT CUresult cuMemsetD8_v2(CUdeviceptr to, uint8_t value, size_t count) { return finished(fill(to, value, count)); }
EXPORT CUresult cuMemsetD16_v2(CUdeviceptr to, uint16_t value, size_t count) { return finished(fill(to, value, count)); }
EXPORT CUresult cuMemsetD32_v2(CUdeviceptr to, uint32_t value, size_t count) { return finished(fill(to, value, count)); }
