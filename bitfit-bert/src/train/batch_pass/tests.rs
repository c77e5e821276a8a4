//! A batch in parts or in logical shards has the loss and the gradient of the batch in one pass, within rounding, and
//! in shards the same bits for any number of ranks: every kind of task and read-out, with and without dropout.

use std::thread;

use bitfit_core::Cpu;
use bitfit_core::optim::{Alone, Collective, ThreadRank};
use ndarray::Array2;

use super::*;
use crate::arch::Architecture;
use crate::data::{Kind, Labels};
use crate::fixture::Tiny;
use crate::heads::{Masking, MaskingOptions, PairEncoding, Pooling, SpanSettings, Targets, TaskSpec};
use crate::methods::Method;
use crate::model::{InitialValues, ModelOptions};
use crate::tokenize::{Encoding, MaskVocabulary, ReadToken, Window};
use crate::train::TrainOptions;
use crate::train::shards::{PassLimits, Shards};
use crate::train::tests::two_classes;

/// The number of texts of the batch.
const ROWS: usize = 11;
/// The bound of the difference, of the loss and, to the scale of the largest element, of the gradient.
const ROUNDING: f64 = 1e-5;

struct Case {
    name: String,
    tiny: Tiny,
    spec: TaskSpec,
    examples: Examples,
    weighting: Option<Arc<ClassWeighting>>,
}

/// A text of two to seven tokens.
fn encoding(row: usize) -> Encoding {
    let ids: Vec<u32> = (0..2 + row * 5 % 6).map(|token| ((row * 3 + token * 7) % 11) as u32).collect();
    Encoding { type_ids: vec![0; ids.len()], ids, ..Encoding::default() }
}

fn encodings(change: impl Fn(usize, Encoding) -> Encoding) -> Vec<Encoding> {
    (0..ROWS).map(|row| change(row, encoding(row))).collect()
}

fn classes(count: usize) -> Vec<usize> {
    (0..ROWS).map(|row| (row * row + row / 3) % count).collect()
}

fn case(name: &str, pooling: Pooling, spec: TaskSpec, examples: Examples) -> Case {
    // As they are, the values saturate the softmax of attention.
    let mut tiny = Tiny::new();
    scale(&mut tiny);
    Case { name: format!("{name}, {pooling}"), tiny, spec: TaskSpec { pooling, ..spec }, examples, weighting: None }
}

fn scale(tiny: &mut Tiny) {
    tiny.tensors.values_mut().flat_map(|tensor| &mut tensor.data).for_each(|value| *value *= 0.3);
}

fn of_texts(name: &str, pooling: Pooling, spec: TaskSpec, targets: Targets) -> Case {
    case(name, pooling, spec, Examples::new(encodings(|_, encoding| encoding), targets))
}

fn classification(pooling: Pooling) -> Case {
    of_texts("classify", pooling, two_classes(), Targets::Classes(classes(2)))
}

fn weighted(case: Case, weights: &[f32], label_smoothing: f32, focal_gamma: f32) -> Case {
    let name = format!("{}, weights {weights:?}, smoothing {label_smoothing}, focal {focal_gamma}", case.name);
    let weighting = ClassWeighting { weights: weights.to_vec(), label_smoothing, focal_gamma };
    Case { name, weighting: Some(Arc::new(weighting)), ..case }
}

/// Words at some tokens of each sequence; in three neighbouring sequences at none.
fn tagging() -> Case {
    let labels = Labels::from_names(["a", "b", "c"].map(str::to_owned).to_vec());
    let spec = TaskSpec { kind: Kind::Tag, labels, ..two_classes() };
    let words = |row: usize| if (3..6).contains(&row) { 0 } else { row % 3 + 1 };
    let sequences = encodings(|row, encoding| {
        let read = (0..words(row)).map(|word| ReadToken { token: word % encoding.ids.len(), word }).collect();
        Encoding { read, ..encoding }
    });
    let tags = (0..ROWS).map(|row| (0..words(row)).map(|word| (row + word) % 3).collect()).collect();
    case("tag", Pooling::Tokens, spec, Examples::new(sequences, Targets::Tags(tags)))
}

