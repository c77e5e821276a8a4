// NCCL's API (nccl.h of NCCL 2.28), as far as gathering messages needs it. The ranks are threads or processes of one
// machine, all on the emulated device, and meet in a file that each maps.
//
// A gathering waits for the stream and for all ranks in its call, where the library would queue it and return. What the
// library would not find out, but hang or write elsewhere, is refused with a line on stderr; see the README.

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "../driver/bridge.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

extern "C" unsigned cuCtxGetCurrent(void**);
extern "C" unsigned cuStreamSynchronize(void*);

enum ncclResult_t : int {
    ncclSuccess = 0,
    ncclUnhandledCudaError = 1,
    ncclSystemError = 2,
    ncclInternalError = 3,
    ncclInvalidArgument = 4,
    ncclInvalidUsage = 5,
    ncclRemoteError = 6,
};

enum ncclDataType_t : int { ncclInt32 = 2, ncclUint32 = 3, ncclFloat32 = 7 };

struct ncclUniqueId {
    char internal[128];
};

static constexpr int MOST_RANKS = 16;
// The bytes of a file for what ranks have in common, and for the message of each. Most of them are never written.
static constexpr size_t COMMON = 4096, MESSAGE = size_t{256} << 20, FILE_BYTES = COMMON + MOST_RANKS * MESSAGE;

// What the ranks of a communicator have in common, at the beginning of their file.
struct Common {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    // 0 until the first rank joins.
    int size;
    // How many have come, and how many of them without an error.
    int come, joined;
    // Whether a rank has failed or left.
    bool broken;
    // The gathering under way: whose message is there, how many are, and how many ranks have read all of them.
    bool is_there[MOST_RANKS];
    size_t bytes[MOST_RANKS];
    int arrived, read;

    char* message(int rank) { return reinterpret_cast<char*>(this) + COMMON + static_cast<size_t>(rank) * MESSAGE; }
    void change() { pthread_cond_broadcast(&changed); }
    void fail() {
        broken = true;
        change();
    }
};
static_assert(sizeof(Common) <= COMMON);

// Holds what ranks have in common.
class Lock {
    Common& common;

public:
    explicit Lock(Common& common) : common(common) { pthread_mutex_lock(&common.mutex); }
    ~Lock() { pthread_mutex_unlock(&common.mutex); }
    Lock(const Lock&) = delete;

    template <typename Condition>
    void wait(Condition is_over) {
        while (!is_over()) pthread_cond_wait(&common.changed, &common.mutex);
    }
};

struct ncclComm {
    Common* common;
    int rank;
    // What has become of the gatherings that were called.
    ncclResult_t state = ncclSuccess;
};
typedef ncclComm* ncclComm_t;

static thread_local std::string last_error;

// Stores the reason for an error, prints it, and returns the error.
__attribute__((format(printf, 2, 3))) static ncclResult_t fail(ncclResult_t error, const char* format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "bitfit emulator: %s\n", line);
    last_error = line;
    return error;
}

static void refuse(const char* value) {
    fprintf(stderr, "bitfit emulator: BITFIT_EMULATOR_NCCL=%s is not understood; it takes CALL:RANK:NUMBER\n", value);
    abort();
}

// The call that has to fail, from BITFIT_EMULATOR_NCCL.
struct Failure {
    std::string call;
    int rank = -1;
    long number = 0;

    Failure() {
        const char* value = getenv("BITFIT_EMULATOR_NCCL");
        if (!value || !*value) return;
        char name[64];
        int end = 0;
        if (sscanf(value, "%63[A-Za-z]:%d:%ld%n", name, &rank, &number, &end) != 3 || value[end] || rank < 0 || number < 1)
            refuse(value);
        call = name;
        if (call != "ncclGetUniqueId" && call != "ncclCommInitRank" && call != "ncclAllGather") refuse(value);
    }
};

// Whether this call has to fail: the NUMBERth of its name by a rank, counted from 1.
static bool must_fail(const char* call, int rank) {
    static Failure failure;
    static std::mutex mutex;
    std::lock_guard lock(mutex);
    return failure.call == call && failure.rank == rank && --failure.number == 0;
}

static bool has_context() {
    void* context = nullptr;
    return cuCtxGetCurrent(&context) == 0 && context;
}

