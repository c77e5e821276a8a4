// Work for the device, in the order in which it was given.
#pragma once

#include <functional>
#include <mutex>

namespace queue {

// One for the whole emulated device: every call of the API holds it, so that there is one thing at a time.
std::recursive_mutex& mutex();

// Does `work` at once; with BITFIT_EMULATOR_CHECK=lazy, not before the host waits for the device, as late as a device
// may be.
void submit(std::function<void()> work);

// Does what was put off, all of it or until `enough` says so.
void finish();
void finish(const std::function<bool()>& enough);

}
