// What is said when a kernel touches what is not there.
#pragma once

// Takes over the signals of bad accesses, once. Faults that no kernel caused go to whoever had the signals before.
void catch_faults();

// Gives the calling OS thread a stack for the handler, if it has none.
void prepare_thread_for_faults();
