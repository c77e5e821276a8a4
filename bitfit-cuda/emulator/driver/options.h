// The options from the environment, read once.
#pragma once

#include <cstdint>

#include "bridge.h"

enum class Order { Forward, Reverse, Shuffle };

struct Options {
    unsigned architecture;  // BITFIT_EMULATOR_ARCH: the compute capability times 10
    Order order;            // BITFIT_EMULATOR_ORDER
    uint64_t seed;          //   of shuffle:SEED
    unsigned threads;       // BITFIT_EMULATOR_THREADS: OS threads that run blocks
    uint64_t memory;        // BITFIT_EMULATOR_MEMORY: bytes of the device
    bool races;             // BITFIT_EMULATOR_CHECK has `races`
    bool lazy;              // BITFIT_EMULATOR_CHECK has `lazy`
    bool trace;             // BITFIT_EMULATOR_TRACE
    Refusal refusal;        // BITFIT_EMULATOR_CUBLASLT
    bool no_graphs;         // BITFIT_EMULATOR_GRAPHS is `refuses`
};

const Options& options();
