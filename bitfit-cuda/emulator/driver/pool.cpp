// The pool: threads that live as long as the process and process one index after another.

#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "options.h"

namespace {
struct Pool {
    std::mutex mutex;
    std::condition_variable begin, end;
    const std::function<void(uint64_t)>* work = nullptr;
    uint64_t count = 0, round = 0;
    unsigned busy = 0;
    std::atomic<uint64_t> next{0};

    void drain(const std::function<void(uint64_t)>& task, uint64_t of) {
        for (uint64_t i; (i = next.fetch_add(1)) < of;) task(i);
    }

    void serve() {
        for (uint64_t seen = 0;;) {
            std::unique_lock lock(mutex);
            begin.wait(lock, [&] { return round != seen; });
            seen = round;
            const auto& task = *work;
            uint64_t of = count;
            lock.unlock();
            drain(task, of);
            lock.lock();
            if (--busy == 0) end.notify_one();
        }
    }
};
}

void parallel(uint64_t count, const std::function<void(uint64_t)>& work) {
    // Never destroyed: its threads run until the process ends.
    static Pool* pool = [] {
        auto* pool = new Pool;
        for (unsigned i = 1; i < options().threads; ++i) std::thread([pool] { pool->serve(); }).detach();
        return pool;
    }();
    unsigned helpers = options().threads - 1;
    if (count < 2 || helpers == 0) {
        for (uint64_t i = 0; i < count; ++i) work(i);
        return;
    }
    {
        std::lock_guard lock(pool->mutex);
        pool->work = &work;
        pool->count = count;
        pool->next = 0;
        pool->busy = helpers;
        ++pool->round;
    }
    pool->begin.notify_all();
    pool->drain(work, count);
    std::unique_lock lock(pool->mutex);
    pool->end.wait(lock, [&] { return pool->busy == 0; });
}
