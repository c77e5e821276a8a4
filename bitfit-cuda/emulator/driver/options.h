// The environment's wishes, read once.
#pragma once

#include <cstdint>

#include "bridge.h"

enum class Order { Forward, Reverse, Shuffle };

struct Options {
    unsigned architecture;  // BITFIT_EMULATOR_ARCH: 10 times the compute capability
    Order order;            // BITFIT_EMULATOR_ORDER
    uint64_t seed;          //   of shuffle:SEED
    unsigned threads;       // BITFIT_EMULATOR_THREADS: OS threads that run blocks
    uint64_t memory;        // BITFIT_EMULATOR_MEMORY: bytes of the device
    bool races;             // BITFIT_EMULATOR_CHECK has `races`
    bool lazy;              // BITFIT_EMULATOR_CHECK has `lazy`
    bool trace;             // BITFIT_EMULATOR_TRACE
    Refusal refusal;        // BITFIT_EMULATOR_CUBLASLT
};

const Options& options();
