//! The conformance tests on the CPU, shapes, and that a parameter in inference is a constant.

use super::*;
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Workspace, backend::conformance::support::*};

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn a_vector_is_one_row_and_higher_dimensions_are_flattened() {
    for (shape, expected) in [(vec![6], [1, 6]), (vec![2, 3], [2, 3]), (vec![3, 2, 1], [3, 2])] {
        let workspace = Workspace::new(Cpu::default());
        let mut builder = ArenaBuilder::new(Cpu::default());
        let param = builder.train("w", HostTensor::new(shape, vec![1.0; 6]).unwrap(), Mask::All).unwrap();
        let arena = builder.build().unwrap();
        let mut tape = Tape::infer(&workspace, &arena);
        let y = tape.parameter(&param).unwrap();
        assert_eq!(y.tensor().shape(), expected);
        assert!(y.slot().is_none() && tape.recorded() == 0, "a constant in inference");
    }
}
