//! The ops of [`bitfit_core::ops`] on the GPU, one folder each under core's name: `mod.rs` launches, `<op>.cu` computes.
//! What an op computes, what it keeps and why is said in core, once for all devices. Ops that core builds on other ops and on
//! the device's memory have no folder.

mod activation;
mod adamw;
mod add_norm;
mod arithmetic;
mod attention;
mod cross_entropy;
mod dropout;
mod embedding;
mod feed_forward;
mod gather;
mod linear;
mod matmul;
mod mse;
mod softmax;

use crate::{device::transfer, launch::Source, products, sums};

/// The sources of all kernels, for those who compile them without running any.
pub(crate) static SOURCES: &[&Source] = &[
    &transfer::SOURCE,
    &sums::SOURCE,
    &products::SOURCE,
    &activation::SOURCE,
    &adamw::SOURCE,
    &add_norm::SOURCE,
    &arithmetic::SOURCE,
    &attention::SOURCE,
    &attention::SINGLE,
    &attention::SHORT,
    &attention::MMA,
    &cross_entropy::SOURCE,
    &dropout::SOURCE,
    &embedding::SOURCE,
    &feed_forward::SOURCE,
    &gather::SOURCE,
    &linear::SOURCE,
    &mse::SOURCE,
    &softmax::SOURCE,
];
