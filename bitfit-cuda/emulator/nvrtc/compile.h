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
    std::string image;  // see image.h; empty where the compiler found faults
    bool real_architecture = false;
};

// Understands the options of NVRTC that mean something here, passes over those that do not, and refuses what NVRTC does
// not know.
bool parse_options(const std::vector<std::string>& given, CompileOptions* options, std::string* log);

Compiled compile(const std::string& source, const std::string& name, const CompileOptions& options, std::string* log);

// Of all that makes an image beside the source: prelude, epilogue, compiler, flags.
uint64_t toolchain_hash();
