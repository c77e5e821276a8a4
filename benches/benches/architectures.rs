//! A training step of each architecture and read-out beside one that it is compared with: RoBERTa-base computes what
//! BERT-base does, DistilBERT half of it, MPNet adds the position bias, and the mean of all tokens needs the last layer
//! for every token where the pooler needs it for the first, as do a tag for each token and an answer in each sequence.
//! Masked tokens are predicted by a product of the masked rows alone with the whole vocabulary.
//!
//! The steps of a group run in turn, every other round in the reverse order, and a ratio is the median over the rounds,
//! because a machine's speed changes more from minute to minute than these differ. `cargo bench -p benches --bench
//! architectures -- [ROUNDS] [MODEL]`, 20 rounds by default; with a model (`roberta-base`), only its steps and those
//! that they are compared with. The models' random weights take 2 GB of disk. As a test, MiniLM alone makes one round.

use std::path::Path;

use benches::{BASE, DISTILBERT_BASE, MINILM, MPNET_BASE, ROBERTA_BASE, Size, Step, Task, median, rounds, seconds};
use bitfit_bert::heads::Pooling;
use bitfit_bert::{BiasSelection, Method};
use bitfit_core::{Cpu, Precision};

/// Steps over the same batch; the first is what the others are compared with.
struct Group {
    steps: &'static [(Size, Task)],
    sequences: usize,
    tokens: usize,
}

const READ_OUTS: Group = Group {
    steps: &[
        (MINILM, Task::Classes(Pooling::Mean)),
        (MINILM, Task::Classes(Pooling::Pooler)),
        (MINILM, Task::Tags),
        (MINILM, Task::Answers),
        (MINILM, Task::MaskedTokens),
    ],
    sequences: 16,
    tokens: 66,
};
const ARCHITECTURES: Group = Group {
    steps: &[
        (BASE, Task::Classes(Pooling::Pooler)),
        (ROBERTA_BASE, Task::Classes(Pooling::Pooler)),
        (DISTILBERT_BASE, Task::Classes(Pooling::Pooler)),
        (BASE, Task::Classes(Pooling::Mean)),
        (MPNET_BASE, Task::Classes(Pooling::Mean)),
    ],
    sequences: 16,
    tokens: 128,
};

fn main() {
    let (groups, rounds) = match benches::is_test() {
        true => (&[READ_OUTS][..], 1),
        false => (&[READ_OUTS, ARCHITECTURES][..], rounds(20)),
    };
    for group in groups {
        for precision in Precision::ALL {
            group.measure(precision, rounds);
        }
    }
}

impl Group {
    /// The first step, and with models on the command line only theirs beside it.
    fn chosen(&self) -> Vec<(Size, Task)> {
        let models: Vec<String> = std::env::args().skip(1).filter(|argument| argument.contains("-base")).collect();
        let chosen =
            |at: usize, size: &Size| at == 0 || models.is_empty() || models.iter().any(|model| model == size.name);
        self.steps.iter().enumerate().filter(|(at, (size, _))| chosen(*at, size)).map(|(_, step)| *step).collect()
    }

    fn measure(&self, precision: Precision, rounds: usize) {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lengths = vec![self.tokens; self.sequences];
        let device = Cpu::default().with_precision(precision);
        let method = || Method::BitFit(BiasSelection::all());
        let step = |&(size, task): &(Size, Task)| Step::new(device.clone(), size, task, method(), dir, &lengths);
        let chosen = self.chosen();
        if chosen.len() < 2 {
            return;
        }
        let mut steps: Vec<_> = chosen.iter().map(step).collect();
        for step in &mut steps {
            step.run();
        }
        let mut all = vec![Vec::new(); steps.len()];
        for round in 0..rounds {
            let mut one_step = |at: usize| all[at].push(seconds(|| steps[at].run()));
            match round % 2 {
                0 => (0..chosen.len()).for_each(&mut one_step),
                _ => (0..chosen.len()).rev().for_each(&mut one_step),
            }
        }
        println!("\n{} x {} tokens, {precision}, {rounds} rounds", self.sequences, self.tokens);
        for ((size, task), own) in chosen.iter().zip(&all) {
            let ratio = median(own.iter().zip(&all[0]).map(|(own, first)| own / first));
            let least = own.iter().copied().fold(f64::INFINITY, f64::min);
            let name = format!("{}, {task}", size.name);
            println!(
                "{name:34} median {:.4} s, least {least:.4} s, {ratio:.3} of the first",
                median(own.iter().copied())
            );
        }
    }
}
