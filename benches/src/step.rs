//! Whole training steps on random tokens.

use std::{fmt, ops::Range, path::Path};

use bitfit_bert::data::{Kind, Labels};
use bitfit_bert::heads::{Masking, MaskingOptions, PairEncoding, Pooling, SpanSettings, Targets, TaskSpec};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::{Base, InitialValues, Model, ModelOptions};
use bitfit_bert::tokenize::{Encoding, MaskVocabulary, ReadToken, Window};
use bitfit_bert::train::Examples;
use bitfit_bert::{BiasSelection, Method};
use bitfit_core::optim::{AdamW, ArenaOptimizer};
use bitfit_core::{Backend, Gradient, Random, Seed};

use crate::{MAX_TOKENS, Size, checkpoint};

/// The number of tags, that of Universal Dependencies.
const TAGS: usize = 17;
/// The mask token of BERT's vocabulary, and its ids from which random texts are drawn.
const MASK: u32 = 103;
const WORDS: Range<u32> = 1000..30_000;

/// What a step learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Two classes of texts, read out by this.
    Classes(Pooling),
    /// A tag for each token.
    Tags,
    /// An answer in each sequence.
    Answers,
    /// The tokens behind masks, 15 of 100.
    MaskedTokens,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Classes(pooling) => write!(f, "classes, {pooling}"),
            Self::Tags => f.write_str("tags"),
            Self::Answers => f.write_str("answers"),
            Self::MaskedTokens => f.write_str("masked tokens"),
        }
    }
}

/// A model with everything that training steps need.
pub struct Step<D: Backend> {
    /// The network and its trainable values.
    pub model: Model<D>,
    optimizer: ArenaOptimizer<D>,
    gradient: Gradient<D>,
    examples: Examples,
    step: u64,
}

impl<D: Backend> Step<D> {
    /// Training with `method` on random tokens: one sequence of each length. Dropout is the checkpoint's.
    ///
    /// # Panics
    /// When the bench's model cannot be written or built.
    pub fn new(device: D, size: Size, task: Task, method: Method, dir: &Path, lengths: &[usize]) -> Self {
        let base = Base::open(&device, &checkpoint(size, dir)).expect("the bench's model; one of before is in the way");
        let mut random = Random::new(2, 0);
        let mut encodings: Vec<Encoding> = lengths.iter().map(|&len| random_text(&mut random, len)).collect();
        let read_all = |encodings: &mut [Encoding]| {
            for encoding in encodings {
                encoding.read = (0..encoding.ids.len()).map(|token| ReadToken { token, word: token }).collect();
            }
        };
        let (mut options, examples) = match task {
            Task::Classes(pooling) => {
                let targets = lengths.iter().map(|_| random.below(2) as usize).collect();
                (classes(2, pooling), Examples::new(encodings, Targets::Classes(targets)))
            }
            Task::Tags => {
                read_all(&mut encodings);
                let mut tags = |&len: &usize| (0..len).map(|_| random.below(TAGS as u32) as usize).collect();
                let targets = lengths.iter().map(&mut tags).collect();
                let mut options = classes(TAGS, Pooling::Tokens);
                options.spec.kind = Kind::Tag;
                (options, Examples::new(encodings, Targets::Tags(targets)))
            }
            Task::Answers => {
                for encoding in &mut encodings {
                    encoding.window = Some(Window { tokens: encoding.ids.len(), ..Window::default() });
                }
                let targets = lengths.iter().map(|&len| [random.below(len as u32); 2]).collect();
                let mut options = classes(2, Pooling::EveryToken);
                (options.spec.kind, options.spec.labels, options.spec.pairs) = (Kind::Span, None, true);
                options.spec.span = Some(SpanSettings { stride: 0, unanswerable: false });
                (options, Examples::new(encodings, Targets::Spans(targets)))
            }
            Task::MaskedTokens => {
                read_all(&mut encodings);
                let vocabulary = MaskVocabulary { mask: MASK, ordinary: WORDS.collect() };
                let masking = Masking::of_evaluation(MaskingOptions::default(), vocabulary);
                let mut options = classes(2, Pooling::Tokens);
                (options.spec.kind, options.spec.labels) = (Kind::MaskedLm, None);
                (options, masking.once(&encodings, 0))
            }
        };
        options.method = method;
        let model = Model::new(&base, &options).expect("the bench's model");
        Self {
            optimizer: ArenaOptimizer::new(model.arena(), AdamW::default()).expect("an optimizer"),
            gradient: model.arena().gradient().expect("a gradient"),
            examples,
            model,
            step: 0,
        }
    }

    /// A step over all sequences: forward, backward, clip and AdamW; returns the loss.
    ///
    /// # Panics
    /// When the device fails.
    pub fn run(&mut self) -> f32 {
        self.run_batch(0..self.examples.encodings.len())
    }

    /// A step over some of the sequences.
    ///
    /// # Panics
    /// When the device fails.
    pub fn run_batch(&mut self, sequences: Range<usize>) -> f32 {
        self.model.base().device().clone().install(|| self.run_installed(sequences))
    }

    fn run_installed(&mut self, sequences: Range<usize>) -> f32 {
        self.gradient.clear(self.model.base().device()).expect("a gradient");
        let mut tape = self.model.training_tape(Seed { run: 0, step: self.step });
        let rows: Vec<usize> = sequences.collect();
        let batch = self.examples.batch(&self.model, &rows).expect("a batch");
        let outputs = self.model.forward(&mut tape, &batch).expect("a forward pass");
        let loss = self.model.loss(&mut tape, &outputs, &batch).expect("a loss");
        tape.backward(&loss, &mut self.gradient).expect("a backward pass");
        self.optimizer.step(self.model.arena_mut(), &self.gradient, 1e-3, Some(1.0)).expect("a step");
        self.step += 1;
        loss.tensor().to_array().expect("a loss")[[0, 0]]
    }
}

/// A text of random word pieces.
pub fn random_text(random: &mut Random, tokens: usize) -> Encoding {
    let ids = (0..tokens).map(|_| WORDS.start + random.below(WORDS.len() as u32)).collect();
    Encoding { ids, type_ids: vec![0; tokens], ..Encoding::default() }
}

/// BitFit with all biases, for classes read out by `pooling`.
pub fn classes(count: usize, pooling: Pooling) -> ModelOptions {
    let labels = Labels::from_names((0..count).map(|class| format!("class {class}")).collect());
    let metrics = vec![Metric::Accuracy];
    ModelOptions {
        spec: TaskSpec {
            kind: Kind::Classify,
            labels,
            pairs: false,
            pair: PairEncoding::Joint,
            span: None,
            pooling,
            max_length: MAX_TOKENS,
            metrics,
        },
        method: Method::BitFit(BiasSelection::all()),
        initial: InitialValues::Drawn { seed: 0 },
        dropout: None,
    }
}
