//! Placeholder while the ops are compiled.
