// The handler of SIGSEGV, SIGBUS, SIGILL and SIGFPE.

#include "fault.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "block.h"
#include "memory.h"

static struct sigaction before[NSIG];

// The process ends after this, so calls that a signal handler must not make (formatting, allocation) do no further
// harm.
static void handle(int signal, siginfo_t* info, void* context) {
    std::string where = BlockRunner::own().where();
    auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    bool memory_fault = signal == SIGSEGV || signal == SIGBUS;
    if (where.empty() && !(memory_fault && memory::owns(info->si_addr))) {
        sigaction(signal, &before[signal], nullptr);
        return;  // to the same instruction, and so to the previous handler
    }
    std::string what;
    if (signal == SIGILL)
        what = "an index beyond its array, or an address that is no multiple of what is read or written there, or __trap";
    else if (signal == SIGFPE) what = "a division of whole numbers by zero";
    else if (BlockRunner::own().stacks().guards(address)) what = "the thread's local variables need more than its stack";
    else if (BlockRunner::own().beyond_shared(address)) what = "an access past the end of dynamic shared memory";
    else if (info->si_code == SI_KERNEL || address == 0)
        what = "an access through a null pointer, or one that is no address at all";
    else {
        const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
        what = std::string(registers[REG_ERR] & 2 ? "a write to " : "a read of ") + memory::describe(address);
    }
    fprintf(stderr, "bitfit emulator: %s: %s\n", where.empty() ? "host code touches device memory" : where.c_str(), what.c_str());
    signal = SIGABRT;
    ::signal(SIGABRT, SIG_DFL);
    abort();
}

void catch_faults() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action{};
        action.sa_sigaction = handle;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) sigaction(signal, &action, &before[signal]);
    });
}

void prepare_thread_for_faults() {
    static thread_local bool prepared = false;
    if (prepared) return;
    prepared = true;
    stack_t stack{};
    sigaltstack(nullptr, &stack);
    if (!(stack.ss_flags & SS_DISABLE) && stack.ss_size >= 32 << 10) return;
    constexpr size_t BYTES = 64 << 10;
    void* pages = mmap(nullptr, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return;
    stack = {pages, 0, BYTES};
    sigaltstack(&stack, nullptr);
}
