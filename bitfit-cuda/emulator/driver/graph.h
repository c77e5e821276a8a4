// Streams, and the kernels and products that are captured from one into a graph.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "state.h"

// A chain, because it is captured from one stream.
struct Graph {
    std::vector<std::function<void()>> nodes;
};

struct Executable {
    std::vector<std::function<void()>> nodes;
};

struct Stream {
    unsigned flags;
    // What is captured; null if nothing is.
    std::unique_ptr<Graph> captured;
};

// Submits a kernel or a product to a stream; a stream that captures keeps it.
void submit_to(CUstream stream, std::function<void()> work);

// Whether a stream captures; prints that `call` cannot be captured. A driver could capture some of them.
bool is_not_captured(CUstream stream, const char* call);

#define ENTER_ON(stream, ...) \
    ENTER(__VA_ARGS__);       \
    if (is_not_captured(stream, __func__)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
