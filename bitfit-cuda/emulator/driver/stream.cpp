// The API's calls for streams and events. Streams have an identity and nothing else; see queue.h.

#include <chrono>
#include <memory>

#include "graph.h"

struct Event {
    unsigned flags;
    // The number of times it was recorded, and the number of the last recording that was executed.
    uint64_t recorded = 0, happened = 0;
    std::chrono::steady_clock::time_point at;

    // An event that was never recorded is complete.
    bool complete() const { return happened == recorded; }
};

static constexpr unsigned CU_EVENT_DISABLE_TIMING = 2;

EXPORT CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    ENTER("cuStreamCreate");
    if (flags > 1) return CUDA_ERROR_INVALID_VALUE;
    *stream = new Stream{flags, nullptr};
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }

EXPORT CUresult cuStreamDestroy_v2(CUstream stream) {
    ENTER_ON(stream, "cuStreamDestroy");
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    queue::finish();
    delete stream;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamSynchronize(CUstream stream) {
    ENTER_ON(stream, "cuStreamSynchronize");
    queue::finish();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamQuery(CUstream stream) {
    ENTER_ON(stream, "cuStreamQuery");
    queue::finish();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    ENTER_ON(stream, "cuStreamWaitEvent");
    return event ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

EXPORT CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void* data) {
    ENTER_ON(stream, "cuLaunchHostFunc");
    queue::submit([=] { function(data); });
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventCreate(CUevent* event, unsigned flags) {
    ENTER("cuEventCreate");
    *event = new Event{};
    (*event)->flags = flags;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventDestroy_v2(CUevent event) {
    ENTER("cuEventDestroy");
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    // Delayed recordings still write to it.
    queue::submit([=] { delete event; });
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventRecord(CUevent event, CUstream stream) {
    ENTER_ON(stream, "cuEventRecord");
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    uint64_t recording = ++event->recorded;
    queue::submit([=] {
        event->happened = recording;
        event->at = std::chrono::steady_clock::now();
    });
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventSynchronize(CUevent event) {
    ENTER("cuEventSynchronize");
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    queue::finish([=] { return event->complete(); });
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventQuery(CUevent event) {
    ENTER("cuEventQuery");
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    queue::finish([=] { return event->complete(); });
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent from, CUevent to) {
    ENTER("cuEventElapsedTime");
    if (!from || !to || !from->recorded || !to->recorded || (from->flags | to->flags) & CU_EVENT_DISABLE_TIMING)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!from->complete() || !to->complete()) return CUDA_ERROR_NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(to->at - from->at).count();
    return CUDA_SUCCESS;
}
EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent from, CUevent to) {
    return cuEventElapsedTime_v2(milliseconds, from, to);
}
