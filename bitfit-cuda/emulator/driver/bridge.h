// What the emulated cuBLASLt asks of the emulated driver, beyond its API. Exported by libcuda.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {
// Locks the device for the calling OS thread. Calls nest.
void bitfit_emulator_lock();
void bitfit_emulator_unlock();
// Puts work into the device's queue. `release` is called when it was done.
void bitfit_emulator_submit(void (*work)(void*), void (*release)(void*), void* data);
// Calls work(data, i) for every i below `count`, on several OS threads. Only from work that was submitted.
void bitfit_emulator_parallel(uint64_t count, void (*work)(void*, uint64_t), void* data);
// The living allocation that `address` lies in: false if in none.
bool bitfit_emulator_find(const void* address, const void** base, size_t* bytes);
// Whether a product is refused for once: when an algorithm is asked for, or (`late`) when it is to be made.
bool bitfit_emulator_refuses(bool late);
// 10 times the compute capability.
unsigned bitfit_emulator_architecture();
}
