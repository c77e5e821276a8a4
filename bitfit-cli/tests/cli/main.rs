//! The binary from outside: what it prints, what it writes, how it ends. Each test makes its own tiny model and data.

mod eval;
#[cfg(unix)]
mod faults;
mod finetune;
mod fixture;
mod help;
#[cfg(unix)]
mod interrupt;
mod output;
mod predict;
mod refusals;
mod terminal;
