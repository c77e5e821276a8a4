//! The value, the gradient under each mask, and that a parameter in inference is a constant.

use super::*;
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, ops::testing::*};

#[test]
fn the_gradient_holds_the_entries_that_the_mask_chooses() {
    for mask in [Mask::Whole, Mask::Rows(vec![3, 0]), Mask::Columns(vec![5, 1, 2]), Mask::Elements(vec![27, 3, 4])] {
        let workspace = Workspace::new(Cpu::default());
        let mut builder = ArenaBuilder::new(Cpu::default());
        // In front of the parameter, so that an offset that is not added shows.
        builder.train("other", HostTensor::new([3], vec![9.0; 3]).unwrap(), Mask::Whole).unwrap();
        let values = random(1, 28);
        let param = builder.train("w", HostTensor::new([4, 7], values.clone()).unwrap(), mask.clone()).unwrap();
        let arena = builder.build().unwrap();
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
        let y = tape.parameter(&param).unwrap();
        assert_eq!(y.tensor().shape(), [4, 7]);
        assert_eq!(y.tensor().to_array().unwrap().as_slice().unwrap(), values, "the whole tensor is there");
        let dy = random(2, 28);
        let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
        assert_eq!(gradient[..3], [0.0; 3]);
        let chosen: Vec<f32> = mask.indices(&[4, 7]).iter().map(|&at| dy[at as usize]).collect();
        assert_eq!(gradient[3..], chosen, "{mask:?}");
    }
}

#[test]
fn a_vector_is_one_row_and_higher_dimensions_are_flattened() {
    for (shape, expected) in [(vec![6], [1, 6]), (vec![2, 3], [2, 3]), (vec![3, 2, 1], [3, 2])] {
        let workspace = Workspace::new(Cpu::default());
        let mut builder = ArenaBuilder::new(Cpu::default());
        let param = builder.train("w", HostTensor::new(shape, vec![1.0; 6]).unwrap(), Mask::Whole).unwrap();
        let arena = builder.build().unwrap();
        let mut tape = Tape::infer(&workspace, &arena);
        let y = tape.parameter(&param).unwrap();
        assert_eq!(y.tensor().shape(), expected);
        assert!(y.slot().is_none() && tape.recorded() == 0, "a constant in inference");
    }
}
