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

// `bytes` of NaNs, or null where the device has no room. The end lies at the end of a page, but for what is missing to
// a multiple of 16.
uint8_t* allocate(size_t bytes);

// False if there is no such allocation. What was freed is never handed out again, so that a later use of it faults.
bool release(uint8_t* base);

// The living allocation that `address` lies in, if any.
bool find(const void* address, Allocation* found);

// Whether all of [address, address + bytes) lies in one living allocation.
bool holds(const void* address, size_t bytes);

// Whether `address` is the device's, allocated or not.
bool owns(const void* address);

// Where `address` lies relative to the allocations around it, in words.
std::string describe(uintptr_t address);

// Bytes that are allocated.
uint64_t used();
// The most there was.
uint64_t peak();

// An allocation just outside of which somebody wrote: into the bytes that fill it up to 16, or the 64 before it, where
// no guard page is. False if there is none.
bool damaged(Allocation* found);

}
