// Work for the device, in the order in which it was submitted.
#pragma once

#include <functional>
#include <mutex>

namespace queue {

// The mutex of the whole emulated device. Every call of the API holds it, so calls do not overlap.
std::recursive_mutex& mutex();

// Executes `work` immediately; with BITFIT_EMULATOR_CHECK=lazy only when the host waits for the device, which is as
// late as a device may be.
void submit(std::function<void()> work);

// Executes delayed work, either all of it or until `enough` returns true.
void finish();
void finish(const std::function<bool()>& enough);

}
