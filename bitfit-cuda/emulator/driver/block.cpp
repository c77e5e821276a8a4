// The scheduler of a block.
//
// A warp runs until each of its threads waits at a barrier or has ended; then the next warp runs. Within a warp, a
// thread runs until it waits for the others of its warp; then the next thread runs. Whether a thread sees the writes of
// another before they synchronise therefore depends on the order, and another order reveals such a dependence.

#include "block.h"

#include <sys/mman.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

static constexpr size_t PAGE = 4096;
// More shared memory than a block of any device has.
static constexpr size_t DYNAMIC_BYTES = 256 << 10;
static constexpr unsigned WARP = 32;

const EmulatedCalls BlockRunner::CALLS = {BlockRunner::barrier, BlockRunner::meet};

BlockRunner& BlockRunner::own() {
    static thread_local BlockRunner runner;
    return runner;
}

BlockRunner::BlockRunner() {
    void* pages = mmap(nullptr, DYNAMIC_BYTES + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED || mprotect(static_cast<uint8_t*>(pages) + DYNAMIC_BYTES, PAGE, PROT_NONE) != 0) {
        perror("bitfit emulator: dynamic shared memory");
        abort();
    }
    dynamic_ = static_cast<uint8_t*>(pages);
}

BlockRunner::~BlockRunner() { munmap(dynamic_, DYNAMIC_BYTES + PAGE); }

bool BlockRunner::beyond_shared(uintptr_t address) const {
    return address - reinterpret_cast<uintptr_t>(dynamic_ + DYNAMIC_BYTES) < PAGE;
}

void BlockRunner::set_order(size_t count, std::vector<uint16_t>* order) {
    order->resize(count);
    for (size_t i = 0; i < count; ++i) (*order)[i] = static_cast<uint16_t>(launch_->order == Order::Reverse ? count - 1 - i : i);
    if (launch_->order != Order::Shuffle) return;
    for (size_t i = count; i > 1; --i) {
        random_ ^= random_ << 13, random_ ^= random_ >> 7, random_ ^= random_ << 17;
        std::swap((*order)[i - 1], (*order)[random_ % i]);
    }
}

void BlockRunner::run(const Launch& launch, uint64_t block) {
    launch_ = &launch;
    EmulatedIndex at{static_cast<unsigned>(block % launch.grid.x), static_cast<unsigned>(block / launch.grid.x % launch.grid.y),
                     static_cast<unsigned>(block / launch.grid.x / launch.grid.y)};
    random_ = (launch.seed + 1) * 0x9e3779b97f4a7c15u ^ (block + 1) * 0xbf58476d1ce4e5b9u;
    random_ += random_ == 0;
    size_t threads = size_t{launch.block.x} * launch.block.y * launch.block.z;

    // Nothing of the previous block is left, and memory that was never written holds NaN.
    if (launch.shared_bytes > 0) memset(static_cast<uint8_t*>(launch.shared()) + launch.shared_offset, 0xff, launch.shared_bytes);
    uint8_t* dynamic = dynamic_ + DYNAMIC_BYTES - (launch.dynamic_shared + 15) / 16 * 16;
    memset(dynamic, 0xff, static_cast<size_t>(dynamic_ + DYNAMIC_BYTES - dynamic));

    lanes_.resize(threads);
    warps_.resize((threads + WARP - 1) / WARP);
    for (size_t i = 0; i < threads; ++i) {
        Lane& lane = lanes_[i];
        lane.thread_idx = {static_cast<unsigned>(i % launch.block.x), static_cast<unsigned>(i / launch.block.x % launch.block.y),
                           static_cast<unsigned>(i / launch.block.x / launch.block.y)};
        lane.block_idx = at;
        lane.block_dim = launch.block;
        lane.grid_dim = launch.grid;
        lane.lane = static_cast<unsigned>(i % WARP);
        lane.dynamic_shared = dynamic;
        lane.calls = &CALLS;
        lane.runner = this;
        lane.state = State::Ready;
        lane.started = false;
    }
    for (size_t w = 0; w < warps_.size(); ++w)
        warps_[w].lanes = static_cast<unsigned>(std::min<size_t>(WARP, threads - w * WARP)),
        warps_[w].came = warps_[w].sequence = 0;

    ended_ = 0;
    set_order(warps_.size(), &warp_order_);
    set_order(WARP, &lane_order_);
    for (;;) {
        waiting_ = 0;
        for (uint16_t warp : warp_order_) run_warp(warp);
        if (ended_ == threads) break;
        if (ended_ > 0)
            stuck(std::to_string(ended_) + " threads of the block ended while " + std::to_string(waiting_) +
                  " wait at __syncthreads");
        for (Lane& lane : lanes_) lane.state = State::Ready;
        if (launch.order == Order::Shuffle) {
            set_order(warps_.size(), &warp_order_);
            set_order(WARP, &lane_order_);
        }
    }
    running_ = nullptr;
    launch_ = nullptr;
}

