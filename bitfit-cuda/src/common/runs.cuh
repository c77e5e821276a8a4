// Runs: ranges of elements that are processed as if they were contiguous.

// Runs are ranges of elements that are processed as if they were contiguous, such as the parts of a bias. A launch has
// up to four (as `RUNS` of launch.rs); unused ones are empty. A run starts at a pointer or an index.
#define RUNS 4

template <class At>
struct Runs {
    At first[RUNS];
    u64 len[RUNS];
};

// The position of an element of the runs, and the number of elements from it to the end of its run.
template <class At>
struct Place {
    At at;
    u64 rest;
};

template <class At>
__device__ __forceinline__ Place<At> place_of(const Runs<At>& runs, u64 element) {
    Place<At> place = {};
    u64 begin = 0;
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) {
        // Below `begin`, the difference is greater than any length.
        u64 inside = element - begin;
        if (inside < runs.len[run]) place = Place<At>{runs.first[run] + inside, runs.len[run] - inside};
        begin += runs.len[run];
    }
    return place;
}
