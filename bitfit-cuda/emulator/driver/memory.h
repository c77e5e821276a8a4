// The memory of the device: host pointers, each allocation in its own pages between two inaccessible ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace memory {

struct Allocation {
    uint8_t* base;
    size_t bytes;
};

// Allocates `bytes` bytes filled with NaNs; null if the device has not enough memory. The end is at the end of a page,
// rounded up to a multiple of 16.
uint8_t* allocate(size_t bytes);

// Frees an allocation; false if it does not exist. Freed addresses are never reused, so that a later access faults.
bool release(uint8_t* base);

// Reserves a range of addresses, a multiple of 4096 bytes; null if there are not enough.
uint8_t* reserve(size_t bytes);
// Adds memory at the end of what a range has, filled with NaNs; false if it is not the end, or not in a range.
bool map(uint8_t* at, size_t bytes);
// Frees a range and the memory in it; false if it does not exist.
bool unreserve(uint8_t* base);

// Finds the live allocation that contains `address`, if any.
bool find(const void* address, Allocation* found);

// Whether all of [address, address + bytes) is in one live allocation.
bool holds(const void* address, size_t bytes);

// Whether `address` is in the range of the device, allocated or not.
bool owns(const void* address);

// Describes the position of `address` relative to the nearest allocations.
std::string describe(uintptr_t address);

// The number of allocated bytes.
uint64_t used();
// The maximum of `used` so far.
uint64_t peak();

// Finds an allocation with a write just outside of it: in its padding to 16 bytes, or in the 64 bytes before it, where
// there is no guard page. False if there is none.
bool damaged(Allocation* found);

}