fn spans() -> Case {
    let span = Some(SpanSettings { stride: 1, unanswerable: true });
    let spec = TaskSpec { kind: Kind::Span, labels: None, span, ..two_classes() };
    let sequences = encodings(|_, encoding| {
        let window = Window { tokens: encoding.ids.len(), first: 1, offsets: Vec::new() };
        Encoding { window: Some(window), ..encoding }
    });
    let spans = sequences.iter().enumerate().map(|(row, encoding)| {
        let last = encoding.ids.len() as u32 - 1;
        [row as u32 % (last + 1), last]
    });
    let targets = Targets::Spans(spans.collect());
    case("span", Pooling::EveryToken, spec, Examples::new(sequences, targets))
}

/// Masks are drawn for the epoch.
fn masked_lm() -> Case {
    let spec = TaskSpec { kind: Kind::MaskedLm, labels: None, ..two_classes() };
    let sequences = encodings(|_, encoding| {
        let read = (0..encoding.ids.len()).map(|token| ReadToken { token, word: token }).collect();
        Encoding { read, ..encoding }
    });
    let vocabulary = MaskVocabulary { mask: 3, ordinary: (4..11).collect() };
    let options = MaskingOptions { probability: 0.4, whole_words: false };
    let examples = Masking::of_training(options, vocabulary, 7).anew(sequences);
    let mut case = case("mlm", Pooling::Tokens, spec, examples);
    case.tiny = Tiny::new().with_masked_lm();
    scale(&mut case.tiny);
    case
}

/// Pairs whose texts are sequences of their own.
fn apart(pooling: Pooling) -> Case {
    let spec = TaskSpec { pairs: true, pair: PairEncoding::Separate, ..two_classes() };
    let sequences = encodings(|row, encoding| {
        let second = encoding.ids.len();
        let ids = [encoding.ids, self::encoding(row + 4).ids].concat();
        Encoding { type_ids: vec![0; ids.len()], ids, second: Some(second), ..Encoding::default() }
    });
    case("pairs apart", pooling, spec, Examples::new(sequences, Targets::Classes(classes(2))))
}

fn cases() -> Vec<Case> {
    let all = [Pooling::Pooler, Pooling::Cls, Pooling::Mean, Pooling::ClsNormalized, Pooling::MeanNormalized];
    let mut cases: Vec<Case> = all.map(classification).into();
    // The last class has no weight, so that some parts have none at all.
    cases.extend(
        [(0.0, 0.0), (0.1, 0.0), (0.0, 2.0)]
            .map(|(smoothing, gamma)| weighted(classification(Pooling::Mean), &[2.5, 0.0], smoothing, gamma)),
    );
    let scores = Targets::Scores((0..ROWS).map(|row| (row * 7 % 5) as f32 * 0.4).collect());
    let regression = TaskSpec { kind: Kind::Regress, labels: None, ..two_classes() };
    cases.push(of_texts("regress", Pooling::Cls, regression, scores));
    let has_label = |(row, label): (usize, usize)| f32::from(u8::from((row + row * label) % 3 == 0));
    let indicators = Targets::Indicators(Array2::from_shape_fn((ROWS, 2), has_label));
    let several = TaskSpec { kind: Kind::MultiLabel, ..two_classes() };
    cases.push(of_texts("multi-label", Pooling::Mean, several, indicators));
    cases.push(tagging());
    cases.push(weighted(tagging(), &[0.5, 3.0, 1.0], 0.1, 0.0));
    cases.push(spans());
    cases.push(masked_lm());
    cases.extend([Pooling::Pooler, Pooling::Cls, Pooling::Mean].map(apart));
    for architecture in Architecture::all() {
        let mut case = classification(Pooling::Pooler);
        case.tiny = Tiny::new().in_words_of(architecture);
        scale(&mut case.tiny);
        cases.push(Case { name: format!("{}, pooler", architecture.model_type), ..case });
    }
    cases
}

fn model(case: &Case, method: Method, dropout: f32) -> Model<Cpu> {
    let initial = InitialValues::Drawn { seed: 1 };
    Model::new(&case.tiny.base(), &ModelOptions { spec: case.spec.clone(), method, initial, dropout: Some(dropout) })
        .unwrap()
}

