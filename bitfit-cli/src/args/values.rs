//! The values of flags: what clap is told to call. A message says what the value must be; the flag and the value are
//! put before it.
//!
//! Whether a number is in its range is the library's business, which has to check it anyway.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use bitfit_bert::data::{Format, Kind};
use bitfit_bert::presets::GlueTask;
use bitfit_bert::{BiasKind, UnknownName};
use bitfit_core::optim::Schedule;

use super::{Method, OutputFormat};

/// More threads than any machine has cores would only exhaust it.
const MAX_THREADS: usize = 1024;

/// More epochs than this are a slip, such as steps for epochs: the paper takes up to 16.
const MAX_EPOCHS: u32 = 100_000;

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// This machine's processor.
    Cpu,
    /// A GPU, by the driver's number.
    Cuda(usize),
}

impl fmt::Display for Device {
    /// As [`device`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// The kinds of bias that were listed.
#[derive(Clone, Debug)]
pub enum Biases {
    /// Every kind.
    All,
    /// These.
    Of(Vec<BiasKind>),
}

/// The norm to clip to; `None` for no clipping. A type of its own, because clap takes a bare `Option` for a flag that
/// may be left out.
#[derive(Clone, Copy, Debug)]
pub struct Clip(pub Option<f32>);

/// One of a few names.
fn one_of<T: Copy>(text: &str, names: &[(&str, T)]) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        format!("it must be one of {}", names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))
    })
}

pub fn task(text: &str) -> Result<GlueTask, String> {
    text.parse().map_err(|error: UnknownName| error.to_string())
}

pub fn format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|error: UnknownName| error.to_string())
}

pub fn kind(text: &str) -> Result<Kind, String> {
    text.parse().map_err(|error: UnknownName| error.to_string())
}

pub fn method(text: &str) -> Result<Method, String> {
    one_of(text, &[("bitfit", Method::Bitfit), ("frozen", Method::Frozen)])
}

pub fn schedule(text: &str) -> Result<Schedule, String> {
    one_of(text, &Schedule::ALL.map(|schedule| (schedule.name(), schedule)))
}

/// The values of `--precision`: core's, and TF32 products on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// f32 throughout.
    F32,
    /// f32, with products on tensor cores that round the factors to TF32.
    Tf32,
    /// Products of bfloat16 with f32 sums.
    Bf16,
}

impl Precision {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

pub fn precision(text: &str) -> Result<Precision, String> {
    one_of(text, &[Precision::F32, Precision::Tf32, Precision::Bf16].map(|precision| (precision.name(), precision)))
}

pub fn output_format(text: &str) -> Result<OutputFormat, String> {
    one_of(text, &[("text", OutputFormat::Text), ("jsonl", OutputFormat::Jsonl)])
}

pub fn device(text: &str) -> Result<Device, String> {
    let ordinal = text.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse::<u16>().ok());
    match (text, ordinal) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", _) => Ok(Device::Cuda(0)),
        (_, Some(ordinal)) => Ok(Device::Cuda(ordinal.into())),
        _ => Err("it must be cpu, cuda, or cuda:N with N the number of a GPU, counted from 0".into()),
    }
}

/// A count. Over four billion of anything is a slip, and far from where sums of counts overflow.
pub fn count(text: &str) -> Result<usize, String> {
    at_most(text, u32::MAX)
}

pub fn epochs(text: &str) -> Result<usize, String> {
    at_most(text, MAX_EPOCHS)
}

fn at_most(text: &str, most: u32) -> Result<usize, String> {
    let count = text.parse::<u32>().ok().filter(|count| *count <= most);
    count.map(|count| count as usize).ok_or_else(|| format!("it must be a whole number, at most {most}"))
}

/// An amount of memory: a whole number with K, M, G or T behind it, which stand for powers of 1024.
pub fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        Some((at, 'T' | 't')) => (&text[..at], 40),
        _ => (text, 0),
    };
    let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << unit));
    bytes.ok_or_else(|| "it must be a number of bytes, such as 512M or 2G".into())
}