#define NEEDS_CONTEXT()                                                                              \
    if (!has_context()) return fail(ncclUnhandledCudaError, "%s without a current context", __func__)
#define FAILS_IF_IT_MUST(rank) \
    if (must_fail(__func__, rank)) return fail(ncclSystemError, "%s of rank %d has to fail", __func__, rank)

EXPORT ncclResult_t ncclGetVersion(int* version) {
    if (!version) return ncclInvalidArgument;
    *version = 22899;  // a patch level that no real NCCL has
    return ncclSuccess;
}

EXPORT const char* ncclGetErrorString(ncclResult_t result) {
    switch (result) {
        case ncclSuccess: return "no error";
        case ncclUnhandledCudaError: return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
        case ncclSystemError: return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
        case ncclInternalError: return "internal error";
        case ncclInvalidArgument: return "invalid argument (run with NCCL_DEBUG=WARN for details)";
        case ncclInvalidUsage: return "invalid usage (run with NCCL_DEBUG=WARN for details)";
        case ncclRemoteError: return "remote process exited or there was a network error";
    }
    return "unknown result code";
}

EXPORT const char* ncclGetLastError(ncclComm_t) { return last_error.c_str(); }

// Communicators.

static Common* map(int file) {
    void* at = mmap(nullptr, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    close(file);
    return at == MAP_FAILED ? nullptr : static_cast<Common*>(at);
}

// An id is the path of a file, then bytes that have to arrive too.
static constexpr char FILL = '\xa5';

EXPORT ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    if (!id) return ncclInvalidArgument;
    FAILS_IF_IT_MUST(0);
    memset(id->internal, FILL, sizeof id->internal);
    const char* directory = getenv("TMPDIR");
    std::string path = std::string(directory && *directory ? directory : "/tmp") + "/bitfit-emulated-nccl-XXXXXX";
    if (path.size() + 2 > sizeof id->internal) return fail(ncclSystemError, "%s is too long for an id", path.c_str());
    memcpy(id->internal, path.c_str(), path.size() + 1);
    int file = mkstemp(id->internal);
    if (file < 0 || ftruncate(file, FILE_BYTES) != 0) return fail(ncclSystemError, "no file %s", path.c_str());
    Common* common = map(file);
    if (!common) return fail(ncclSystemError, "%s cannot be mapped", id->internal);
    pthread_mutexattr_t mutex;
    pthread_mutexattr_init(&mutex);
    pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&common->mutex, &mutex);
    pthread_condattr_t condition;
    pthread_condattr_init(&condition);
    pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&common->changed, &condition);
    munmap(common, FILE_BYTES);
    return ncclSuccess;
}

EXPORT ncclResult_t ncclCommInitRank(ncclComm_t* communicator, int size, ncclUniqueId id, int rank) {
    if (!communicator || size < 1 || size > MOST_RANKS || rank < 0 || rank >= size)
        return fail(ncclInvalidArgument, "ncclCommInitRank of rank %d of %d", rank, size);
    NEEDS_CONTEXT();
    if (id.internal[sizeof id.internal - 1] != FILL || !memchr(id.internal, 0, sizeof id.internal))
        return fail(ncclInvalidArgument, "ncclCommInitRank with an id that ncclGetUniqueId did not make");
    int file = open(id.internal, O_RDWR);
    Common* common = file < 0 ? nullptr : map(file);
    if (!common) return fail(ncclInvalidArgument, "ncclCommInitRank with the id %s, which is not there", id.internal);
    ncclResult_t result = ncclSuccess;
    {
        Lock lock(*common);
        if (common->size == 0) common->size = size;
        // All that come have the file open.
        if (++common->come == size) unlink(id.internal);
        if (must_fail(__func__, rank)) {
            common->fail();
            result = fail(ncclSystemError, "%s of rank %d has to fail", __func__, rank);
        } else if (common->size != size) {
            common->fail();
            result = fail(ncclInvalidUsage, "ncclCommInitRank of %d ranks and of %d", size, common->size);
        } else {
            ++common->joined;
            common->change();
            lock.wait([&] { return common->joined == size || common->broken; });
            if (common->joined < size) result = ncclRemoteError;
        }
    }
    if (result == ncclSuccess) *communicator = new ncclComm{common, rank};
    else munmap(common, FILE_BYTES);
    return result;
}

