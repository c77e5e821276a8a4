//! The ops of [`bitfit_core::ops`] on the GPU, one folder each under core's name: `mod.rs` launches, `<op>.cu` computes.
//! What an op computes, what it keeps and why is said in core, once for all devices.

use crate::{device::transfer, launch::Source};

/// The sources of all kernels, for those who compile them without running any.
pub(crate) static SOURCES: [&Source; 1] = [&transfer::SOURCE];
