// OS threads that process the indices of a task together with the caller.
#pragma once

#include <cstdint>
#include <functional>

// Calls `work(i)` for every i below `count`, on BITFIT_EMULATOR_THREADS OS threads, and returns when all are done. Only
// one caller at a time.
void parallel(uint64_t count, const std::function<void(uint64_t)>& work);
