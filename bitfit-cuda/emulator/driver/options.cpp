// Reads the environment. An invalid value ends the program, because a check that is silently skipped is worthless.

#include "options.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

static void refuse(const char* name, const std::string& value, const char* wanted) {
    fprintf(stderr, "bitfit emulator: %s=%s is not understood; it takes %s\n", name, value.c_str(), wanted);
    abort();
}

static uint64_t number(const char* name, uint64_t otherwise) {
    const char* text = getenv(name);
    if (!text || !*text) return otherwise;
    char* end;
    uint64_t value = strtoull(text, &end, 10);
    if (*end) refuse(name, text, "a number");
    return value;
}

static Options read() {
    Options options{};
    options.architecture = static_cast<unsigned>(number("BITFIT_EMULATOR_ARCH", 90));
    unsigned cores = std::thread::hardware_concurrency();
    options.threads = static_cast<unsigned>(number("BITFIT_EMULATOR_THREADS", cores < 1 ? 1 : cores > 4 ? 4 : cores));
    if (options.threads < 1 || options.threads > 64)
        refuse("BITFIT_EMULATOR_THREADS", std::to_string(options.threads), "1 to 64");
    options.memory = number("BITFIT_EMULATOR_MEMORY", uint64_t{8} << 30);
    options.trace = number("BITFIT_EMULATOR_TRACE", 0) != 0;

    const char* order = getenv("BITFIT_EMULATOR_ORDER");
    std::string name = order ? order : "";
    if (name.empty() || name == "forward") options.order = Order::Forward;
    else if (name == "reverse") options.order = Order::Reverse;
    else if (name.rfind("shuffle:", 0) == 0 && name.size() > 8 && name.find_first_not_of("0123456789", 8) == std::string::npos) {
        options.order = Order::Shuffle;
        options.seed = strtoull(name.c_str() + 8, nullptr, 10);
    } else refuse("BITFIT_EMULATOR_ORDER", name, "forward, reverse or shuffle:SEED");

    const char* check = getenv("BITFIT_EMULATOR_CHECK");
    std::string checks = check ? check : "";
    for (size_t at = 0; at < checks.size();) {
        size_t end = checks.find(',', at);
        if (end == std::string::npos) end = checks.size();
        std::string one = checks.substr(at, end - at);
        if (one == "races") options.races = true;
        else if (one == "lazy") options.lazy = true;
        else if (one != "ulps")
            refuse("BITFIT_EMULATOR_CHECK", one, "a list of races, lazy and ulps");  // the compiler handles ulps
        at = end + 1;
    }

    const char* refusal = getenv("BITFIT_EMULATOR_CUBLASLT");
    std::string wanted = refusal ? refusal : "";
    if (wanted == "refuses") options.refusal = Refusal::Heuristic;
    else if (wanted == "refuses-late") options.refusal = Refusal::Product;
    else if (wanted == "refuses-borrowed") options.refusal = Refusal::Borrowed;
    else if (!wanted.empty()) refuse("BITFIT_EMULATOR_CUBLASLT", wanted, "refuses, refuses-late or refuses-borrowed");

    const char* graphs = getenv("BITFIT_EMULATOR_GRAPHS");
    options.no_graphs = graphs && *graphs;
    if (options.no_graphs && graphs != std::string("refuses")) refuse("BITFIT_EMULATOR_GRAPHS", graphs, "refuses");
    return options;
}

const Options& options() {
    static const Options values = read();
    return values;
}
