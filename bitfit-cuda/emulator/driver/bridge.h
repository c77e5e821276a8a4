// The functions of the emulated driver that the emulated cuBLASLt uses in addition to its API. Exported by libcuda.
#pragma once

#include <cstddef>
#include <cstdint>

// When cuBLASLt refuses products: never, in the heuristic, in the multiplication, or in a multiplication with an
// algorithm that was found for another number of columns.
enum class Refusal { Never, Heuristic, Product, Borrowed };

extern "C" {
// Locks the device for the calling OS thread. Calls nest.
void bitfit_emulator_lock();
void bitfit_emulator_unlock();
// Submits a product to a stream. `release` is called when it will not be done again.
void bitfit_emulator_submit(void* stream, void (*work)(void*), void (*release)(void*), void* data);
// Calls work(data, i) for every i below `count`, on several OS threads. May be called only from submitted work.
void bitfit_emulator_parallel(uint64_t count, void (*work)(void*, uint64_t), void* data);
// Finds the live allocation that contains `address`; false if there is none.
bool bitfit_emulator_find(const void* address, const void** base, size_t* bytes);
// Whether products are refused in this way.
bool bitfit_emulator_refuses(Refusal refusal);
// The compute capability times 10.
unsigned bitfit_emulator_architecture();
}
