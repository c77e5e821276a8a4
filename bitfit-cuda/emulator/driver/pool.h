// OS threads that work off a counted task together with the caller.
#pragma once

#include <cstdint>
#include <functional>

// Calls `work(i)` for every i below `count`, on as many OS threads as BITFIT_EMULATOR_THREADS says, and returns when
// all are done. One caller at a time.
void parallel(uint64_t count, const std::function<void(uint64_t)>& work);
