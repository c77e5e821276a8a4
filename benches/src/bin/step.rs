//! `step MODEL PRECISION SEQUENCES TOKENS [STEPS]`: BitFit training steps on random tokens, dropout on, the first one not
//! counted. MODEL is minilm, base or large, PRECISION f32 or bf16. The counterpart of `peers/torch_step.py`, with the same
//! output: an empty object on stdout before the first step and when it is done, the result as another; a line for people on
//! stderr.
//!
//! The model's random weights lie in `bench-*` of cargo's target directory; the first run writes them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use benches::{BASE, LARGE, MINILM, Size, Step};
use bitfit_core::DType;

const USAGE: &str = "usage: step minilm|base|large f32|bf16 SEQUENCES TOKENS [STEPS]";

struct Arguments {
    size: Size,
    precision: DType,
    sequences: usize,
    tokens: usize,
    steps: usize,
}

impl Arguments {
    /// `None` for what is not understood, with nothing to do, or longer than the models' positions.
    fn parse(given: &[String]) -> Option<Self> {
        let number = |text: &String| text.parse().ok().filter(|&number: &usize| number > 0);
        let (required, steps) = given.split_at_checked(4)?;
        Some(Self {
            size: match required[0].as_str() {
                "minilm" => MINILM,
                "base" => BASE,
                "large" => LARGE,
                _ => return None,
            },
            precision: match required[1].as_str() {
                "f32" => DType::F32,
                "bf16" => DType::Bf16,
                _ => return None,
            },
            sequences: number(&required[2])?,
            tokens: number(&required[3]).filter(|&tokens| tokens <= 512)?,
            steps: match steps {
                [] => 5,
                [steps] => number(steps)?,
                _ => return None,
            },
        })
    }
}

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let Some(Arguments { size, precision, sequences, tokens, steps }) = Arguments::parse(&given) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let models = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let mut step = Step::new(size, &models, &vec![tokens; sequences], precision);
    println!("{{}}");
    step.run();
    println!("{{}}");

    let mut loss = 0.0;
    let mut seconds: Vec<f64> = (0..steps)
        .map(|_| {
            let start = Instant::now();
            loss = step.run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let (median, least) = (seconds[steps / 2], seconds[0]);
    let rate = (sequences * tokens) as f64 / median;
    let peak = peak_rss_kib();
    let memory = peak.map_or("not known".into(), |kib| format!("{} MB", kib * 1024 / 1_000_000));
    eprintln!(
        "{} {} {sequences} x {tokens}: median {median:.3} s, least {least:.3} s of {steps}, {rate:.0} tokens/s, peak RSS \
         {memory}",
        size.name, given[1]
    );
    let result = serde_json::json!({
        "model": size.name, "precision": given[1], "sequences": sequences, "tokens": tokens, "steps": steps,
        "median_s": median, "least_s": least, "tokens_per_s": rate, "loss": loss,
        "peak_rss_bytes": peak.map(|kib| kib * 1024),
    });
    println!("{result}");
    ExitCode::SUCCESS
}

/// The most memory this process has had resident; `None` where the system has no `/proc`.
fn peak_rss_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}
