// Allocations in one large range of addresses, which are used in ascending order and never reused.

#include "memory.h"

#include <sys/mman.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "options.h"

namespace memory {

static constexpr size_t PAGE = 4096;
static constexpr size_t RESERVED = size_t{1} << 46;
static constexpr uint8_t POISON = 0xff;

namespace {
struct Record {
    size_t bytes, mapped;
    bool alive;
};
struct Device {
    uint8_t* start = nullptr;
    size_t next = PAGE;
    uint64_t used = 0, peak = 0;
    std::map<uintptr_t, Record> alive, freed;  // by the allocation's first byte; freed ones are kept for `describe`
    std::map<uintptr_t, size_t> reserved;      // ranges of addresses, by the first; `alive` has what is mapped of each
};
}

static Device& device() {
    static Device* one = [] {
        auto* device = new Device;
        void* start = mmap(nullptr, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (start == MAP_FAILED) {
            perror("bitfit emulator: the device's addresses");
            abort();
        }
        device->start = static_cast<uint8_t*>(start);
        return device;
    }();
    return *one;
}

static size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

uint8_t* allocate(size_t bytes) {
    Device& on = device();
    size_t mapped = round_up(bytes, PAGE);
    if (bytes > options().memory - on.used || mapped + PAGE > RESERVED - on.next) return nullptr;
    uint8_t* pages = on.start + on.next;
    if (mprotect(pages, mapped, PROT_READ | PROT_WRITE) != 0) return nullptr;
    memset(pages, POISON, mapped);
    on.next += mapped + PAGE;
    on.used += bytes;
    on.peak = std::max(on.peak, on.used);
    uint8_t* base = pages + mapped - round_up(bytes, 16);
    on.alive[reinterpret_cast<uintptr_t>(base)] = {bytes, mapped, true};
    return base;
}

uint8_t* reserve(size_t bytes) {
    Device& on = device();
    if (bytes % PAGE != 0 || bytes + PAGE > RESERVED - on.next) return nullptr;
    uint8_t* base = on.start + on.next;
    on.next += bytes + PAGE;
    on.reserved[reinterpret_cast<uintptr_t>(base)] = bytes;
    return base;
}

bool map(uint8_t* at, size_t bytes) {
    Device& on = device();
    auto range = on.reserved.upper_bound(reinterpret_cast<uintptr_t>(at));
    if (range == on.reserved.begin()) return false;
    --range;
    auto* base = reinterpret_cast<uint8_t*>(range->first);
    auto& record = on.alive.try_emplace(range->first, Record{0, 0, true}).first->second;
    // At the end of what is mapped.
    if (base + record.bytes != at || record.bytes + bytes > range->second || bytes % PAGE != 0) return false;
    if (mprotect(at, bytes, PROT_READ | PROT_WRITE) != 0) return false;
    memset(at, POISON, bytes);
    record.bytes += bytes;
    record.mapped += bytes;
    on.used += bytes;
    on.peak = std::max(on.peak, on.used);
    return true;
}

bool unreserve(uint8_t* base) {
    Device& on = device();
    if (on.reserved.erase(reinterpret_cast<uintptr_t>(base)) == 0) return false;
    release(base);
    return true;
}

bool release(uint8_t* base) {
    Device& on = device();
    auto at = on.alive.find(reinterpret_cast<uintptr_t>(base));
    if (at == on.alive.end()) return false;
    Record record = at->second;
    uint8_t* pages = base + round_up(record.bytes, 16) - record.mapped;
    mmap(pages, record.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    record.alive = false;
    on.used -= record.bytes;
    on.freed[at->first] = record;
    on.alive.erase(at);
    return true;
}

bool find(const void* address, Allocation* found) {
    Device& on = device();
    auto wanted = reinterpret_cast<uintptr_t>(address);
    auto at = on.alive.upper_bound(wanted);
    if (at == on.alive.begin()) return false;
    --at;
    if (wanted - at->first > at->second.bytes) return false;
    *found = {reinterpret_cast<uint8_t*>(at->first), at->second.bytes};
    return true;
}

bool holds(const void* address, size_t bytes) {
    Allocation in;
    return find(address, &in) && static_cast<size_t>(static_cast<const uint8_t*>(address) - in.base) + bytes <= in.bytes;
}

bool owns(const void* address) {
    return reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(device().start) < RESERVED;
}

std::string describe(uintptr_t address) {
    Device& on = device();
    char text[256];
    if (!owns(reinterpret_cast<void*>(address))) {
        snprintf(text, sizeof text, "0x%zx is not the device's memory", address);
        return text;
    }
    std::map<uintptr_t, Record> records = on.freed;
    records.insert(on.alive.begin(), on.alive.end());
    // Which is nearer: the end of the allocation before, or the beginning of the one after.
    auto behind = records.upper_bound(address);
    if (behind != records.begin()) {
        auto before = std::prev(behind);
        size_t past = address - before->first;
        if (past < before->second.bytes) {
            snprintf(text, sizeof text, "byte %zu of an allocation of %zu bytes%s", past, before->second.bytes,
                     before->second.alive ? "" : " that was freed");
            return text;
        }
        if (behind == records.end() || past - before->second.bytes < behind->first - address) {
            snprintf(text, sizeof text, "%zu bytes past the end of an allocation of %zu bytes%s", past - before->second.bytes,
                     before->second.bytes, before->second.alive ? "" : " that was freed");
            return text;
        }
    }
    if (behind == records.end()) return "device memory that was never allocated";
    snprintf(text, sizeof text, "%zu bytes before an allocation of %zu bytes%s", behind->first - address, behind->second.bytes,
             behind->second.alive ? "" : " that was freed");
    return text;
}

uint64_t used() { return device().used; }
uint64_t peak() { return device().peak; }

bool damaged(Allocation* found) {
    for (const auto& [base, record] : device().alive) {
        auto* start = reinterpret_cast<uint8_t*>(base);
        size_t full = round_up(record.bytes, 16), before = std::min<size_t>(64, record.mapped - full);
        auto whole = [](const uint8_t* from, size_t bytes) {
            return std::all_of(from, from + bytes, [](uint8_t byte) { return byte == POISON; });
        };
        if (whole(start - before, before) && whole(start + record.bytes, full - record.bytes)) continue;
        *found = {start, record.bytes};
        return true;
    }
    return false;
}

}
