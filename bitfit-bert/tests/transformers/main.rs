//! Models against transformers: the goldens of `tests/goldens`, and thirty steps of MiniLM. One binary, because each
//! instantiates every op for the CPU and for a GPU.

#[path = "../common/mod.rs"]
mod common;
mod encoders;
mod full;
mod goldens;
mod masked_lm;
mod multi_label;
mod trajectories;
