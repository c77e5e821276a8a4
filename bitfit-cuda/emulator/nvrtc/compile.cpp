// Compiles a kernel's source to an image with g++.
//
// The source is first preprocessed together with the prelude, so that kernels made by macros are found too. Then it is
// compiled together with a table of the kernels.

#include "compile.h"

#include <sys/stat.h>
#include <unistd.h>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "../image.h"
#include "../kernels/abi.h"
#include "embedded.h"

static const char* compiler() {
    const char* named = getenv("BITFIT_EMULATOR_CXX");
    return named && *named ? named : "g++";
}

// The driver parses BITFIT_EMULATOR_CHECK; the word `ulps` concerns the compiler.
static bool inexact() {
    const char* text = getenv("BITFIT_EMULATOR_CHECK");
    std::string checks = std::string(",") + (text ? text : "") + ",";
    return checks.find(",ulps,") != std::string::npos;
}

// A fixed instruction set, so that results are the same on every machine that has it; other machines use baseline
// x86-64.
static std::string flags() {
    std::string flags =
        "-std=gnu++17 -O2 -fPIC -w -Wno-register -fno-exceptions -fno-rtti -fno-gnu-unique -fvisibility=hidden -fno-math-errno "
        "-fno-trapping-math";
    flags += __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? " -march=x86-64-v3" : " -march=x86-64";
    // An index beyond a shared or local array of known size ends the kernel, and so does an address that is not aligned
    // for its type.
    flags += " -fsanitize=bounds,alignment -fsanitize-undefined-trap-on-error";
    if (inexact()) flags += " -DEMULATED_ULPS";
    return flags;
}

static uint64_t hash(const std::string& text, uint64_t seed = 0xcbf29ce484222325u) {
    for (char byte : text) seed = (seed ^ static_cast<uint8_t>(byte)) * 0x100000001b3u;
    return seed;
}

uint64_t toolchain_hash() {
    static const uint64_t value = hash(std::string(EMBEDDED_PRELUDE) + EMBEDDED_EPILOGUE + image::HEAD + flags() + compiler());
    return value;
}

bool parse_options(const std::vector<std::string>& given, CompileOptions* options, std::string* log) {
    // Options without effect on the CPU.
    static const char* const passed_over[] = {"--std=",
                                              "-std=",
                                              "--device-debug",
                                              "-G",
                                              "--generate-line-info",
                                              "-lineinfo",
                                              "--maxrregcount=",
                                              "--ftz=",
                                              "--prec-sqrt=",
                                              "--prec-div=",
                                              "--extra-device-vectorization",
                                              "--restrict",
                                              "--default-device",
                                              "-default-device",
                                              "--device-as-default-execution-space",
                                              "--use_fast_math",
                                              "--disable-warnings",
                                              "-w",
                                              "--diag-suppress=",
                                              "--relocatable-device-code=",
                                              "--ptxas-options",
                                              "--split-compile=",
                                              "-I",
                                              "--include-path="};
    for (size_t i = 0; i < given.size(); ++i) {
        const std::string& option = given[i];
        auto is = [&](const char* prefix) { return option.rfind(prefix, 0) == 0; };
        std::string value = option.substr(option.find('=') + 1);
        if (is("--gpu-architecture=") || is("-arch=")) {
            options->real_architecture = value.rfind("sm_", 0) == 0;
            size_t digits = options->real_architecture ? 3 : 8;
            if ((!options->real_architecture && value.rfind("compute_", 0) != 0) ||
                (options->architecture = static_cast<unsigned>(atoi(value.c_str() + digits))) < 75) {
                *log = "nvrtc: error: invalid value for --gpu-architecture (-arch)\n";
                return false;
            }
        } else if (is("--fmad=")) options->fmad = value == "true";
        else if (is("-D") && option.size() > 2) options->definitions.push_back(option);
        else if (is("--define-macro=")) options->definitions.push_back("-D" + value);
        else {
            bool known = false;
            for (const char* prefix : passed_over) known |= is(prefix);
            if (!known) {
                *log = "nvrtc: error: unrecognized option " + option + " found\n";
                return false;
            }
        }
    }
    return true;
}

static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

static bool write(const std::string& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    return static_cast<bool>(file << text) && (file.close(), !file.fail());
}

