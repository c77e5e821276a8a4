// Helpers of the self-test's cases: calls of the three libraries, and kernels in one line.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../driver/api.h"

extern "C" {
CUresult cuInit(unsigned);
CUresult cuDevicePrimaryCtxRetain(CUcontext*, CUdevice);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuCtxSynchronize();
CUresult cuMemAlloc_v2(CUdeviceptr*, size_t);
CUresult cuMemFree_v2(CUdeviceptr);
CUresult cuMemHostAlloc(void**, size_t, unsigned);
CUresult cuMemFreeHost(void*);
CUresult cuStreamCreate(CUstream*, unsigned);
CUresult cuStreamSynchronize(CUstream);
CUresult cuStreamBeginCapture_v2(CUstream, unsigned);
CUresult cuStreamEndCapture(CUstream, CUgraph*);
CUresult cuGraphInstantiateWithFlags(CUgraphExec*, CUgraph, unsigned long long);
CUresult cuGraphLaunch(CUgraphExec, CUstream);
CUresult cuGraphDestroy(CUgraph);
CUresult cuGraphExecDestroy(CUgraphExec);
CUresult cuEventCreate(CUevent*, unsigned);
CUresult cuEventRecord(CUevent, CUstream);
CUresult cuEventSynchronize(CUevent);
CUresult cuMemcpyHtoD_v2(CUdeviceptr, const void*, size_t);
CUresult cuMemcpyDtoH_v2(void*, CUdeviceptr, size_t);
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr, const void*, size_t, CUstream);
CUresult cuMemcpyDtoHAsync_v2(void*, CUdeviceptr, size_t, CUstream);
CUresult cuModuleLoadData(CUmodule*, const void*);
CUresult cuModuleGetFunction(CUfunction*, CUmodule, const char*);
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int);
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**,
                        void**);

typedef struct Program* nvrtcProgram;
int nvrtcCreateProgram(nvrtcProgram*, const char*, const char*, int, const char* const*, const char* const*);
int nvrtcCompileProgram(nvrtcProgram, int, const char* const*);
int nvrtcGetCUBINSize(nvrtcProgram, size_t*);
int nvrtcGetCUBIN(nvrtcProgram, char*);
int nvrtcGetProgramLogSize(nvrtcProgram, size_t*);
int nvrtcGetProgramLog(nvrtcProgram, char*);
int nvrtcDestroyProgram(nvrtcProgram*);
}

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)
#define SUCCEEDS(call) CHECK((call) == 0)

// Compiles a source; if the compiler refuses it, the log is stored in `log` unless that is null.
inline std::vector<char> compile(const char* source, std::string* log = nullptr) {
    nvrtcProgram program;
    SUCCEEDS(nvrtcCreateProgram(&program, source, "test.cu", 0, nullptr, nullptr));
    const char* options[] = {"--gpu-architecture=sm_75", "--std=c++17"};
    int result = nvrtcCompileProgram(program, 2, options);
    size_t size;
    SUCCEEDS(nvrtcGetProgramLogSize(program, &size));
    std::string text(size, 0);
    SUCCEEDS(nvrtcGetProgramLog(program, text.data()));
    std::vector<char> image;
    if (result == 0) {
        SUCCEEDS(nvrtcGetCUBINSize(program, &size));
        image.resize(size);
        SUCCEEDS(nvrtcGetCUBIN(program, image.data()));
    } else if (log) *log = text;
    else fprintf(stderr, "%s\n", text.c_str());
    SUCCEEDS(nvrtcDestroyProgram(&program));
    return image;
}

// The device, made current for the calling thread.
inline void begin() {
    CUcontext context;
    SUCCEEDS(cuInit(0));
    SUCCEEDS(cuDevicePrimaryCtxRetain(&context, 0));
    SUCCEEDS(cuCtxSetCurrent(context));
}

// Compiles a source and returns its function `kernel`.
inline CUfunction kernel(const char* source) {
    std::vector<char> image = compile(source);
    CHECK(!image.empty());
    CUmodule module;
    CUfunction function;
    SUCCEEDS(cuModuleLoadData(&module, image.data()));
    SUCCEEDS(cuModuleGetFunction(&function, module, "kernel"));
    return function;
}

template <typename... T>
CUresult launch_on(CUstream stream, CUfunction function, unsigned grid, unsigned block, unsigned shared, T... arguments) {
    void* pointers[] = {&arguments..., nullptr};
    return cuLaunchKernel(function, grid, 1, 1, block, 1, 1, shared, stream, pointers, nullptr);
}

template <typename... T>
CUresult launch(CUfunction function, unsigned grid, unsigned block, unsigned shared, T... arguments) {
    return launch_on(nullptr, function, grid, block, shared, arguments...);
}

template <typename T>
CUdeviceptr upload(const std::vector<T>& values) {
    CUdeviceptr pointer;
    SUCCEEDS(cuMemAlloc_v2(&pointer, values.size() * sizeof(T)));
    SUCCEEDS(cuMemcpyHtoD_v2(pointer, values.data(), values.size() * sizeof(T)));
    return pointer;
}

inline CUdeviceptr room(size_t bytes) {
    CUdeviceptr pointer;
    SUCCEEDS(cuMemAlloc_v2(&pointer, bytes));
    return pointer;
}

template <typename T>
std::vector<T> download(CUdeviceptr pointer, size_t count) {
    std::vector<T> values(count);
    SUCCEEDS(cuMemcpyDtoH_v2(values.data(), pointer, count * sizeof(T)));
    return values;
}
