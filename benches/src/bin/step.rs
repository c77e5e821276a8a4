//! `step MODEL PRECISION SEQUENCES TOKENS [STEPS] [--device cpu|cuda[:N]] [--pooling READ-OUT] [--method METHOD]`:
//! training steps on random tokens, dropout on, the first one not counted. MODEL is minilm, base (of BERT), large,
//! roberta-base, distilbert-base or mpnet-base, PRECISION f32, bf16, on a CPU int8, or on a GPU tf32, READ-OUT and
//! METHOD as in bitfit-cli; the method is bitfit if none is given.
//!
//! `step MODEL PRECISION --batches FILE [--warm N] [--device …]`: an epoch of steps instead. A line of FILE is a batch:
//! the lengths of its sequences. The first N steps, one if it is not given, are not counted; the epoch begins again
//! after them.
//!
//! The counterpart of `peers/torch_step.py`, with the same output: an empty object on stdout before and after the first
//! step, then the result as an object; a readable line on stderr.
//!
//! The model's random weights are in `bench-*` in cargo's target directory; the first run writes them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use benches::{MAX_TOKENS, SIZES, Size, Step, Task};
use bitfit_bert::heads::Pooling;
use bitfit_bert::{BiasSelection, Method};
use bitfit_core::{Backend, Cpu, Precision};
use bitfit_cuda::Cuda;

const USAGE: &str = "usage: step minilm|base|large|roberta-base|distilbert-base|mpnet-base f32|tf32|bf16|int8 \
                     (SEQUENCES TOKENS [STEPS] | --batches FILE [--warm N]) [--device cpu|cuda[:N]] \
                     [--pooling READ-OUT] [--method METHOD]";

struct Arguments {
    size: Size,
    pooling: Pooling,
    method: Method,
    precision: Precision,
    /// Whether f32 products on a GPU round their factors to TF32.
    tf32: bool,
    /// The number of the GPU; `None` for the CPU.
    device: Option<usize>,
    steps: Steps,
    /// The number of steps that are not counted, at least one.
    warm: usize,
}

/// The sequences, and which of them each step takes.
struct Steps {
    /// The tokens of each sequence.
    lengths: Vec<usize>,
    /// The sequences of each step.
    batches: Vec<Range<usize>>,
}

impl Steps {
    /// The same batch in every step.
    fn alike(sequences: usize, tokens: usize, steps: usize) -> Self {
        Self { lengths: vec![tokens; sequences], batches: vec![0..sequences; steps] }
    }

    /// Reads one batch per line.
    fn read(path: &Path) -> Option<Self> {
        let mut steps = Self { lengths: Vec::new(), batches: Vec::new() };
        for line in std::fs::read_to_string(path).ok()?.lines() {
            let first = steps.lengths.len();
            for length in line.split_whitespace() {
                steps.lengths.push(length.parse().ok()?);
            }
            steps.batches.push(first..steps.lengths.len());
        }
        Some(steps)
    }

    /// Whether no step is empty, and no sequence is longer than the models' positions.
    fn can_be(&self) -> bool {
        let has_work = !self.batches.is_empty() && self.batches.iter().all(|batch| !batch.is_empty());
        has_work && self.lengths.iter().all(|length| (1..=MAX_TOKENS).contains(length))
    }
}

