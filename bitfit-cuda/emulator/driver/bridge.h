// What the emulated cuBLASLt asks of the emulated driver, beyond its API. Exported by libcuda.
#pragma once

#include <cstddef>
#include <cstdint>

// When cuBLASLt refuses products: never, when it is asked for an algorithm, only when it is to multiply, or when it is
// to multiply by an algorithm that was found for another number of columns.
enum class Refusal { Never, Heuristic, Product, Borrowed };

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
// Whether products are refused so.
bool bitfit_emulator_refuses(Refusal refusal);
// 10 times the compute capability.
unsigned bitfit_emulator_architecture();
}