// The next lane of the round that can run, if there is one; it gets a stack if it has not started.
BlockRunner::Lane* BlockRunner::next_lane() {
    for (; turn_ < WARP; ++turn_) {
        if (lane_order_[turn_] >= lanes_of_warp_) continue;
        Lane& lane = first_of_warp_[lane_order_[turn_]];
        if (lane.state != State::Ready) continue;
        if (!lane.started) {
            lane.started = true;
            lane.stack = stacks_.take();
            lane.sp = prepare(lane.stack, &lane, launch_->kernel->call, launch_->arguments);
        }
        ++turn_;
        running_ = &lane;
        return &lane;
    }
    return nullptr;
}

void BlockRunner::run_warp(unsigned index) {
    Warp& warp = warps_[index];
    first_of_warp_ = &lanes_[index * WARP];
    lanes_of_warp_ = warp.lanes;
    // Rounds, until no lane is left. Within a round each lane switches to the next (`leave`).
    for (;;) {
        turn_ = 0;
        Lane* lane = next_lane();
        if (!lane) break;
        emulated_switch(&scheduler_, lane->sp);
    }
    if (warp.came > 0) {
        running_ = &lanes_[index * WARP];
        for (unsigned i = 0; i < warp.lanes; ++i)
            if (lanes_[index * WARP + i].state == State::InMeeting) running_ = &lanes_[index * WARP + i];
        unsigned barrier = 0, ended = 0;
        for (unsigned i = 0; i < warp.lanes; ++i) {
            barrier += lanes_[index * WARP + i].state == State::AtBarrier;
            ended += lanes_[index * WARP + i].state == State::Ended;
        }
        stuck(std::to_string(warp.came) + " lanes of the warp wait in " + warp.what + " for the others, of which " +
              std::to_string(barrier) + " wait at __syncthreads and " + std::to_string(ended) + " have ended");
    }
    for (unsigned i = 0; i < warp.lanes; ++i) waiting_ += lanes_[index * WARP + i].state == State::AtBarrier;
}

void BlockRunner::leave(Lane& lane) {
    Lane* next = next_lane();
    emulated_switch(&lane.sp, next ? next->sp : scheduler_);
}

void BlockRunner::barrier(EmulatedThread* thread) {
    Lane& lane = *static_cast<Lane*>(thread);
    lane.state = State::AtBarrier;
    lane.runner->leave(lane);
}

const unsigned long long* BlockRunner::meet(EmulatedThread* thread, const char* what, unsigned mask, unsigned long long value,
                                            void (*leader)(unsigned long long*)) {
    Lane& lane = *static_cast<Lane*>(thread);
    BlockRunner& runner = *lane.runner;
    size_t first = static_cast<size_t>(&lane - runner.lanes_.data()) / WARP * WARP;
    Warp& warp = runner.warps_[first / WARP];
    if (mask != 0xffffffffu) {
        char text[96];
        snprintf(text, sizeof text, "%s by the lanes 0x%08x; only the full mask is emulated", what, mask);
        runner.stuck(text);
    }
    if (warp.came > 0 && warp.what != what && strcmp(warp.what, what) != 0)
        runner.stuck(std::string("a lane calls ") + what + " while others of its warp wait in " + warp.what);
    warp.what = what;
    unsigned long long* values = warp.values[warp.sequence % 2];
    values[lane.lane] = value;
    if (++warp.came < warp.lanes) {
        lane.state = State::InMeeting;
        runner.leave(lane);
        return values;
    }
    // This is the last lane to arrive. The values of a warp operation are kept until the next but one, which no lane
    // can reach before all have left this one.
    warp.came = 0;
    ++warp.sequence;
    if (leader) leader(values);
    for (unsigned i = 0; i < warp.lanes; ++i)
        if (runner.lanes_[first + i].state == State::InMeeting) runner.lanes_[first + i].state = State::Ready;
    return values;
}

extern "C" void emulated_thread_ends(EmulatedThread* thread) {
    auto& lane = *static_cast<BlockRunner::Lane*>(thread);
    BlockRunner& runner = *lane.runner;
    lane.state = BlockRunner::State::Ended;
    ++runner.ended_;
    // The stack is in use until the switch: the next lane needs another one, and the lane after it may reuse this one.
    BlockRunner::Lane* next = runner.next_lane();
    runner.stacks_.give(lane.stack);
    emulated_switch(&lane.sp, next ? next->sp : runner.scheduler_);
    __builtin_unreachable();
}

std::string BlockRunner::where() const {
    if (!launch_ || !running_) return "";
    const EmulatedIndex &b = running_->block_idx, &t = running_->thread_idx;
    char text[320];
    snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u), thread (%u, %u, %u)", launch_->kernel->name, b.x, b.y, b.z, t.x,
             t.y, t.z);
    return text;
}

void BlockRunner::stuck(const std::string& why) {
    fprintf(stderr, "bitfit emulator: %s: %s\n", where().c_str(), why.c_str());
    abort();
}