// Others that wait for this rank, or will, do so in vain. The library lets each rank of a machine wait for the others
// here; a rank that does not come would be waited for forever.
static ncclResult_t leave(ncclComm_t communicator) {
    if (!communicator) return ncclInvalidArgument;
    {
        Lock lock(*communicator->common);
        communicator->common->fail();
    }
    munmap(communicator->common, FILE_BYTES);
    delete communicator;
    return ncclSuccess;
}

EXPORT ncclResult_t ncclCommDestroy(ncclComm_t communicator) { return leave(communicator); }
EXPORT ncclResult_t ncclCommAbort(ncclComm_t communicator) { return leave(communicator); }

EXPORT ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* error) {
    if (!communicator || !error) return ncclInvalidArgument;
    *error = communicator->state;
    return ncclSuccess;
}

// Gathering.

// Whether all of the bytes are in one allocation of the device.
static bool is_allocated(const void* address, size_t bytes) {
    bitfit_emulator_lock();
    const void* base;
    size_t size;
    bool found = bitfit_emulator_find(address, &base, &size);
    bitfit_emulator_unlock();
    if (!found) return false;
    size_t before = static_cast<size_t>(static_cast<const char*>(address) - static_cast<const char*>(base));
    return before + bytes <= size;
}

// What a rank gathered, for its device.
struct Gathered {
    std::vector<char> bytes;
    void* to;
};

static void write_all(void* data) {
    const auto& gathered = *static_cast<Gathered*>(data);
    memcpy(gathered.to, gathered.bytes.data(), gathered.bytes.size());
}

static void forget(void* data) { delete static_cast<Gathered*>(data); }

EXPORT ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t communicator,
                                  void* stream) {
    if (!communicator) return ncclInvalidArgument;
    NEEDS_CONTEXT();
    if (type != ncclInt32 && type != ncclUint32 && type != ncclFloat32)
        return fail(ncclInvalidArgument, "ncclAllGather of type %d, which is not emulated", type);
    Common& common = *communicator->common;
    int rank = communicator->rank;
    size_t bytes = 4 * count, all = bytes * static_cast<size_t>(common.size);
    const char *from = static_cast<const char*>(send), *to = static_cast<char*>(receive);
    if (bytes > MESSAGE || !is_allocated(send, bytes) || !is_allocated(receive, all))
        return fail(ncclInvalidArgument, "ncclAllGather of %zu bytes by rank %d leaves an allocation", bytes, rank);
    if (from < to + all && to < from + bytes && from != to + static_cast<size_t>(rank) * bytes)
        return fail(ncclInvalidUsage, "ncclAllGather of rank %d sends from another place of what it receives", rank);
    if (cuStreamSynchronize(stream) != 0) return ncclUnhandledCudaError;

    auto* gathered = new Gathered{{}, receive};
    {
        Lock lock(common);
        if (must_fail(__func__, rank)) {
            common.fail();
            delete gathered;
            return fail(ncclSystemError, "%s of rank %d has to fail", __func__, rank);
        }
        bool is_complete = false;
        // This rank may be back before the others have read its last message.
        lock.wait([&] { return !common.is_there[rank] || common.broken; });
        if (!common.is_there[rank]) {
            memcpy(common.message(rank), send, bytes);
            common.bytes[rank] = bytes;
            common.is_there[rank] = true;
            ++common.arrived;
            common.change();
            lock.wait([&] { return common.arrived == common.size || common.broken; });
            is_complete = common.arrived == common.size;
        }
        if (!is_complete) {
            // The library's call would have returned long ago.
            communicator->state = ncclRemoteError;
            delete gathered;
            return ncclSuccess;
        }
        for (int other = 0; other < common.size; ++other) {
            if (common.bytes[other] != bytes) {
                common.fail();
                delete gathered;
                return fail(ncclInvalidUsage, "ncclAllGather of %zu bytes by one rank and of %zu by another", bytes,
                            common.bytes[other]);
            }
            gathered->bytes.insert(gathered->bytes.end(), common.message(other), common.message(other) + bytes);
        }
        if (++common.read == common.size) {
            common.read = common.arrived = 0;
            memset(common.is_there, 0, sizeof common.is_there);
            common.change();
        }
    }
    bitfit_emulator_lock();
    bitfit_emulator_submit(stream, write_all, forget, gathered);
    bitfit_emulator_unlock();
    return ncclSuccess;
}
