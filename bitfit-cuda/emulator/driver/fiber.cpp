// The context switch, and stacks.

#include "fiber.h"

#include <sys/mman.h>
#include <cstdio>
#include <cstdlib>

// Callee-saved registers are pushed; a call does not preserve the others. The control words of the floating-point units
// are the same in all fibers.
asm(R"(
    .text
    .globl emulated_switch
    .hidden emulated_switch
    .type emulated_switch, @function
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulated_switch, .-emulated_switch

    .globl emulated_fiber_starts
    .hidden emulated_fiber_starts
    .type emulated_fiber_starts, @function
emulated_fiber_starts:
    movq %r12, %rdi
    call *%rbx
    movq %r15, %rdi
    call emulated_thread_ends
    ud2
    .size emulated_fiber_starts, .-emulated_fiber_starts
)");
extern "C" __attribute__((visibility("hidden"))) void emulated_fiber_starts();

static constexpr size_t PAGE = 4096;

Stacks::~Stacks() {
    for (uint8_t* bottom : bottoms_) munmap(bottom, BYTES + PAGE);
}

uint8_t* Stacks::take() {
    if (free_.empty()) {
        void* bottom = mmap(nullptr, BYTES + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (bottom == MAP_FAILED || mprotect(bottom, PAGE, PROT_NONE) != 0) {
            perror("bitfit emulator: a stack for a thread");
            abort();
        }
        bottoms_.push_back(static_cast<uint8_t*>(bottom));
        // Stacks whose ends are powers of two apart would all map to the same few sets of the caches.
        size_t color = bottoms_.size() * 832 % (32 << 10) / 64 * 64;
        free_.push_back(bottoms_.back() + PAGE + BYTES - color);
    }
    uint8_t* top = free_.back();
    free_.pop_back();
    return top;
}

bool Stacks::guards(uintptr_t address) const {
    for (uint8_t* bottom : bottoms_)
        if (address - reinterpret_cast<uintptr_t>(bottom) < PAGE) return true;
    return false;
}

void* prepare(uint8_t* top, EmulatedThread* thread, void (*call)(void**), void** arguments) {
    uint64_t* sp = reinterpret_cast<uint64_t*>(top);
    // `ret` into emulated_fiber_starts leaves the stack pointer a multiple of 16, as before a call.
    *--sp = 0;
    *--sp = 0;
    *--sp = reinterpret_cast<uint64_t>(&emulated_fiber_starts);
    *--sp = 0;                                      // rbp
    *--sp = reinterpret_cast<uint64_t>(call);       // rbx
    *--sp = reinterpret_cast<uint64_t>(arguments);  // r12
    *--sp = 0;                                      // r13
    *--sp = 0;                                      // r14
    *--sp = reinterpret_cast<uint64_t>(thread);     // r15
    return sp;
}
