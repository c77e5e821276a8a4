// Cases of the emulated NCCL: ranks that are threads, what they gather, and what is refused.

#include <thread>

#include "cases.h"

struct Id {
    char bytes[128];
};
typedef struct ncclComm* Communicator;

extern "C" {
int ncclGetUniqueId(Id*);
int ncclCommInitRank(Communicator*, int, Id, int);
int ncclCommDestroy(Communicator);
int ncclCommGetAsyncError(Communicator, int*);
int ncclAllGather(const void*, void*, size_t, int, Communicator, CUstream);
const char* ncclGetLastError(Communicator);
}

static constexpr int UINT32 = 3, SUCCESS = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE_ERROR = 6;

// Calls work(rank, communicator, stream) on a thread for each rank.
template <typename Work>
static void on_ranks(int size, Work work) {
    begin();
    Id id;
    SUCCEEDS(ncclGetUniqueId(&id));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank)
        threads.emplace_back([=] {
            begin();
            Communicator communicator;
            CUstream stream;
            SUCCEEDS(ncclCommInitRank(&communicator, size, id, rank));
            SUCCEEDS(cuStreamCreate(&stream, 1));
            work(rank, communicator, stream);
            SUCCEEDS(ncclCommDestroy(communicator));
        });
    for (std::thread& thread : threads) thread.join();
}

// The words of a rank in a round.
static std::vector<unsigned> message(int rank, unsigned round) { return {round, static_cast<unsigned>(rank), 7 * round}; }

void gathers_messages() {
    for (int size : {1, 2, 4})
        for (bool in_place : {false, true})
            on_ranks(size, [=](int rank, Communicator communicator, CUstream stream) {
                CUdeviceptr all = room(static_cast<size_t>(12 * size)), mine = in_place ? all + static_cast<size_t>(12 * rank) : room(12);
                for (unsigned round = 0; round < 20; ++round) {
                    std::vector<unsigned> words = message(rank, round), expected;
                    SUCCEEDS(cuMemcpyHtoDAsync_v2(mine, words.data(), 12, stream));
                    SUCCEEDS(ncclAllGather(reinterpret_cast<void*>(mine), reinterpret_cast<void*>(all), 3, UINT32, communicator, stream));
                    SUCCEEDS(cuStreamSynchronize(stream));
                    for (int other = 0; other < size; ++other)
                        for (unsigned word : message(other, round)) expected.push_back(word);
                    CHECK(download<unsigned>(all, expected.size()) == expected);
                }
            });
}

// BITFIT_EMULATOR_NCCL=ncclAllGather:1:3
void breaks_a_gathering() {
    on_ranks(3, [](int rank, Communicator communicator, CUstream stream) {
        CUdeviceptr mine = room(12), all = room(36);
        for (int round = 1; round <= 3; ++round) {
            int result = ncclAllGather(reinterpret_cast<void*>(mine), reinterpret_cast<void*>(all), 3, UINT32, communicator, stream), state;
            bool is_last = round == 3;
            CHECK(result == (is_last && rank == 1 ? SYSTEM_ERROR : SUCCESS));
            SUCCEEDS(ncclCommGetAsyncError(communicator, &state));
            CHECK(state == (is_last && rank != 1 ? REMOTE_ERROR : SUCCESS));
            if (result != SUCCESS) CHECK(strstr(ncclGetLastError(communicator), "ncclAllGather of rank 1 has to fail"));
        }
    });
}

void refuses_gatherings() {
    on_ranks(1, [](int, Communicator communicator, CUstream stream) {
        CUdeviceptr all = room(32);
        auto gather = [&](CUdeviceptr from, CUdeviceptr to, size_t count, int type) {
            return ncclAllGather(reinterpret_cast<void*>(from), reinterpret_cast<void*>(to), count, type, communicator, stream);
        };
        CHECK(gather(all, all, 8, UINT32) == SUCCESS);
        CHECK(gather(all, all, 9, UINT32) == INVALID_ARGUMENT);
        CHECK(gather(all, all + 4, 4, UINT32) == INVALID_USAGE);
        CHECK(gather(all, all, 8, 0) == INVALID_ARGUMENT);
    });
    // No rank can know which of them is wrong.
    on_ranks(2, [](int rank, Communicator communicator, CUstream stream) {
        CUdeviceptr mine = room(8), all = room(16);
        int result = ncclAllGather(reinterpret_cast<void*>(mine), reinterpret_cast<void*>(all), rank ? 1 : 2, UINT32, communicator, stream);
        CHECK(result == INVALID_USAGE);
    });
}
