//! The conformance checks of parameters on the tape.

use crate::{
    ArenaBuilder, Backend, HostTensor, Mask, Tape, Workspace,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["parameter":
        the_gradient_holds_the_entries_that_the_mask_chooses,
        a_partial_parameter_shows_what_the_arena_is_given,
    ]
}

const MASKS: fn() -> [Mask; 4] =
    || [Mask::All, Mask::Rows(vec![3, 0]), Mask::Columns(vec![5, 1, 2]), Mask::Elements(vec![27, 3, 4])];

fn the_gradient_holds_the_entries_that_the_mask_chooses<D: Backend>(device: &D) {
    for mask in MASKS() {
        let workspace = Workspace::new(device.clone());
        let mut builder = ArenaBuilder::new(device.clone());
        // Before the parameter in the arena, so that an offset that is not added is detected.
        builder.train("other", HostTensor::new([3], vec![9.0; 3]).unwrap(), Mask::All).unwrap();
        let values = random(1, 28);
        let param = builder.train("w", HostTensor::new([4, 7], values.clone()).unwrap(), mask.clone()).unwrap();
        let arena = builder.build().unwrap();
        let mut tape = Tape::train(&workspace, &arena, SEED);
        let y = tape.parameter(&param).unwrap();
        assert_eq!(y.tensor().shape(), [4, 7]);
        assert_eq!(elements(&y), values, "the whole tensor is there");
        let dy = random(2, 28);
        let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
        assert_eq!(gradient[..3], [0.0; 3]);
        let chosen: Vec<f32> = mask.indices(&[4, 7]).iter().map(|&at| dy[at as usize]).collect();
        assert_eq!(gradient[3..], chosen, "{mask:?}");
    }
}

fn a_partial_parameter_shows_what_the_arena_is_given<D: Backend>(device: &D) {
    for mask in MASKS() {
        let workspace = Workspace::new(device.clone());
        let mut builder = ArenaBuilder::new(device.clone());
        builder.train("other", HostTensor::new([3], vec![9.0; 3]).unwrap(), Mask::All).unwrap();
        let param = builder.train("w", HostTensor::new([4, 7], random(1, 28)).unwrap(), mask.clone()).unwrap();
        let mut arena = builder.build().unwrap();
        let values = random(3, arena.len());
        arena.write(&values).unwrap();
        let mut expected = random(1, 28);
        mask.indices(&[4, 7]).iter().zip(&values[3..]).for_each(|(&at, &value)| expected[at as usize] = value);
        let y = Tape::infer(&workspace, &arena).parameter(&param).unwrap();
        assert_eq!(elements(&y), expected, "{mask:?}");
        assert_eq!(arena.read().unwrap(), values);
    }
}
