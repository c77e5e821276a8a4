// One block of a kernel: its threads as fibers, run in the configured order until all have ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fiber.h"
#include "options.h"

// A kernel with everything that its blocks share.
struct Launch {
    const EmulatedKernel* kernel;
    EmulatedIndex grid, block;
    size_t dynamic_shared;
    void** arguments;
    Order order;
    uint64_t seed;
    // Static shared variables, which every OS thread has its own copy of: their size in bytes, 0 if the module has
    // none.
    void* (*shared)();
    size_t shared_bytes;
    ptrdiff_t shared_offset;  // from the result of `shared` to their beginning
};

// The state of an OS thread that runs blocks, one at a time.
class BlockRunner {
public:
    BlockRunner();
    BlockRunner(const BlockRunner&) = delete;
    BlockRunner& operator=(const BlockRunner&) = delete;
    ~BlockRunner();

    void run(const Launch& launch, uint64_t block);

    // The runner of the calling OS thread.
    static BlockRunner& own();
    // A description of what the calling OS thread is running; empty if it runs no kernel.
    std::string where() const;
    const Stacks& stacks() const { return stacks_; }
    // Whether `address` is past the end of the dynamic shared memory.
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
    // The current warp: its lanes, and how many of `lane_order_` this round has passed.
    Lane* first_of_warp_ = nullptr;
    unsigned lanes_of_warp_ = 0, turn_ = 0;
    uint64_t random_ = 0;
    Stacks stacks_;
    uint8_t* dynamic_ = nullptr;
};
