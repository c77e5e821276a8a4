// The common beginning of all calls of the API.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <mutex>

#include "api.h"
#include "options.h"
#include "queue.h"

struct Context {
    int references = 0;
};

// The primary context of the only device.
Context* primary_context();
// The current context of the calling OS thread.
Context*& current_context();
bool initialized();

inline void say(const char* format, va_list arguments) {
    char line[256];
    vsnprintf(line, sizeof line, format, arguments);
    fprintf(stderr, "bitfit emulator: %s\n", line);
}

// Prints the call if BITFIT_EMULATOR_TRACE is set.
__attribute__((format(printf, 1, 2))) inline void trace(const char* format, ...) {
    if (!options().trace) return;
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

// Prints the reason for an error code and returns the code.
__attribute__((format(printf, 2, 3))) inline CUresult fail(CUresult error, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    return error;
}

// Calls do not overlap and need a context, as in the driver.
#define ENTER_WITHOUT_CONTEXT(...)                         \
    std::lock_guard entered(queue::mutex());               \
    if (!initialized()) return CUDA_ERROR_NOT_INITIALIZED; \
    trace(__VA_ARGS__)
#define ENTER(...)                      \
    ENTER_WITHOUT_CONTEXT(__VA_ARGS__); \
    if (!current_context()) return CUDA_ERROR_INVALID_CONTEXT