impl Arguments {
    /// Parses the arguments; `None` if they are invalid.
    fn parse(given: &[String]) -> Option<Self> {
        let (mut plain, mut device, mut batches, mut pooling) = (Vec::new(), None, None, Pooling::Pooler);
        let mut warm = 1;
        let mut method = Method::BitFit(BiasSelection::all());
        let mut given = given.iter().map(String::as_str);
        while let Some(argument) = given.next() {
            match argument {
                "--device" => device = Some(given.next()?),
                "--pooling" => pooling = given.next()?.parse().ok()?,
                "--method" => method = given.next()?.parse().ok()?,
                "--batches" => batches = Some(given.next()?),
                "--warm" => warm = given.next()?.parse().ok().filter(|&steps| steps > 0)?,
                flag if flag.starts_with('-') => return None,
                value => plain.push(value),
            }
        }
        let number = |text: &str| text.parse::<usize>().ok();
        let (&size, &precision) = (plain.first()?, plain.get(1)?);
        let steps = match (batches, &plain[2..]) {
            (Some(file), []) => Steps::read(Path::new(file))?,
            (None, [sequences, tokens]) => Steps::alike(number(sequences)?, number(tokens)?, 5),
            (None, [sequences, tokens, steps]) => Steps::alike(number(sequences)?, number(tokens)?, number(steps)?),
            _ => return None,
        };
        let is_named = |of: &&Size| of.name == size || of.name.strip_prefix("bert-") == Some(size);
        Some(Self {
            size: *SIZES.iter().find(is_named)?,
            pooling,
            method,
            precision: if precision == "tf32" { Precision::F32 } else { precision.parse().ok()? },
            tf32: precision == "tf32",
            device: match device {
                None | Some("cpu") => None,
                Some("cuda") => Some(0),
                Some(device) => Some(number(device.strip_prefix("cuda:")?)?),
            },
            steps: Some(steps).filter(Steps::can_be)?,
            warm,
        })
    }
}

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let arguments = Arguments::parse(&given);
    let Some(Arguments { size, pooling, method, precision, tf32, device, steps, warm }) = arguments else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let name = if tf32 { "tf32" } else { precision.name() };
    match (device, tf32) {
        (None, true) => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
        (None, false) => {
            measure(Cpu::default().with_precision(precision), (size, pooling, method), name, (&steps, warm), |_| None);
        }
        (Some(ordinal), _) => match Cuda::new(ordinal) {
            Ok(device) => {
                let memory = |device: &Cuda| device.peak_memory().expect("a device that answers");
                let device = if tf32 { device.with_tf32() } else { device.with_precision(precision) };
                measure(device, (size, pooling, method), name, (&steps, warm), memory);
            }
            Err(error) => {
                eprintln!("error: --device cuda:{ordinal}: {error}");
                return ExitCode::FAILURE;
            }
        },
    }
    ExitCode::SUCCESS
}

/// Measures the steps and prints the results. `memory` returns the peak memory of a device.
fn measure<D: Backend>(
    device: D,
    (size, pooling, method): (Size, Pooling, Method),
    precision: &str,
    (steps, warm): (&Steps, usize),
    memory: impl Fn(&D) -> Option<u64>,
) {
    let models = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let mut step = Step::new(device, size, Task::Classes(pooling), method.clone(), &models, &steps.lengths);
    println!("{{}}");
    for batch in steps.batches.iter().cycle().take(warm) {
        step.run_batch(batch.clone());
    }
    println!("{{}}");

    let mut loss = 0.0;
    let mut seconds: Vec<f64> = Vec::new();
    for batch in &steps.batches {
        let start = Instant::now();
        loss = step.run_batch(batch.clone());
        seconds.push(start.elapsed().as_secs_f64());
    }
    let whole: f64 = seconds.iter().sum();
    seconds.sort_by(f64::total_cmp);
    let (count, median, least) = (seconds.len(), seconds[seconds.len() / 2], seconds[0]);
    let tokens: usize = steps.batches.iter().map(|batch| steps.lengths[batch.clone()].iter().sum::<usize>()).sum();
    // For equal steps, the median is robust against noise.
    let alike = steps.batches.iter().all(|batch| *batch == steps.batches[0]);
    let rate = tokens as f64 / if alike { median * count as f64 } else { whole };
    let peak = peak_rss_kib().map(|kib| kib * 1024);
    let on_device = memory(step.model.base().device());
    let megabytes = |bytes: Option<u64>| bytes.map_or("not known".into(), |bytes| format!("{} MB", bytes / 1_000_000));
    eprintln!(
        "{} {method} {precision} {}: {count} steps in {whole:.3} s, median {median:.5} s, least {least:.5} s, {rate:.0} tokens/s, peak RSS \
         {}{}",
        size.name,
        step.model.base().device().name(),
        megabytes(peak),
        on_device.map_or(String::new(), |_| format!(", of the GPU's memory {}", megabytes(on_device))),
    );
    let result = serde_json::json!({
        "model": size.name, "method": method.to_string(), "scalars": step.model.trainable_count(), "precision": precision, "tokens": tokens, "steps": count,
        "seconds": whole, "median_s": median, "least_s": least, "tokens_per_s": rate, "loss": loss,
        "peak_rss_bytes": peak, "peak_gpu_bytes": on_device,
    });
    println!("{result}");
}

/// The peak resident memory of this process; `None` on systems without `/proc`.
fn peak_rss_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}
