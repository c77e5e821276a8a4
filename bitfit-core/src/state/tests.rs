//! What is loaded, in which order, and what is refused.

use super::*;
use crate::{
    ArenaBuilder, Cpu, Gradient, HostTensor,
    backend::conformance::support::random,
    optim::{AdamW, ArenaOptimizer, ArenaSgd, Optimizer, Sgd},
};

/// An arena of these parameters, each by name, shape and mask, with values of its own.
fn arena(seed: u64, parameters: &[(&str, &[usize], Mask)]) -> Arena<Cpu> {
    let mut builder = ArenaBuilder::new(Cpu::default());
    for (name, shape, mask) in parameters {
        let values = random(seed + name.len() as u64, shape.iter().product());
        builder.train(*name, HostTensor::new(*shape, values).unwrap(), mask.clone()).unwrap();
    }
    builder.build().unwrap()
}

fn parameters() -> [(&'static str, &'static [usize], Mask); 5] {
    [
        ("layer.0 with spaces", &[3], Mask::All),
        ("rows", &[4, 2], Mask::Rows(vec![2, 0])),
        ("columns", &[4, 3], Mask::Columns(vec![1])),
        ("elements", &[2, 2, 2], Mask::Elements(vec![7, 0, 3])),
        ("scalar", &[], Mask::All),
    ]
}

fn gradient(arena: &Arena<Cpu>) -> Gradient<Cpu> {
    let mut gradient = arena.gradient().unwrap();
    arena.device().write(&random(9, arena.len()), gradient.slice_mut()).unwrap();
    gradient
}