/// The loss, the gradient and the number of tokens of all rows.
fn computed(model: &Model<Cpu>, case: &Case, micro_batch: Option<usize>) -> (f32, Vec<f32>, usize) {
    let rows: Vec<usize> = (0..ROWS).rev().collect();
    let seed = Seed { run: 3, step: 5 };
    let weighting = case.weighting.as_ref();
    let pass = BatchPass { examples: &case.examples, rows: &rows, epoch: 2, seed, weighting, micro_batch };
    let mut gradient = model.arena().gradient().unwrap();
    let mut cache = FrozenPrefixCache::new(model, ROWS, if case.examples.are_drawn() { 0 } else { 1 << 20 });
    let loss = pass.drawn(|pass| pass.add_gradient(model, cache.as_mut(), &mut gradient)).unwrap();
    (loss.read().unwrap(), gradient.read(model.base().device()).unwrap(), loss.tokens)
}

/// The same in shards, as each of `size` ranks has it.
fn in_shards(
    model: &Model<Cpu>,
    case: &Case,
    (count, limits): (usize, PassLimits),
    size: usize,
) -> Vec<(f32, Vec<f32>, usize)> {
    let rows: Vec<usize> = (0..ROWS).rev().collect();
    let (seed, weighting) = (Seed { run: 3, step: 5 }, case.weighting.as_ref());
    let pass = BatchPass { examples: &case.examples, rows: &rows, epoch: 2, seed, weighting, micro_batch: None };
    let computed = |ranks: Arc<dyn Collective>| {
        let options = TrainOptions { shards: Some(count), ..TrainOptions::default() };
        let shards = Shards::new(&options, Arc::clone(&ranks)).unwrap().with_limits(limits);
        let mut cache = FrozenPrefixCache::new(model, ROWS, if case.examples.are_drawn() { 0 } else { 1 << 20 });
        let stops = ranks.rank() == 1;
        // The second time with gradients that the first has left.
        (0..2).fold((0.0, Vec::new(), 0), |_, _| {
            let mut gradient = model.arena().gradient().unwrap();
            let loss = shards.add_gradient(pass, model, cache.as_mut(), stops, &mut gradient).unwrap();
            assert_eq!(loss.stops, size > 1, "one rank is to stop");
            (loss.read().unwrap(), gradient.read(model.base().device()).unwrap(), loss.tokens)
        })
    };
    if size == 1 {
        return vec![computed(Arc::new(Alone))];
    }
    thread::scope(|scope| {
        let start = |rank| scope.spawn(|| computed(Arc::new(rank)));
        let threads: Vec<_> = ThreadRank::group(size).into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The bits of a loss and a gradient.
fn bits((loss, gradient, tokens): &(f32, Vec<f32>, usize)) -> (u32, Vec<u32>, usize) {
    (loss.to_bits(), gradient.iter().map(|value| value.to_bits()).collect(), *tokens)
}

fn assert_equal_in_shards(model: &Model<Cpu>, case: &Case, what: &str) {
    let (loss, gradient, tokens) = computed(model, case, None);
    let scale = gradient.iter().fold(0.0_f64, |max, &value| max.max(f64::from(value).abs()));
    for (count, sizes) in [(1, &[][..]), (4, &[4]), (7, &[3]), (16, &[2, 4])] {
        let default = PassLimits::default();
        let alone = in_shards(model, case, (count, default), 1).swap_remove(0);
        let scalars = model.arena().len();
        // Each shard is a pass, then passes are of a few: by their gradients, and by their tokens.
        for (tokens, scalars) in [(0, 0), (u64::MAX, 3 * scalars), (11, usize::MAX)] {
            let found = in_shards(model, case, (count, PassLimits { tokens, scalars }), 1).swap_remove(0);
            assert_eq!(bits(&found), bits(&alone), "{what}, {count} shards, {tokens} tokens and {scalars} scalars");
        }
        assert_eq!(alone.2, tokens);
        let error = f64::from((alone.0 - loss).abs() / loss.abs());
        assert!(error <= ROUNDING, "{what}, {count} shards: a loss of {} instead of {loss}", alone.0);
        for (i, (found, expected)) in alone.1.iter().zip(&gradient).enumerate() {
            let error = f64::from((found - expected).abs()) / scale;
            assert!(error <= ROUNDING, "{what}, {count} shards: element {i} is {found} instead of {expected}");
        }
        for &size in sizes {
            for (rank, found) in in_shards(model, case, (count, default), size).iter().enumerate() {
                assert_eq!(bits(found), bits(&alone), "{what}, {count} shards, rank {rank} of {size}");
            }
        }
    }
}

fn assert_equal_in_parts(model: &Model<Cpu>, case: &Case, what: &str) {
    let (loss, gradient, tokens) = computed(model, case, None);
    let scale = gradient.iter().fold(0.0_f64, |max, &value| max.max(f64::from(value).abs()));
    assert!(scale > 1e-4 && loss.is_finite(), "{what}: a gradient of {scale}");
    for size in [ROWS, ROWS + 5] {
        assert_eq!(computed(model, case, Some(size)), (loss, gradient.clone(), tokens), "{what}: {size} at a time");
    }
    for size in [1, 3, 5] {
        let (found, found_gradient, found_tokens) = computed(model, case, Some(size));
        assert_eq!(found_tokens, tokens);
        let error = f64::from((found - loss).abs() / loss.abs());
        assert!(error <= ROUNDING, "{what}, {size} at a time: a loss of {found} instead of {loss}");
        for (i, (found, expected)) in found_gradient.iter().zip(&gradient).enumerate() {
            let error = f64::from((found - expected).abs()) / scale;
            assert!(error <= ROUNDING, "{what}, {size} at a time: element {i} is {found} instead of {expected}");
        }
    }
}

#[test]
fn a_batch_in_parts_and_shards_has_the_loss_and_the_gradient_of_the_whole() {
    for case in cases() {
        for dropout in [0.0, 0.3] {
            for method in ["bitfit", "full"] {
                let model = model(&case, method.parse().unwrap(), dropout);
                let what = format!("{}, dropout {dropout}, {method}", case.name);
                assert_equal_in_parts(&model, &case, &what);
                assert_equal_in_shards(&model, &case, &what);
            }
        }
    }
}

/// Their outputs are cached, and the stages above draw dropout.
#[test]
fn frozen_stages_make_no_difference() {
    for case in [classification(Pooling::Cls), apart(Pooling::Mean), tagging()] {
        for method in ["frozen", "bitfit@1-1"] {
            let model = model(&case, method.parse().unwrap(), 0.3);
            assert!(model.frozen_stages() > 0, "{method}");
            assert_equal_in_parts(&model, &case, &format!("{}, {method}", case.name));
            assert_equal_in_shards(&model, &case, &format!("{}, {method}", case.name));
        }
    }
}

/// The parts would differ by more than rounding if each drew as if it were a batch, so the tests above see it.
#[test]
fn dropout_is_seen_in_the_gradient() {
    let case = classification(Pooling::Cls);
    let gradient = |dropout, step| {
        let model = model(&case, "bitfit".parse().unwrap(), dropout);
        let rows: Vec<usize> = (0..ROWS).collect();
        let (examples, seed) = (&case.examples, Seed { run: 3, step });
        let pass = BatchPass { examples, rows: &rows, epoch: 1, seed, weighting: None, micro_batch: None };
        let mut gradient = model.arena().gradient().unwrap();
        pass.add_gradient(&model, None, &mut gradient).unwrap();
        gradient.read(model.base().device()).unwrap()
    };
    let (first, other) = (gradient(0.3, 1), gradient(0.3, 2));
    let scale = first.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
    let difference = first.iter().zip(&other).fold(0.0_f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(difference > 0.01 * scale, "{difference} of {scale}");
    assert_eq!(gradient(0.0, 1), gradient(0.0, 2));
}

#[test]
fn a_batch_without_any_target_is_refused_as_in_one_pass() {
    let mut case = tagging();
    case.examples.encodings.iter_mut().for_each(|encoding| encoding.read.clear());
    let model = model(&case, "bitfit".parse().unwrap(), 0.0);
    let refused = |micro_batch| {
        let rows: Vec<usize> = (0..ROWS).collect();
        let (examples, seed) = (&case.examples, Seed { run: 3, step: 0 });
        let pass = BatchPass { examples, rows: &rows, epoch: 1, seed, weighting: None, micro_batch };
        pass.add_gradient(&model, None, &mut model.arena().gradient().unwrap()).unwrap_err().to_string()
    };
    assert_eq!(refused(Some(2)), refused(None));
    assert!(refused(Some(2)).contains("no token of the batch"), "{}", refused(Some(2)));
}
