//! Models against transformers: the goldens of `tests/goldens`, and thirty steps of MiniLM. One binary, because each
//! instantiates every op for the CPU and for a GPU.

/// The tests in f32 of the cases that `$cases` makes for a device: on every instruction set of this CPU, and on a GPU
/// where there is one.
macro_rules! tests_in_f32 {
    ($cases:ident) => {
        #[test]
        fn logits_are_those_of_transformers() {
            crate::common::cpus(bitfit_core::Precision::F32)
                .for_each(|cpu| $cases(&cpu).for_each(|case| case.check_logits()));
        }

        #[test]
        fn loss_and_every_gradient_are_those_of_transformers() {
            crate::common::cpus(bitfit_core::Precision::F32)
                .for_each(|cpu| $cases(&cpu).for_each(|case| case.check_gradients()));
        }

        #[test]
        fn ten_adamw_steps_are_those_of_transformers() {
            crate::common::cpus(bitfit_core::Precision::F32)
                .for_each(|cpu| $cases(&cpu).for_each(crate::common::case::Case::check_adamw));
        }

        #[test]
        fn on_a_gpu_logits_gradients_and_adamw_steps_are_those_of_transformers() {
            if let Some(gpu) = crate::common::gpu(bitfit_core::Precision::F32) {
                $cases(&gpu).for_each(crate::common::case::Case::check);
            }
        }
    };
}

#[path = "../common/mod.rs"]
mod common;
mod encoders;
mod full;
mod goldens;
mod masked_lm;
mod multi_label;
mod padding;
mod parts;
mod trajectories;
