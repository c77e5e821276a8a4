// Compiling a kernel's source as C++ for the host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct CompileOptions {
    unsigned architecture = 75;
    bool real_architecture = false;
    bool fmad = true;
    std::vector<std::string> definitions;  // -D…
};

struct Compiled {
    std::string image;  // see image.h; empty if the compiler reported errors
    bool real_architecture = false;
};

// Parses the options of NVRTC that have an effect here, ignores those that do not, and refuses options that NVRTC does
// not have.
bool parse_options(const std::vector<std::string>& given, CompileOptions* options, std::string* log);

Compiled compile(const std::string& source, const std::string& name, const CompileOptions& options, std::string* log);

// The hash of all inputs of an image other than the source: prelude, epilogue, compiler, flags.
uint64_t toolchain_hash();
