// Fibers: the threads of a block, as stacks that one OS thread switches between. x86-64, System V calling convention.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels/abi.h"

// Switches from the running stack, whose pointer is stored in `*from`, to the one that was left at `to`.
extern "C" void emulated_switch(void** from, void* to);

// Stacks for fibers, each above an inaccessible page.
class Stacks {
public:
    static constexpr size_t BYTES = 256 << 10;

    Stacks() = default;
    Stacks(const Stacks&) = delete;
    Stacks& operator=(const Stacks&) = delete;
    ~Stacks();

    // The upper end of a free stack.
    uint8_t* take();
    void give(uint8_t* top) { free_.push_back(top); }
    // Whether `address` is in the guard page of one of the stacks.
    bool guards(uintptr_t address) const;

private:
    std::vector<uint8_t*> bottoms_, free_;
};

// Lays out an empty stack so that a switch to the result runs `call(arguments)` with r15 = `thread` and then, on the
// same stack, `emulated_thread_ends(thread)`, which must not return.
void* prepare(uint8_t* top, EmulatedThread* thread, void (*call)(void**), void** arguments);
extern "C" void emulated_thread_ends(EmulatedThread* thread);
