// Modules: images that the emulated NVRTC compiled, loaded into the process, and their kernels.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "../kernels/abi.h"
#include "api.h"

struct Module;

struct Function {
    const EmulatedKernel* kernel;
    Module* module;
    // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: more than 48 KiB must be requested.
    size_t max_dynamic_shared = 48 << 10;
};

struct Module {
    void* library = nullptr;
    const EmulatedModule* table = nullptr;
    // The module's __shared__ variables: their size in bytes, and their beginning relative to the result of
    // `table->shared()`.
    size_t shared_bytes = 0;
    ptrdiff_t shared_offset = 0;
    std::map<std::string, std::unique_ptr<Function>> functions;

    ~Module();
};

// Loads the image, or reports why it cannot be loaded.
CUresult load_module(const char* image, std::unique_ptr<Module>* module);
