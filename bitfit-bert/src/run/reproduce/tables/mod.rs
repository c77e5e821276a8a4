//! A file for each table of the paper: what it is made of, and how it is shown.

pub(super) mod bias_change;
mod curves;
pub(super) mod generalization_gap;
pub(super) mod glue;
pub(super) mod random;
mod scores;
pub(super) mod squad_size;
pub(super) mod subsets;
pub(super) mod tagging;
