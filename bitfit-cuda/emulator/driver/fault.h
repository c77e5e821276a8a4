// Error messages for invalid accesses of a kernel.
#pragma once

// Installs the handler of invalid accesses, once. Faults that no kernel caused are passed to the previous handler.
void catch_faults();

// Allocates a signal stack for the calling OS thread, if it has none.
void prepare_thread_for_faults();
