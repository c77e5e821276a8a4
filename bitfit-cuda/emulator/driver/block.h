// One block of a kernel: its threads as fibers, run in the order that is asked for, until all have come to an end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fiber.h"
#include "options.h"

// A kernel with everything that all its blocks have in common.
struct Launch {
    const EmulatedKernel* kernel;
    EmulatedIndex grid, block;
    size_t dynamic_shared;
    void** arguments;
    Order order;
    uint64_t seed;
    // Shared variables of static size, as an OS thread finds its own: their bytes, 0 if the module has none.
    void* (*shared)();
    size_t shared_bytes;
    ptrdiff_t shared_offset;  // from what `shared` answers to their beginning
};

// What an OS thread needs to run blocks, one at a time.
class BlockRunner {
public:
    BlockRunner();
    BlockRunner(const BlockRunner&) = delete;
    BlockRunner& operator=(const BlockRunner&) = delete;
    ~BlockRunner();

    void run(const Launch& launch, uint64_t block);

    // The runner of the calling OS thread.
    static BlockRunner& own();
    // What runs now on the calling OS thread, in words; empty if no kernel does.
    std::string where() const;
    const Stacks& stacks() const { return stacks_; }
    // Whether `address` is behind the end of the dynamic shared memory.
    bool beyond_shared(uintptr_t address) const;

private:
    enum class State : uint8_t { Ready, AtBarrier, InMeeting, Ended };
    struct Lane : EmulatedThread {
        BlockRunner* runner;
        void* sp;
        uint8_t* stack;
        State state;
        bool started;
    };
    struct Warp {
        unsigned lanes, came, sequence;
        const char* what;
        unsigned long long values[2][32];
    };

    static void barrier(EmulatedThread* thread);
    static const unsigned long long* meet(EmulatedThread* thread, const char* what, unsigned mask, unsigned long long value,
                                          void (*leader)(unsigned long long*));
    friend void emulated_thread_ends(EmulatedThread*);

    Lane* next_lane();
    void leave(Lane& lane);
    void run_warp(unsigned warp);
    void set_order(size_t count, std::vector<uint16_t>* order);
    [[noreturn]] void stuck(const std::string& why);

    static const EmulatedCalls CALLS;
    const Launch* launch_ = nullptr;
    Lane* running_ = nullptr;
    void* scheduler_ = nullptr;
    std::vector<Lane> lanes_;
    std::vector<Warp> warps_;
    std::vector<uint16_t> warp_order_, lane_order_;
    unsigned ended_ = 0, waiting_ = 0;
    // The warp under way: its lanes, and how many of `lane_order_` this round has passed.
    Lane* first_of_warp_ = nullptr;
    unsigned lanes_of_warp_ = 0, turn_ = 0;
    uint64_t random_ = 0;
    Stacks stacks_;
    uint8_t* dynamic_ = nullptr;
};