#[test]
fn a_state_is_loaded_by_name_whatever_the_order() {
    let mut first = arena(1, &parameters());
    let mut optimizer = ArenaOptimizer::new(&first, AdamW::default()).unwrap();
    let step = gradient(&first);
    optimizer.step(&mut first, &step, 0.1, None).unwrap();
    let state = first.state().unwrap().with_optimizer(&optimizer).unwrap();

    let mut reversed = parameters();
    reversed.reverse();
    let mut second = arena(2, &reversed);
    second.load(&state).unwrap();
    let mut again = ArenaOptimizer::new(&second, AdamW::default()).unwrap();
    again.load(&state.optimizer_for(&second).unwrap()).unwrap();
    let by_name = |arena: &Arena<Cpu>, values: &[f32]| {
        let of = |entry: &crate::Entry| (entry.name.clone(), values[entry.range()].to_vec());
        arena.entries().iter().map(of).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(by_name(&second, &second.read().unwrap()), by_name(&first, &first.read().unwrap()));
    let ((m, v, steps), (m_before, v_before, _)) = (again.state().unwrap(), optimizer.state().unwrap());
    assert_eq!(by_name(&second, &m), by_name(&first, &m_before));
    assert_eq!(by_name(&second, &v), by_name(&first, &v_before));
    assert_eq!(steps, 1);
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let state = arena(1, &parameters()).state().unwrap();
    let with = |index: usize, parameter| {
        let mut parameters = parameters();
        parameters[index] = parameter;
        parameters
    };
    for (other, words) in [
        (&with(1, ("rows", &[4, 2], Mask::Rows(vec![0, 2])))[..], "rows was saved under another mask: rows [2, 0]"),
        (&with(1, ("rows", &[4, 2], Mask::Columns(vec![0]))), "rows was saved under another mask"),
        (&with(1, ("rows", &[2, 4], Mask::Rows(vec![1, 0]))), "rows has shape [4, 2], expected [2, 4]"),
        (&with(0, ("other", &[3], Mask::All)), "the state has no tensor other"),
        (&parameters()[..4], "the arena has no trainable parameter scalar"),
    ] {
        let mut other = arena(2, other);
        let before = other.read().unwrap();
        let error = other.load(&state).unwrap_err();
        assert!(matches!(error, Error::Invalid { op: "state", .. }) && error.to_string().contains(words), "{error}");
        assert_eq!(other.read().unwrap(), before);
    }
    let message = state.optimizer_for(&arena(1, &parameters())).unwrap_err().to_string();
    assert_eq!(message, "optimizer_for: the state has no optimizer: `with_optimizer` saves one");
    let (arena, other) = (arena(1, &parameters()), arena(1, &parameters()[..2]));
    let optimizer = ArenaOptimizer::new(&other, AdamW::default()).unwrap();
    assert!(matches!(arena.state().unwrap().with_optimizer(&optimizer), Err(Error::Shape { .. })));
}

#[cfg(feature = "safetensors")]
mod files {
    use super::*;

    fn states() -> Vec<State> {
        let arena = arena(1, &parameters());
        let plain = arena.state().unwrap();
        let mut adamw = ArenaOptimizer::new(&arena, AdamW::default()).unwrap();
        let sgd = ArenaSgd::new(&arena, Sgd::default()).unwrap();
        let mut moved = self::arena(1, &parameters());
        let mut other = ArenaOptimizer::new(&moved, AdamW::default()).unwrap();
        let step = gradient(&moved);
        other.step(&mut moved, &step, 0.1, None).unwrap();
        adamw.load(&Optimizer::<Cpu>::save(&other).unwrap()).unwrap();
        vec![
            plain.clone(),
            plain.clone().with_optimizer(&adamw).unwrap(),
            plain.with_optimizer(&sgd).unwrap(),
            self::arena(1, &[]).state().unwrap(),
        ]
    }

    #[test]
    fn a_file_holds_the_state_and_its_bytes_depend_on_nothing_else() {
        for state in states() {
            let bytes = state.to_safetensors().unwrap();
            assert_eq!(State::from_safetensors(&bytes).unwrap(), state);
            assert_eq!(state.to_safetensors().unwrap(), bytes);
        }
    }

    #[test]
    fn no_file_with_a_byte_changed_or_missing_panics() {
        let bytes = states()[1].to_safetensors().unwrap();
        for cut in 0..bytes.len() {
            assert!(State::from_safetensors(&bytes[..cut]).is_err(), "{cut}");
        }
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for at in 0..header {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            _ = State::from_safetensors(&changed);
        }
    }

    #[test]
    fn what_the_layout_cannot_hold_and_what_is_not_understood_is_refused() {
        let mut state = arena(1, &[("a#rows", &[2], Mask::All)]).state().unwrap();
        assert!(state.to_safetensors().unwrap_err().to_string().contains("cannot be written"));
        state.tensors = vec![state.tensors[0].clone(), state.tensors[0].clone()];
        state.tensors.iter_mut().for_each(|tensor| tensor.name = "a".into());
        assert!(state.to_safetensors().unwrap_err().to_string().contains("a occurs twice"));

        let values = bytes_of(&[1.0, 2.0]);
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &values).unwrap();
        let file = |header: Option<&str>| {
            let metadata = header.map(|header| HashMap::from([("bitfit-core".to_owned(), header.to_owned())]));
            State::from_safetensors(&safetensors::serialize([("a", &view)], metadata).unwrap())
        };
        for (header, words) in [
            (None, "no state of bitfit-core"),
            (Some("state 2\ntensor 1 2 a"), "not of the version"),
            (Some("state 1"), "1 tensors, of which 0 are understood"),
            (Some("state 1\ntensor 1 2 b"), "b: "),
            (Some("state 1\ntensor 1 3 a"), "a has 2 values, expected 3"),
            (Some("state 1\ntensor 2 2 a"), "the metadata's line \"tensor 2 2 a\" is not understood"),
            (Some("state 1\nfuture"), "is not understood"),
            (Some("state 1\noptimizer adamw 1 m\ntensor 1 2 a"), "a#m: "),
            (Some("state 1\noptimizer adamw 1\noptimizer adamw 1"), "is not understood"),
        ] {
            let message = file(header).unwrap_err().to_string();
            assert!(message.contains(words), "{header:?}: {message}");
        }
        assert_eq!(file(Some("state 1\ntensor 1 2 a")).unwrap().tensors()[0].values, [1.0, 2.0]);
    }

    fn bytes_of(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}
