// The interface between a compiled kernel and the emulated driver. Both sides use this file: the driver includes it,
// and the emulated NVRTC puts it before every kernel that it compiles. It therefore includes nothing.
#pragma once

// Increased with every change below; the driver refuses kernels of another version.
#define EMULATED_ABI 1

struct EmulatedIndex {
    unsigned x, y, z;
};

struct EmulatedThread;

// The functions of the scheduler for the threads of a kernel.
struct EmulatedCalls {
    // __syncthreads.
    void (*barrier)(EmulatedThread* thread);
    // An operation of a whole warp. Returns the values of all lanes when all of them have called it with the same
    // `what`; the values are valid until the next operation of the warp. The last lane to arrive runs `leader`, if
    // there is one, before any lane continues.
    const unsigned long long* (*meet)(EmulatedThread* thread, const char* what, unsigned mask, unsigned long long value,
                                      void (*leader)(unsigned long long* values));
};

// A thread of a block, as the kernel sees it. While a kernel runs, register r15 points to it.
struct EmulatedThread {
    EmulatedIndex thread_idx, block_idx, block_dim, grid_dim;
    unsigned lane;
    void* dynamic_shared;
    const EmulatedCalls* calls;
};

// A parameter of a kernel. `writable` says that it is a pointer to something that is not const.
struct EmulatedParameter {
    unsigned bytes;
    bool pointer, writable;
};

struct EmulatedKernel {
    const char* name;
    void (*call)(void** arguments);
    const EmulatedParameter* parameters;
    unsigned parameter_count;
    // __launch_bounds__, or 1024.
    unsigned max_threads;
};

// What a compiled module exports under the name `emulated_module`.
struct EmulatedModule {
    unsigned abi, architecture, kernel_count;
    const EmulatedKernel* kernels;
    // An address within the calling OS thread's __shared__ variables.
    void* (*shared)();
};