pub fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it must be a whole number from 0 to 18446744073709551615".into())
}

pub fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "it must be a number".into())
}

pub fn threads(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| (1..=MAX_THREADS).contains(threads));
    threads.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_THREADS}"))
}

pub fn clip(text: &str) -> Result<Clip, String> {
    match text.parse::<f32>() {
        _ if text == "none" => Ok(Clip(None)),
        Ok(0.0) => Ok(Clip(None)),
        Ok(norm) => Ok(Clip(Some(norm))),
        Err(_) => Err("it must be a number, or none".into()),
    }
}

pub fn biases(text: &str) -> Result<Biases, String> {
    if text == "all" {
        return Ok(Biases::All);
    }
    let kinds = text.split(',').map(|name| name.trim().parse::<BiasKind>().map_err(|error| error.to_string()));
    kinds.collect::<Result<_, _>>().map(Biases::Of)
}

/// `5` or `0-5`.
pub fn layers(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first as usize..=last as usize),
        (Ok(_), Ok(_)) => Err("the first layer must not be above the last".into()),
        _ => Err("it must be a layer, such as 5, or a range of layers, such as 0-5; they count from 0".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_one_or_a_range() {
        assert_eq!(layers("5"), Ok(5..=5));
        assert_eq!(layers("0-5"), Ok(0..=5));
        for bad in ["", "-", "5-0", "a", "1-", "-1", "0-5-7", "1,2"] {
            assert!(layers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn clipping_is_a_number_or_none() {
        for off in ["0", "0.0", "none"] {
            assert_eq!(clip(off).unwrap().0, None);
        }
        assert_eq!(clip("2.5").unwrap().0, Some(2.5));
        assert!(clip("off").is_err());
    }

    #[test]
    fn biases_are_all_or_a_list_of_kinds() {
        assert!(matches!(biases("all"), Ok(Biases::All)));
        let Ok(Biases::Of(kinds)) = biases("query, intermediate") else { panic!("two kinds") };
        assert_eq!(kinds, [BiasKind::Query, BiasKind::Intermediate]);
        for bad in ["", "query,", "all,query", "q"] {
            assert!(biases(bad).is_err_and(|reason| reason.contains("attention-layernorm")), "{bad}");
        }
    }

    #[test]
    fn a_device_is_the_cpu_or_a_gpu_by_its_number() {
        assert_eq!(device("cpu"), Ok(Device::Cpu));
        assert_eq!(device("cuda"), Ok(Device::Cuda(0)));
        assert_eq!(device("cuda:1"), Ok(Device::Cuda(1)));
        for asked in [Device::Cpu, Device::Cuda(2)] {
            assert_eq!(device(&asked.to_string()), Ok(asked));
        }
        for slip in ["cuda:", "cuda:x", "cuda:-1", "gpu", ""] {
            assert!(device(slip).unwrap_err().starts_with("it must be cpu, cuda"), "{slip}");
        }
    }

    #[test]
    fn every_name_is_read() {
        for &format in Format::ALL {
            assert_eq!(super::format(format.name()), Ok(format));
        }
        for schedule in Schedule::ALL {
            assert_eq!(super::schedule(schedule.name()), Ok(schedule));
        }
        assert!(format("xml").unwrap_err().contains("jsonl"));
        for &kind in Kind::ALL {
            assert_eq!(super::kind(kind.name()), Ok(kind));
        }
        assert!(kind("tag").unwrap_err().contains("classify or regress"));
        assert_eq!(task("SST-2"), Ok(GlueTask::Sst2));
        assert!(task("squad").unwrap_err().contains("mnli"));
        assert!(count("-1").is_err() && count("4294967296").is_err() && count("7") == Ok(7));
        assert_eq!((epochs("100000"), epochs("100001").is_err()), (Ok(100_000), true));
        assert!(threads("0").is_err() && threads("1025").is_err() && threads("2") == Ok(2));
    }
}