static std::string quoted(const std::string& word) {
    std::string text = "'";
    for (char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
    return text + "'";
}

namespace {

// A temporary directory for one compilation.
struct Directory {
    std::string path;

    Directory() {
        const char* base = getenv("TMPDIR");
        path = std::string(base && *base ? base : "/tmp") + "/bitfit-emulator-XXXXXX";
        if (!mkdtemp(path.data())) path.clear();
    }
    ~Directory() {
        for (const char* name : {"kernel.cu", "kernel.ii", "kernel.so", "log"}) unlink((path + "/" + name).c_str());
        rmdir(path.c_str());
    }
};

struct Kernel {
    std::string name, bounds;
};

}

// The position after the parenthesis that closes the one at `open`.
static size_t closed(const std::string& text, size_t open) {
    int depth = 0;
    for (size_t i = open; i < text.size(); ++i) {
        depth += text[i] == '(';
        depth -= text[i] == ')';
        if (depth == 0) return i + 1;
    }
    return text.size();
}

// Finds each `__global__ … NAME(` of the preprocessed text, and blanks out __global__ and __launch_bounds__(…), whose
// first number it keeps.
static std::vector<Kernel> find_kernels(std::string* text) {
    static const std::string global = "__global__", bounds = "__launch_bounds__";
    std::vector<Kernel> kernels;
    for (size_t at = 0; (at = text->find(global, at)) != std::string::npos;) {
        text->replace(at, global.size(), global.size(), ' ');
        Kernel kernel{"", "1024"};
        size_t begin = text->find('(', at);
        while (begin != std::string::npos) {
            size_t end = begin;
            while (end > at && isspace(static_cast<unsigned char>((*text)[end - 1]))) --end;
            size_t start = end;
            while (start > at && (isalnum(static_cast<unsigned char>((*text)[start - 1])) || (*text)[start - 1] == '_')) --start;
            kernel.name = text->substr(start, end - start);
            if (kernel.name != bounds) break;
            size_t past = closed(*text, begin);
            std::string inner = text->substr(begin + 1, past - begin - 2);
            // The second number, blocks per multiprocessor, follows a comma that is not in parentheses.
            size_t comma = 0;
            for (int depth = 0; comma < inner.size() && (inner[comma] != ',' || depth > 0); ++comma)
                depth += (inner[comma] == '(') - (inner[comma] == ')');
            kernel.bounds = inner.substr(0, comma);
            for (size_t i = start; i < past; ++i)
                if ((*text)[i] != '\n') (*text)[i] = ' ';
            begin = text->find('(', past);
        }
        kernels.push_back(kernel);
    }
    return kernels;
}

// Cached images: one file each in a directory of the user, named by the hash of all inputs.
static std::string cached_path(uint64_t key) {
    const char* named = getenv("BITFIT_EMULATOR_CACHE");
    const char* base = getenv("TMPDIR");
    std::string directory =
        named && *named ? named
                        : std::string(base && *base ? base : "/tmp") + "/bitfit-emulator-cache-" + std::to_string(getuid());
    mkdir(directory.c_str(), 0700);
    char name[32];
    snprintf(name, sizeof name, "/%016llx", static_cast<unsigned long long>(key));
    return directory + name;
}

Compiled compile(const std::string& source, const std::string& name, const CompileOptions& options, std::string* log) {
    std::string definitions = " -D__CUDA_ARCH__=" + std::to_string(options.architecture * 10);
    for (const std::string& definition : options.definitions) definitions += " " + quoted(definition);
    std::string contract = options.fmad ? " -ffp-contract=fast" : " -ffp-contract=off";

    std::string path = cached_path(hash(source + '\0' + name + '\0' + definitions + contract, toolchain_hash()));
    Compiled compiled{read(path), options.real_architecture};
    if (!compiled.image.empty()) return compiled;

    Directory directory;
    auto in = [&](const char* file) { return directory.path + "/" + file; };
    auto run = [&](const std::string& command) {
        int status = system((command + " 2>" + quoted(in("log"))).c_str());
        *log += read(in("log"));
        return status == 0;
    };
    std::string numbered = "#line 1 \"" + name + "\"\n" + source;
    if (directory.path.empty() || !write(in("kernel.cu"), std::string("#line 1 \"prelude.h\"\n") + EMBEDDED_PRELUDE + numbered)) {
        *log += "bitfit emulator: no temporary file can be written\n";
        return compiled;
    }
    if (!run(std::string(compiler()) + " " + flags() + definitions + " -E -x c++ " + quoted(in("kernel.cu")) + " -o " +
             quoted(in("kernel.ii"))))
        return compiled;

    std::string text = read(in("kernel.ii"));
    std::vector<Kernel> kernels = find_kernels(&text);
    std::string table = "\nstatic const EmulatedKernel emulated_kernels[] = {\n";
    std::string names;
    for (const Kernel& kernel : kernels) names += (names.empty() ? "" : " ") + kernel.name;
    for (const Kernel& kernel : kernels) table += "EMULATED_KERNEL(" + kernel.name + ", (" + kernel.bounds + "))\n";
    table +=
        "{}};\nextern \"C\" __attribute__((visibility(\"default\"))) const EmulatedModule emulated_module = {EMULATED_ABI, " +
        std::to_string(options.architecture) + ", " + std::to_string(kernels.size()) + ", emulated_kernels, emulated_shared};\n";
    // Macros in `text` are already expanded, and its words must not be replaced again, so the epilogue defines the few
    // names that it needs itself.
    std::string epilogue =
        "\n#line 1 \"epilogue.h\"\n#define EMULATED_ABI " + std::to_string(EMULATED_ABI) + "\n" + EMBEDDED_EPILOGUE;
    if (!write(in("kernel.cu"), text + epilogue + table)) return compiled;
    if (!run(std::string(compiler()) + " " + flags() + contract + " -x c++ -shared " + quoted(in("kernel.cu")) + " -o " +
             quoted(in("kernel.so")) + " -lm"))
        return compiled;
    std::string library = read(in("kernel.so"));
    if (library.empty()) return compiled;
    compiled.image = image::encode(library, names);

    // Renamed when complete, because several processes may write it.
    std::string partial = path + "." + std::to_string(getpid());
    if (write(partial, compiled.image)) rename(partial.c_str(), path.c_str());
    return compiled;
}
