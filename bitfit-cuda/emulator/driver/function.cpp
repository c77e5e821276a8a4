// The API's calls for modules, functions and launches.

#include <algorithm>
#include <fstream>
#include <sstream>

#include "graph.h"
#include "launch.h"
#include "memory.h"
#include "state.h"

EXPORT CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    ENTER("cuModuleLoadData");
    std::unique_ptr<Module> loaded;
    CUresult result = load_module(static_cast<const char*>(image), &loaded);
    if (result == CUDA_SUCCESS) *module = loaded.release();
    return result;
}

EXPORT CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, unsigned*, void**) {
    return cuModuleLoadData(module, image);
}

EXPORT CUresult cuModuleLoad(CUmodule* module, const char* path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    if (!file || !(text << file.rdbuf())) return CUDA_ERROR_FILE_NOT_FOUND;
    return cuModuleLoadData(module, text.str().c_str());
}

EXPORT CUresult cuModuleUnload(CUmodule module) {
    ENTER("cuModuleUnload");
    if (!module) return CUDA_ERROR_INVALID_HANDLE;
    queue::finish();
    delete module;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    ENTER("cuModuleGetFunction %s", name);
    if (!module) return CUDA_ERROR_INVALID_HANDLE;
    auto found = module->functions.find(name);
    if (found == module->functions.end()) return CUDA_ERROR_NOT_FOUND;
    *function = found->second.get();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    ENTER("cuFuncSetAttribute %u %d", attribute, value);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0) return CUDA_ERROR_INVALID_VALUE;
    if (static_cast<size_t>(value) > max_shared_per_block())
        return fail(CUDA_ERROR_INVALID_VALUE,
                    "kernel %s asks for %d bytes of dynamic shared memory; a block of sm_%u has at most %zu",
                    function->kernel->name, value, options().architecture, max_shared_per_block());
    function->max_dynamic_shared = static_cast<size_t>(value);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
    ENTER("cuFuncGetAttribute %u", attribute);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    int architecture = static_cast<int>(function->module->table->architecture);
    switch (attribute) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = static_cast<int>(function->kernel->max_threads); break;
        // The size for all kernels of the module together, which is at least that of the kernel.
        case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = static_cast<int>(function->module->shared_bytes); break;
        case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = 0; break;
        case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;
        case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = architecture; break;
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = static_cast<int>(function->max_dynamic_shared); break;
        default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncSetCacheConfig(CUfunction function, unsigned) {
    return function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function, int threads,
                                                                     size_t dynamic_shared, unsigned) {
    ENTER("cuOccupancyMaxActiveBlocksPerMultiprocessor");
    if (!function || threads <= 0) return CUDA_ERROR_INVALID_VALUE;
    size_t by_shared = (max_shared_per_block() + 1024) / (dynamic_shared + 1024);
    *blocks = static_cast<int>(std::min<size_t>(2048 / static_cast<size_t>(threads), by_shared));
    return CUDA_SUCCESS;
}
EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads,
                                                            size_t dynamic_shared) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, dynamic_shared, 0);
}

// A device would accept any bits. But a pointer that is not an address, or a number that is one, was meant for another
// parameter.
static CUresult check_arguments(const EmulatedKernel& kernel, const Arguments& arguments) {
    for (unsigned i = 0; i < kernel.parameter_count; ++i) {
        // The last bytes of a smaller argument are zeros.
        void* value = arguments.pointer(i);
        memory::Allocation in;
        if (kernel.parameters[i].pointer && value && !memory::find(value, &in))
            return fail(CUDA_ERROR_INVALID_VALUE, "argument %u of kernel %s is a pointer, but %s", i, kernel.name,
                        memory::describe(reinterpret_cast<uintptr_t>(value)).c_str());
        if (!kernel.parameters[i].pointer && kernel.parameters[i].bytes == 8 && memory::owns(value))
            return fail(CUDA_ERROR_INVALID_VALUE,
                        "argument %u of kernel %s is a number, but was given an address of device memory", i, kernel.name);
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                               unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void** parameters,
                               void** extra) {
    ENTER("cuLaunchKernel %s grid (%u, %u, %u) block (%u, %u, %u) shared %u", function ? function->kernel->name : "?", grid_x,
          grid_y, grid_z, block_x, block_y, block_z, shared_bytes);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    const EmulatedKernel& kernel = *function->kernel;
    uint64_t threads = uint64_t{block_x} * block_y * block_z;
    if (grid_x == 0 || grid_y == 0 || grid_z == 0 || grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535 || threads == 0 ||
        block_x > 1024 || block_y > 1024 || block_z > 64 || threads > 1024)
        return fail(CUDA_ERROR_INVALID_VALUE, "kernel %s cannot be launched with grid (%u, %u, %u) and block (%u, %u, %u)",
                    kernel.name, grid_x, grid_y, grid_z, block_x, block_y, block_z);
    if (threads > kernel.max_threads)
        return fail(CUDA_ERROR_INVALID_VALUE, "kernel %s is launched with %zu threads a block; its launch bounds say %u",
                    kernel.name, static_cast<size_t>(threads), kernel.max_threads);
    if (shared_bytes > function->max_dynamic_shared)
        return fail(CUDA_ERROR_INVALID_VALUE, "kernel %s is launched with %u bytes of dynamic shared memory; it may have %zu",
                    kernel.name, shared_bytes, function->max_dynamic_shared);
    if (extra || (kernel.parameter_count > 0 && !parameters)) return CUDA_ERROR_NOT_SUPPORTED;
    auto arguments = std::make_shared<Arguments>(kernel, parameters);
    if (CUresult result = check_arguments(kernel, *arguments); result != CUDA_SUCCESS) return result;
    submit_to(stream,
              [=] { run_kernel(*function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, *arguments); });
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra) {
    if (config->numAttrs > 0) return CUDA_ERROR_NOT_SUPPORTED;
    return cuLaunchKernel(function, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX, config->blockDimY,
                          config->blockDimZ, config->sharedMemBytes, config->hStream, parameters, extra);
}
