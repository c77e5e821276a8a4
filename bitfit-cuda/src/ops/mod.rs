//! The ops of [`bitfit_core::ops`] on the GPU, one folder each with the same name: `mod.rs` launches the kernels of
//! `<op>.cu`. The definitions of the ops are in `bitfit_core`. Ops that need no kernel of their own have no folder.

mod activation;
mod adamw;
mod add_norm;
mod arithmetic;
mod attention;
mod binary_cross_entropy;
mod cross_entropy;
mod dropout;
mod embedding;
mod feed_forward;
mod gather;
mod linear;
mod matmul;
mod mse;
mod normalize;
mod pair_features;
mod sequence_cross_entropy;
mod sequence_mean;
mod sgd;
mod softmax;
mod sum;
mod weighted_cross_entropy;

use crate::{device::transfer, launch::Source, products, sums};

/// The sources of all kernels.
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
    &attention::BIAS,
    &attention::SHORT,
    &attention::MMA,
    &binary_cross_entropy::SOURCE,
    &cross_entropy::SOURCE,
    &dropout::SOURCE,
    &embedding::SOURCE,
    &feed_forward::SOURCE,
    &gather::SOURCE,
    &linear::SOURCE,
    &mse::SOURCE,
    &normalize::SOURCE,
    &pair_features::SOURCE,
    &sequence_cross_entropy::SOURCE,
    &sequence_mean::SOURCE,
    &sgd::SOURCE,
    &softmax::SOURCE,
    &sum::SOURCE,
    &weighted_cross_entropy::SOURCE,
];
