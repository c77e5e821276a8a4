// The exports of bridge.h, over the driver's own parts.

#include "bridge.h"

#include <memory>

#include "graph.h"
#include "memory.h"
#include "options.h"
#include "pool.h"
#include "queue.h"

EXPORT void bitfit_emulator_lock() { queue::mutex().lock(); }
EXPORT void bitfit_emulator_unlock() { queue::mutex().unlock(); }

EXPORT void bitfit_emulator_submit(void* stream, void (*work)(void*), void (*release)(void*), void* data) {
    std::shared_ptr<void> held(data, release);
    submit_to(static_cast<CUstream>(stream), [=] { work(held.get()); });
}

EXPORT void bitfit_emulator_parallel(uint64_t count, void (*work)(void*, uint64_t), void* data) {
    parallel(count, [=](uint64_t i) { work(data, i); });
}

EXPORT bool bitfit_emulator_find(const void* address, const void** base, size_t* bytes) {
    memory::Allocation in;
    if (!memory::find(address, &in)) return false;
    *base = in.base;
    *bytes = in.bytes;
    return true;
}

EXPORT bool bitfit_emulator_refuses(Refusal refusal) { return options().refusal == refusal; }

EXPORT unsigned bitfit_emulator_architecture() { return options().architecture; }
