// The API's calls for errors, devices and contexts. There is one device.

#include <cstring>
#include <string>

#include "fault.h"
#include "memory.h"
#include "state.h"

static bool is_initialized = false;
bool initialized() { return is_initialized; }

Context* primary_context() {
    static Context context;
    return &context;
}

Context*& current_context() {
    static thread_local Context* context = nullptr;
    return context;
}

// Errors.

static const char* error_name(CUresult error) {
    switch (error) {
#define NAME(error) \
    case error: return #error
        NAME(CUDA_SUCCESS);
        NAME(CUDA_ERROR_INVALID_VALUE);
        NAME(CUDA_ERROR_OUT_OF_MEMORY);
        NAME(CUDA_ERROR_NOT_INITIALIZED);
        NAME(CUDA_ERROR_INVALID_DEVICE);
        NAME(CUDA_ERROR_INVALID_IMAGE);
        NAME(CUDA_ERROR_INVALID_CONTEXT);
        NAME(CUDA_ERROR_NO_BINARY_FOR_GPU);
        NAME(CUDA_ERROR_INVALID_PTX);
        NAME(CUDA_ERROR_FILE_NOT_FOUND);
        NAME(CUDA_ERROR_OPERATING_SYSTEM);
        NAME(CUDA_ERROR_INVALID_HANDLE);
        NAME(CUDA_ERROR_ILLEGAL_STATE);
        NAME(CUDA_ERROR_NOT_FOUND);
        NAME(CUDA_ERROR_NOT_READY);
        NAME(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
        NAME(CUDA_ERROR_NOT_SUPPORTED);
        NAME(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
#undef NAME
    }
    return nullptr;
}

EXPORT CUresult cuGetErrorName(CUresult error, const char** name) {
    *name = error_name(error);
    return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

// The device.

EXPORT CUresult cuInit(unsigned flags) {
    std::lock_guard entered(queue::mutex());
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    unsigned major = options().architecture / 10;
    if (major < 5 || major > 12)
        return fail(CUDA_ERROR_INVALID_DEVICE, "BITFIT_EMULATOR_ARCH=%u is no architecture", options().architecture);
    catch_faults();
    is_initialized = true;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDriverGetVersion(int* version) {
    *version = 13000;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetCount(int* count) {
    ENTER_WITHOUT_CONTEXT("cuDeviceGetCount");
    *count = 1;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    ENTER_WITHOUT_CONTEXT("cuDeviceGet %d", ordinal);
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    *device = 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
    ENTER_WITHOUT_CONTEXT("cuDeviceGetName");
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, static_cast<size_t>(length), "bitfit emulated GPU");
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
    ENTER_WITHOUT_CONTEXT("cuDeviceGetUuid");
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    memcpy(uuid->bytes, "bitfit emulated", 16);
    return CUDA_SUCCESS;
}
EXPORT CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
    ENTER_WITHOUT_CONTEXT("cuDeviceTotalMem");
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = options().memory;
    return CUDA_SUCCESS;
}

// Table "Technical Specifications per Compute Capability" of the CUDA C++ Programming Guide, less the KiB per block
// that is reserved.
size_t max_shared_per_block() {
    switch (options().architecture) {
        case 70: return 96 << 10;
        case 75: return 64 << 10;
        case 80:
        case 87: return 163 << 10;
        case 86:
        case 89:
        case 120: return 99 << 10;
        case 90:
        case 100:
        case 103: return 227 << 10;
        default: return 48 << 10;
    }
}

EXPORT CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
    ENTER_WITHOUT_CONTEXT("cuDeviceGetAttribute %u", attribute);
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 0x7fffffff; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 48 << 10; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = static_cast<int>(max_shared_per_block()); break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
            *value = static_cast<int>(max_shared_per_block() + (1 << 10));
            break;
        case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: *value = 1 << 10; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
        case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *value = 65536; break;
        case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1000000; break;
        case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 1000000; break;
        case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 64; break;
        // Few, so that loops over a grid have more than one iteration in tests.
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 4; break;
        case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 4 << 20; break;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = options().architecture == 75 ? 1024 : 2048; break;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *value = options().architecture == 75 ? 16 : 32; break;
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED: *value = 1; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = static_cast<int>(options().architecture / 10); break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = static_cast<int>(options().architecture % 10); break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

// Contexts. Only the primary one exists.

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    ENTER_WITHOUT_CONTEXT("cuDevicePrimaryCtxRetain");
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    *context = primary_context();
    ++(*context)->references;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    ENTER_WITHOUT_CONTEXT("cuDevicePrimaryCtxRelease");
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    if (primary_context()->references == 0) return CUDA_ERROR_INVALID_CONTEXT;
    queue::finish();
    --primary_context()->references;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
    ENTER_WITHOUT_CONTEXT("cuCtxSetCurrent");
    if (context && context != primary_context()) return CUDA_ERROR_INVALID_CONTEXT;
    current_context() = context;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetCurrent(CUcontext* context) {
    ENTER_WITHOUT_CONTEXT("cuCtxGetCurrent");
    *context = current_context();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetDevice(CUdevice* device) {
    ENTER("cuCtxGetDevice");
    *device = 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetFlags(unsigned) {
    ENTER("cuCtxSetFlags");
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSynchronize() {
    ENTER("cuCtxSynchronize");
    queue::finish();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    ENTER("cuCtxGetStreamPriorityRange");
    if (least) *least = 0;
    if (greatest) *greatest = 0;
    return CUDA_SUCCESS;
}
