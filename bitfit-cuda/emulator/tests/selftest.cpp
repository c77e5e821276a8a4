// The emulator's own tests: what it must compute correctly, and which errors it must detect.
//
// Each case runs in a separate process, because most detected errors end the process.

#include "cases.h"

#include <sys/wait.h>

static const Case CASES[] = {
    {"a vector is added to another, block by block", adds_vectors, "", ""},
    {"in reverse order too", adds_vectors, "BITFIT_EMULATOR_ORDER=reverse", ""},
    {"in shuffled order too", adds_vectors, "BITFIT_EMULATOR_ORDER=shuffle:7", ""},
    {"a block's sum goes through shared memory", sums_a_block, "", ""},
    {"a block's sum does not depend on the order", sums_a_block, "BITFIT_EMULATOR_ORDER=shuffle:3", ""},
    {"a block's sum is no race", sums_a_block, "BITFIT_EMULATOR_CHECK=races", ""},
    {"shuffles move what PTX says they move", shuffles, "", ""},
    {"shuffles in reverse order", shuffles, "BITFIT_EMULATOR_ORDER=reverse", ""},
    {"mma multiplies as a plain loop does", multiplies_by_mma, "", ""},
    {"mma in shuffled order", multiplies_by_mma, "BITFIT_EMULATOR_ORDER=shuffle:1", ""},
    {"dynamic shared memory has the size of the launch", uses_dynamic_shared_memory, "", ""},
    {"functions are off by what CUDA's may be", is_off_by_ulps, "BITFIT_EMULATOR_CHECK=ulps", ""},
    {"kernels made by macros are found, with their launch bounds", finds_kernels_of_macros, "", ""},
    {"a fault of the source is in the log, with its line", reports_compile_errors, "", ""},
    {"what is launched late is done when the host waits", waits, "BITFIT_EMULATOR_CHECK=lazy", ""},
    {"an event is waited for as far as it was recorded", waits_for_events, "BITFIT_EMULATOR_CHECK=lazy", ""},
    {"a graph does what was captured, each time it is launched", launches_graphs, "", ""},
    {"a graph that is destroyed early is executed late", launches_graphs, "BITFIT_EMULATOR_CHECK=lazy", ""},
    {"products of all layouts agree with a plain loop", multiplies_matrices, "", ""},
    {"products in bfloat16 and TF32 round as the device does", multiplies_narrow_matrices, "", ""},
    {"a product that cuBLASLt does not know is refused", refuses_products, "", ""},
    {"any product is refused if it is to be", has_no_algorithm, "BITFIT_EMULATOR_CUBLASLT=refuses", ""},
    {"ranks gather messages in their order", gathers_messages, "", ""},
    {"ranks that wait late gather the same", gathers_messages, "BITFIT_EMULATOR_CHECK=lazy", ""},
    {"a rank that has to fail does, and the others see it", breaks_a_gathering, "BITFIT_EMULATOR_NCCL=ncclAllGather:1:3", ""},
    {"a gathering that would hang or leave its memory is refused", refuses_gatherings, "", ""},
    {"a copy past an allocation is refused", refuses_copies, "", ""},
    {"arguments in the wrong order are refused", refuses_pointers, "", ""},

    {"pinned memory that is freed under a copy", frees_pinned_memory_too_early, "BITFIT_EMULATOR_CHECK=lazy",
     "cuMemFreeHost of 64 bytes that a pending copy still uses"},
    {"pinned memory that is written under a copy", writes_pinned_memory_too_early, "BITFIT_EMULATOR_CHECK=lazy",
     "pinned memory was written while a copy of 16 bytes from it was pending"},
    {"pageable memory that is written before the device is waited for", writes_pageable_memory_too_early,
     "BITFIT_EMULATOR_CHECK=lazy", "pageable memory was written while a copy of 16 bytes from it was pending"},
    {"a write past an allocation", writes_past_the_end, "",
     "kernel kernel, block (0, 0, 0), thread (16, 0, 0): a write to 0 bytes past the end of an allocation of 64 bytes"},
    {"a read before an allocation", reads_before_the_beginning, "",
     "kernel kernel, block (0, 0, 0), thread (0, 0, 0): a read of 4160 bytes before an allocation of 64 bytes"},
    {"a write into the last bytes up to 16", writes_past_an_odd_end, "",
     "kernel kernel wrote just outside of an allocation of 20 bytes"},
    {"a write just before an allocation", writes_just_before_the_beginning, "",
     "kernel kernel wrote just outside of an allocation of 64 bytes"},
    {"a use of freed memory", uses_freed_memory, "", "a write to byte 0 of an allocation of 64 bytes that was freed"},
    {"an index beyond a shared array", leaves_a_shared_array, "", "an index beyond its array"},
    {"a vector at an address that is no multiple of its size", reads_a_vector_between_two, "", "an address that is no multiple"},
    {"an access beyond dynamic shared memory", leaves_dynamic_shared_memory, "", "past the end of dynamic shared memory"},
    {"a thread that ends before a barrier", ends_before_a_barrier, "",
     "32 threads of the block ended while 32 wait at __syncthreads"},
    {"a lane that is missing from a shuffle", misses_a_shuffle, "",
     "31 lanes of the warp wait in __shfl_xor_sync for the others, of which 0 wait at __syncthreads and 1 have ended"},
    {"lanes of a warp in different shuffles", mixes_shuffles, "",
     "a lane calls __syncwarp while others of its warp wait in __shfl_xor_sync"},
    {"a race between warps", races_between_warps, "BITFIT_EMULATOR_CHECK=races", "kernel kernel is a race"},
    {"a race between lanes", races_between_lanes, "BITFIT_EMULATOR_CHECK=races", "kernel kernel is a race"},
    {"a race between blocks", races_between_blocks, "BITFIT_EMULATOR_CHECK=races", "kernel kernel is a race"},
    {"a variable that is too large for a stack", overflows_the_stack, "", "need more than its stack"},
    {"a failure that is not understood", gathers_messages, "BITFIT_EMULATOR_NCCL=ncclAllGather:one",
     "BITFIT_EMULATOR_NCCL=ncclAllGather:one is not understood"},
    {"an order that is not understood", adds_vectors, "BITFIT_EMULATOR_ORDER=sideways",
     "BITFIT_EMULATOR_ORDER=sideways is not understood"},
};

// Runs one case in a separate process; false if the result is not as expected.
static bool passes(const char* self, const Case& one) {
    std::string command = std::string("env ") + one.environment + " '" + self + "' " + std::to_string(&one - CASES) + " 2>&1",
                output;
    FILE* pipe = popen(command.c_str(), "r");
    CHECK(pipe);
    char piece[4096];
    for (size_t count; (count = fread(piece, 1, sizeof piece, pipe)) > 0;) output.append(piece, count);
    int status = pclose(pipe);
    bool ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    bool passed = *one.caught ? !ended_well && output.find(one.caught) != std::string::npos : ended_well;
    printf("%s %s%s\n", passed ? "ok    " : "FAILED", *one.caught ? "caught: " : "", one.name);
    if (!passed) printf("%s%s%s", *one.caught ? "        wanted: " : "", one.caught, ("\n" + output + "\n").c_str());
    return passed;
}

int main(int count, char** arguments) {
    if (count > 1) {
        size_t index = strtoul(arguments[1], nullptr, 10);
        CHECK(index < std::size(CASES));
        begin();
        CASES[index].run();
        return 0;
    }
    unsigned failed = 0;
    for (const Case& one : CASES) failed += !passes(arguments[0], one);
    printf("%zu cases, %u failed\n", std::size(CASES), failed);
    return failed > 0;
}
