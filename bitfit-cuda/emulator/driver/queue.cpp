// One queue for all streams, because the order of the calls is valid on every device.

#include "queue.h"

#include <deque>

#include "options.h"

namespace queue {

static std::deque<std::function<void()>>& pending() {
    static auto* works = new std::deque<std::function<void()>>;
    return *works;
}

std::recursive_mutex& mutex() {
    static auto* one = new std::recursive_mutex;
    return *one;
}

void submit(std::function<void()> work) {
    if (options().lazy) pending().push_back(std::move(work));
    else work();
}

void finish() {
    finish([] { return false; });
}

void finish(const std::function<bool()>& enough) {
    while (!pending().empty() && !enough()) {
        auto work = std::move(pending().front());
        pending().pop_front();
        work();
    }
}

}
