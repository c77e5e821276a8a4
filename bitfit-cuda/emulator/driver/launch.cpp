// Blocks over OS threads, and the search for races.

#include "launch.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>

#include "block.h"
#include "fault.h"
#include "memory.h"
#include "options.h"
#include "pool.h"

Arguments::Arguments(const EmulatedKernel& kernel, void** given)
    : pointers(kernel.parameter_count) {
    // Each at a multiple of 16 bytes.
    size_t words = 0;
    for (unsigned i = 0; i < kernel.parameter_count; ++i) words += (kernel.parameters[i].bytes + 15) / 16 * 2;
    values.resize(words);
    words = 0;
    for (unsigned i = 0; i < kernel.parameter_count; ++i) {
        pointers[i] = &values[words];
        memcpy(pointers[i], given[i], kernel.parameters[i].bytes);
        words += (kernel.parameters[i].bytes + 15) / 16 * 2;
    }
}

static void run_blocks(const Launch& launch) {
    uint64_t blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
    std::vector<uint32_t> shuffled;
    if (launch.order == Order::Shuffle) {
        shuffled.resize(blocks);
        std::iota(shuffled.begin(), shuffled.end(), 0u);
        uint64_t random = launch.seed * 0x9e3779b97f4a7c15u + 0xbf58476d1ce4e5b9u;
        for (uint64_t i = blocks; i > 1; --i) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            std::swap(shuffled[i - 1], shuffled[random % i]);
        }
    }
    // Waking a second OS thread is not worth it for a few blocks.
    uint64_t threads = blocks * launch.block.x * launch.block.y * launch.block.z;
    uint64_t chunk = threads < 4096 ? blocks : std::max<uint64_t>(1, 1024 / (threads / blocks));
    parallel((blocks + chunk - 1) / chunk, [&](uint64_t part) {
        prepare_thread_for_faults();
        BlockRunner& runner = BlockRunner::own();
        for (uint64_t i = part * chunk; i < std::min(blocks, (part + 1) * chunk); ++i)
            runner.run(launch, launch.order == Order::Shuffle   ? shuffled[i]
                               : launch.order == Order::Reverse ? blocks - 1 - i
                                                                : i);
    });
}

// What the kernel may write: the allocations that its pointers to non-const point into, and the bytes in them.
using Snapshot = std::map<uint8_t*, std::vector<uint8_t>>;

static Snapshot snapshot(const EmulatedKernel& kernel, const Arguments& arguments) {
    Snapshot taken;
    for (unsigned i = 0; i < kernel.parameter_count; ++i) {
        memory::Allocation in;
        if (kernel.parameters[i].writable && memory::find(arguments.pointer(i), &in))
            taken[in.base].assign(in.base, in.base + in.bytes);
    }
    return taken;
}

static void restore(const Snapshot& taken) {
    for (const auto& [base, bytes] : taken) memcpy(base, bytes.data(), bytes.size());
}

static void run_for_races(Launch launch, const Arguments& arguments) {
    struct Run {
        const char* name;
        Order order;
        uint64_t seed;
    };
    static constexpr Run runs[] = {{"forward", Order::Forward, 0},
                                   {"reverse", Order::Reverse, 0},
                                   {"shuffle:1", Order::Shuffle, 1},
                                   {"shuffle:2", Order::Shuffle, 2}};
    Snapshot before = snapshot(*launch.kernel, arguments), expected;
    for (const Run& run : runs) {
        if (&run != runs) restore(before);
        launch.order = run.order;
        launch.seed = run.seed;
        run_blocks(launch);
        Snapshot after = snapshot(*launch.kernel, arguments);
        if (&run == runs) expected = std::move(after);
        else
            for (const auto& [base, bytes] : after) {
                const auto& first = expected[base];
                auto [other, own] = std::mismatch(first.begin(), first.end(), bytes.begin());
                if (other == first.end()) continue;
                size_t at = static_cast<size_t>(other - first.begin()) / 4 * 4;
                uint32_t words[2] = {};
                memcpy(&words[0], &first[at], std::min<size_t>(4, bytes.size() - at));
                memcpy(&words[1], &bytes[at], std::min<size_t>(4, bytes.size() - at));
                float floats[2];
                memcpy(floats, words, sizeof floats);
                fprintf(stderr,
                        "bitfit emulator: kernel %s is a race: run %s and run %s it leaves 0x%08x (%g) and 0x%08x (%g) at byte "
                        "%zu of an allocation "
                        "of %zu bytes\n",
                        launch.kernel->name, runs[0].name, run.name, words[0], floats[0], words[1], floats[1], at, bytes.size());
                abort();
            }
    }
}

void run_kernel(const Function& function, EmulatedIndex grid, EmulatedIndex block, size_t dynamic_shared, Arguments& arguments) {
    const Module& module = *function.module;
    Launch launch{function.kernel,
                  grid,
                  block,
                  dynamic_shared,
                  arguments.pointers.data(),
                  options().order,
                  options().seed,
                  module.table->shared,
                  module.shared_bytes,
                  module.shared_offset};
    if (options().races) run_for_races(launch, arguments);
    else run_blocks(launch);
    memory::Allocation past;
    if (memory::damaged(&past)) {
        fprintf(stderr, "bitfit emulator: kernel %s wrote just outside of an allocation of %zu bytes\n", function.kernel->name,
                past.bytes);
        abort();
    }
}
