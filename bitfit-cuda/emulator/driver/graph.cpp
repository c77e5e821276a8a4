// The API's calls for graphs: capturing, instantiating, launching. They are not updated.

#include "graph.h"

void submit_to(CUstream stream, std::function<void()> work) {
    if (stream && stream->captured) stream->captured->nodes.push_back(std::move(work));
    else queue::submit(std::move(work));
}

bool is_not_captured(CUstream stream, const char* call) {
    if (!stream || !stream->captured) return false;
    fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "%s on a stream that captures a graph", call);
    return true;
}

EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, unsigned mode) {
    ENTER_ON(stream, "cuStreamBeginCapture");
    if (!stream || mode > 2) return CUDA_ERROR_INVALID_VALUE;
    stream->captured = std::make_unique<Graph>();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    ENTER("cuStreamEndCapture");
    if (!stream || !stream->captured) return CUDA_ERROR_ILLEGAL_STATE;
    *graph = stream->captured.release();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamIsCapturing(CUstream stream, unsigned* status) {
    ENTER("cuStreamIsCapturing");
    *status = stream && stream->captured;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphDestroy(CUgraph graph) {
    ENTER("cuGraphDestroy");
    if (!graph) return CUDA_ERROR_INVALID_VALUE;
    delete graph;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, unsigned long long flags) {
    ENTER("cuGraphInstantiate");
    if (!graph || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (options().no_graphs) return CUDA_ERROR_OUT_OF_MEMORY;
    trace("  of %zu nodes", graph->nodes.size());
    *executable = new Executable{graph->nodes};
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
    ENTER_ON(stream, "cuGraphLaunch of %zu nodes", executable ? executable->nodes.size() : 0);
    if (!executable) return CUDA_ERROR_INVALID_VALUE;
    // Copies, because the graph may be destroyed before the work is done.
    for (const auto& node : executable->nodes) queue::submit(node);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec executable) {
    ENTER("cuGraphExecDestroy");
    if (!executable) return CUDA_ERROR_INVALID_VALUE;
    delete executable;
    return CUDA_SUCCESS;
}
