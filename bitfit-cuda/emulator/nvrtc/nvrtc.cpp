// NVRTC's API (nvrtc.h of CUDA 13.0), implemented with compile.h.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "compile.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

enum nvrtcResult : unsigned {
    NVRTC_SUCCESS = 0,
    NVRTC_ERROR_INVALID_INPUT = 3,
    NVRTC_ERROR_INVALID_PROGRAM = 4,
    NVRTC_ERROR_INVALID_OPTION = 5,
    NVRTC_ERROR_COMPILATION = 6,
    NVRTC_ERROR_INTERNAL_ERROR = 11,
};

struct Program {
    std::string source, name, log;
    Compiled compiled;
};
typedef Program* nvrtcProgram;

EXPORT const char* nvrtcGetErrorString(nvrtcResult result) {
    switch (result) {
        case NVRTC_SUCCESS: return "NVRTC_SUCCESS";
        case NVRTC_ERROR_INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
        case NVRTC_ERROR_INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
        case NVRTC_ERROR_INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
        case NVRTC_ERROR_COMPILATION: return "NVRTC_ERROR_COMPILATION";
        case NVRTC_ERROR_INTERNAL_ERROR: return "NVRTC_ERROR_INTERNAL_ERROR";
    }
    return "NVRTC_ERROR unknown";
}

// A minor version that no real NVRTC has and that changes with the emulator, so that a cache that uses the version
// never mixes images of NVRTC and of different emulators.
EXPORT nvrtcResult nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = static_cast<int>(1000 + toolchain_hash() % 1000000);
    return NVRTC_SUCCESS;
}

static constexpr int ARCHITECTURES[] = {75, 80, 86, 87, 89, 90, 100, 103, 120};

EXPORT nvrtcResult nvrtcGetNumSupportedArchs(int* count) {
    *count = static_cast<int>(std::size(ARCHITECTURES));
    return NVRTC_SUCCESS;
}
EXPORT nvrtcResult nvrtcGetSupportedArchs(int* architectures) {
    memcpy(architectures, ARCHITECTURES, sizeof ARCHITECTURES);
    return NVRTC_SUCCESS;
}

EXPORT nvrtcResult nvrtcCreateProgram(nvrtcProgram* program, const char* source, const char* name, int headers,
                                      const char* const*, const char* const*) {
    if (!program || !source || headers != 0) return NVRTC_ERROR_INVALID_INPUT;
    *program = new Program{source, name ? name : "default_program", "", {}};
    return NVRTC_SUCCESS;
}

EXPORT nvrtcResult nvrtcDestroyProgram(nvrtcProgram* program) {
    if (!program || !*program) return NVRTC_ERROR_INVALID_PROGRAM;
    delete *program;
    *program = nullptr;
    return NVRTC_SUCCESS;
}

EXPORT nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int count, const char* const* given) {
    if (!program) return NVRTC_ERROR_INVALID_PROGRAM;
    CompileOptions options;
    program->log.clear();
    program->compiled = {};
    if (!parse_options(std::vector<std::string>(given, given + count), &options, &program->log))
        return NVRTC_ERROR_INVALID_OPTION;
    program->compiled = compile(program->source, program->name, options, &program->log);
    return program->compiled.image.empty() ? NVRTC_ERROR_COMPILATION : NVRTC_SUCCESS;
}

// The size of a text, including its NUL.
static nvrtcResult size_of(const std::string& text, size_t* size) {
    *size = text.size() + 1;
    return NVRTC_SUCCESS;
}
static nvrtcResult copy(const std::string& text, char* to) {
    memcpy(to, text.c_str(), text.size() + 1);
    return NVRTC_SUCCESS;
}

EXPORT nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t* size) {
    return program ? size_of(program->log, size) : NVRTC_ERROR_INVALID_PROGRAM;
}
EXPORT nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char* log) {
    return program ? copy(program->log, log) : NVRTC_ERROR_INVALID_PROGRAM;
}

static bool compiled(nvrtcProgram program) { return program && !program->compiled.image.empty(); }

EXPORT nvrtcResult nvrtcGetPTXSize(nvrtcProgram program, size_t* size) {
    return compiled(program) ? size_of(program->compiled.image, size) : NVRTC_ERROR_INVALID_PROGRAM;
}
EXPORT nvrtcResult nvrtcGetPTX(nvrtcProgram program, char* ptx) {
    return compiled(program) ? copy(program->compiled.image, ptx) : NVRTC_ERROR_INVALID_PROGRAM;
}

// A virtual architecture has PTX only.
EXPORT nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t* size) {
    if (!compiled(program)) return NVRTC_ERROR_INVALID_PROGRAM;
    if (program->compiled.real_architecture) return size_of(program->compiled.image, size);
    *size = 0;
    return NVRTC_SUCCESS;
}
EXPORT nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char* cubin) {
    if (!compiled(program) || !program->compiled.real_architecture) return NVRTC_ERROR_INVALID_PROGRAM;
    return copy(program->compiled.image, cubin);
}
