// The self-test's cases.
#pragma once

#include "check.h"

struct Case {
    const char* name;
    void (*run)();
    const char* environment;
    // The expected message of a process that must fail; empty if it must succeed.
    const char* caught;
};

// kernels.cpp
void adds_vectors();
void sums_a_block();
void shuffles();
void multiplies_by_mma();
void uses_dynamic_shared_memory();
void is_off_by_ulps();
void finds_kernels_of_macros();
void reports_compile_errors();
void waits();
void waits_for_events();
void launches_graphs();
// products.cpp
void multiplies_matrices();
void multiplies_narrow_matrices();
void refuses_products();
void has_no_algorithm();
// gathers.cpp
void gathers_messages();
void breaks_a_gathering();
void refuses_gatherings();
// faults.cpp
void refuses_copies();
void refuses_pointers();
void frees_pinned_memory_too_early();
void writes_pinned_memory_too_early();
void writes_pageable_memory_too_early();
void writes_past_the_end();
void reads_before_the_beginning();
void writes_past_an_odd_end();
void writes_just_before_the_beginning();
void uses_freed_memory();
void leaves_a_shared_array();
void reads_a_vector_between_two();
void leaves_dynamic_shared_memory();
void ends_before_a_barrier();
void misses_a_shuffle();
void mixes_shuffles();
void races_between_warps();
void races_between_lanes();
void races_between_blocks();
void overflows_the_stack();
