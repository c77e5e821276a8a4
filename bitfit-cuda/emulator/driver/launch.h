// A kernel over its grid.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "module.h"

// Copies of a launch's arguments: the caller's may be gone when the kernel runs.
struct Arguments {
    std::vector<uint64_t> values;
    std::vector<void*> pointers;

    Arguments(const EmulatedKernel& kernel, void** given);
    // Argument i as a pointer.
    void* pointer(unsigned i) const { return *static_cast<void* const*>(pointers[i]); }

    Arguments(const Arguments&) = delete;
    Arguments& operator=(const Arguments&) = delete;
};

// Runs all blocks; under BITFIT_EMULATOR_CHECK=races several times, from the same memory, in different orders.
void run_kernel(const Function& function, EmulatedIndex grid, EmulatedIndex block, size_t dynamic_shared, Arguments& arguments);
