//! The values of flags. A message says what is expected; the flag and the value are added before it.
//!
//! The library checks the ranges of numbers.

use std::ffi::OsStr;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bitfit_bert::data::{Format, Kind};
use bitfit_bert::heads::PairEncoding;
use bitfit_bert::metrics::Metric;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{ClassWeights, HeadStart, PaperTable, SaveEvery, Shard};
use bitfit_bert::train::MOST_SHARDS;
use bitfit_bert::{BiasKind, UnknownName};
use bitfit_core::optim::Schedule;
use clap::builder::{OsStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command, ValueEnum};

pub use super::lists::{GroupRates, MethodRates, Seeds, grid_rates, group_rates, method_choice, method_rates, seeds};

/// The largest number of threads. Many more threads than cores would only exhaust the machine.
pub const MAX_THREADS: usize = 1024;

/// The most folds; each is a run.
const MAX_FOLDS: usize = 1000;
/// The largest number of seconds, minutes or hours.
const MOST_OF_A_UNIT: u32 = 100_000;
/// The largest number of epochs. Larger numbers are mistakes, such as steps given as epochs: the paper uses up to 16.
const MAX_EPOCHS: usize = 100_000;

/// By what the scalars that train are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ranking {
    /// How far a scalar moves
    Magnitude,
    /// The sum of its squared gradients
    Fisher,
}

impl From<Ranking> for bitfit_bert::train::Ranking {
    fn from(ranking: Ranking) -> Self {
        match ranking {
            Ranking::Magnitude => Self::Magnitude,
            Ranking::Fisher => Self::Fisher,
        }
    }
}

/// Which output of the last layer the head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pooling {
    /// As modules.json of a sentence encoder says; the pooler of any other model
    Auto,
    /// The first token through a dense layer, as the model's own class for classification reads it
    Pooler,
    /// The first token
    Cls,
    /// The mean over all tokens
    Mean,
    /// The first token, divided by its length
    ClsNormalized,
    /// The mean over all tokens, divided by its length
    MeanNormalized,
}

impl Pooling {
    /// The library's value; `None` for the model's own.
    pub fn chosen(self) -> Option<bitfit_bert::heads::Pooling> {
        use bitfit_bert::heads::Pooling;
        match self {
            Self::Auto => None,
            Self::Pooler => Some(Pooling::Pooler),
            Self::Cls => Some(Pooling::Cls),
            Self::Mean => Some(Pooling::Mean),
            Self::ClsNormalized => Some(Pooling::ClsNormalized),
            Self::MeanNormalized => Some(Pooling::MeanNormalized),
        }
    }
}

/// How the two texts of a pair go through the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pair {
    /// As one sequence
    Joint,
    /// As a sequence each; the head reads u, v, |u - v| and u * v of their two vectors
    Separate,
}

impl From<Pair> for PairEncoding {
    fn from(pair: Pair) -> Self {
        match pair {
            Pair::Joint => Self::Joint,
            Pair::Separate => Self::Separate,
        }
    }
}

/// The format of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Fields between tabs
    Text,
    /// One JSON object per line
    Jsonl,
    /// Answers to questions by their id, as the script of SQuAD reads them
    Squad,
}

/// The name of a value, as a user writes it.
pub fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A GPU, by the driver's number.
    Cuda(usize),
}

impl fmt::Display for Device {
    /// Writes what [`device`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// An element of the list of biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// Every kind.
    All,
    /// The biases of one kind.
    Of(BiasKind),
}

impl Bias {
    /// The kind; `None` for all of them.
    pub fn kind(self) -> Option<BiasKind> {
        match self {
            Self::All => None,
            Self::Of(kind) => Some(kind),
        }
    }
}

impl FromStr for Bias {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name.trim() {
            "all" => Ok(Self::All),
            name => name.parse().map(Self::Of),
        }
    }
}

/// The norm to clip to; `None` for no clipping. It is a type of its own, because clap takes a bare `Option` for a flag
/// that may be left out.
#[derive(Clone, Copy, Debug)]
pub struct Clip(pub Option<f32>);

/// Parses the names of a library's enumeration by its own `FromStr`. The names are shown in `--help`, and the error for
/// a misspelt one suggests the nearest.
#[derive(Clone)]
pub struct Named<T> {
    names: Vec<&'static str>,
    parse: fn(&str) -> Option<T>,
}

impl<T: FromStr> Named<T> {
    fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self { names: names.into_iter().collect(), parse: |name| name.parse().ok() }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Named<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        if let Some(value) = value.to_str().and_then(self.parse) {
            return Ok(value);
        }
        // Clap's parser refuses all other values with its own message.
        let name = PossibleValuesParser::new(self.names.clone()).parse_ref(command, arg, value)?;
        (self.parse)(&name).ok_or_else(|| clap::Error::new(clap::error::ErrorKind::InvalidValue).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.names.iter().map(PossibleValue::new)))
    }
}

pub fn task() -> Named<GlueTask> {
    Named::new(GlueTask::ALL.iter().map(|task| task.name()))
}

/// A task of the paper's tables, which leave WNLI out.
pub fn paper_task() -> Named<GlueTask> {
    Named::new(GlueTask::ALL.iter().filter(|task| **task != GlueTask::Wnli).map(|task| task.name()))
}

pub fn table() -> Named<PaperTable> {
    Named::new(PaperTable::ALL.iter().map(|table| table.name()))
}

pub fn format() -> Named<Format> {
    Named::new(Format::ALL.iter().map(|format| format.name()))
}

pub fn kind() -> Named<Kind> {
    Named::new(Kind::ALL.iter().map(|kind| kind.name()))
}

pub fn schedule() -> Named<Schedule> {
    Named::new(Schedule::ALL.into_iter().map(Schedule::name))
}

pub fn bias() -> Named<Bias> {
    Named::new(["all"].into_iter().chain(BiasKind::ALL.iter().map(|kind| kind.name())))
}

/// What stands between the fields of a table.
pub fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        &[byte] if byte.is_ascii() && !b"\"\r\n".contains(&byte) => Ok(byte),
        _ => Err("expected one ASCII character that is not a quote, or tab".into()),
    }
}

pub fn device(text: &str) -> Result<Device, String> {
    let ordinal = text.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse::<u16>().ok());
    match (text, ordinal) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", _) => Ok(Device::Cuda(0)),
        (_, Some(ordinal)) => Ok(Device::Cuda(ordinal.into())),
        _ => Err("expected cpu, cuda, or cuda:N with the number of a GPU, counted from 0".into()),
    }
}

/// A count. More than four billion of anything is a mistake, and sums of counts below that do not overflow.
pub fn count(text: &str) -> Result<usize, String> {
    whole(text, 1..=u32::MAX as usize)
}

pub fn folds(text: &str) -> Result<usize, String> {
    whole(text, 2..=MAX_FOLDS)
}

pub fn epochs(text: &str) -> Result<usize, String> {
    whole(text, 1..=MAX_EPOCHS)
}

pub fn shards(text: &str) -> Result<usize, String> {
    whole(text, 1..=MOST_SHARDS)
}

fn whole(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
}

/// An amount of memory: a whole number, optionally followed by K, M, G or T for powers of 1024.
///
/// Existing crates read K as 1000 and accept fractions and blanks; here each letter has one meaning.
pub fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        Some((at, 'T' | 't')) => (&text[..at], 40),
        _ => (text, 0),
    };
    let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << unit));
    bytes.ok_or_else(|| "expected a number of bytes, such as 512M or 2G".into())
}

pub fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

pub fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected a number".into())
}

pub fn threads(text: &str) -> Result<usize, String> {
    whole(text, 1..=MAX_THREADS)
}

pub fn clip(text: &str) -> Result<Clip, String> {
    match text.parse::<f32>() {
        _ if text == "none" => Ok(Clip(None)),
        Ok(0.0) => Ok(Clip(None)),
        Ok(norm) => Ok(Clip(Some(norm))),
        Err(_) => Err("expected a number, or none".into()),
    }
}

/// When a state is saved: a number of steps, a time with its unit, or `none`.
pub fn save_every(text: &str) -> Result<SaveEvery, String> {
    let found = match text {
        "none" => Some(SaveEvery::Never),
        _ => time(text).map(SaveEvery::Time).or_else(|_| count(text).map(SaveEvery::Steps)).ok(),
    };
    found.ok_or_else(|| "expected a number of steps, a time, such as 30s, 5m or 1h, or none".into())
}

/// A number above 0 with the unit `s`, `m` or `h`.
pub fn time(text: &str) -> Result<Duration, String> {
    let seconds = |number: &str, seconds: u32| {
        let number = number.parse::<u32>().ok().filter(|number| (1..=MOST_OF_A_UNIT).contains(number))?;
        Some(Duration::from_secs(u64::from(number) * u64::from(seconds)))
    };
    let found = match text.as_bytes() {
        [.., b's'] => seconds(&text[..text.len() - 1], 1),
        [.., b'm'] => seconds(&text[..text.len() - 1], 60),
        [.., b'h'] => seconds(&text[..text.len() - 1], 3600),
        _ => None,
    };
    found.ok_or_else(|| "expected a time above 0, such as 30s, 5m or 1h".into())
}

/// A shard of several, such as `2/4`, or all runs.
pub fn shard(text: &str) -> Result<Shard, String> {
    if text == "all" {
        return Ok(Shard::ALL);
    }
    let [index, of] = text.split_once('/').map(<[&str; 2]>::from).unwrap_or_default().map(count);
    match (index, of) {
        (Ok(index), Ok(of)) if (1..=of).contains(&index) => Ok(Shard { index, of }),
        _ => Err("expected I/N with I from 1 to N, such as 2/4, or all".into()),
    }
}

/// The weights of classes: `balanced` or the path of a file.
pub fn class_weights() -> impl TypedValueParser<Value = ClassWeights> {
    OsStringValueParser::new().map(|text| match text.to_str() {
        Some("balanced") => ClassWeights::Balanced,
        _ => ClassWeights::File(text.into()),
    })
}

pub fn metric() -> Named<Metric> {
    Named::new(Metric::ALL.iter().map(Metric::name))
}

/// Where a head begins: `probe`, `random` or the path of a file.
pub fn head_start() -> impl TypedValueParser<Value = HeadStart> {
    OsStringValueParser::new().map(|text| match text.to_str() {
        Some("probe") => HeadStart::Probe,
        Some("random") => HeadStart::Drawn,
        _ => HeadStart::File(text.into()),
    })
}

/// What separates labels: one character that is part of no word and no number.
pub fn separator(text: &str) -> Result<char, String> {
    let mut characters = text.chars();
    let separator = characters.next().filter(|c| !c.is_alphanumeric() && !c.is_control() && !"\"'[]-_.".contains(*c));
    let separator = separator.filter(|_| characters.next().is_none());
    separator.ok_or_else(|| "expected one character, such as ; , or |".into())
}

/// One layer, such as `5`, or a range of them, such as `0-5`.
pub fn layers(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first as usize..=last as usize),
        (Ok(_), Ok(_)) => Err("the first layer must not be above the last".into()),
        _ => Err("expected a layer, such as 5, or a range of layers, such as 0-5, counted from 0".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of parsing a text; for a refused one, the names that the error lists.
    fn parse<T: Clone + Send + Sync + 'static>(parser: &Named<T>, text: &str) -> Result<T, String> {
        parser.parse_ref(&Command::new("test"), None, OsStr::new(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn layers_are_one_or_a_range() {
        assert_eq!(layers("5"), Ok(5..=5));
        assert_eq!(layers("0-5"), Ok(0..=5));
        for bad in ["", "-", "5-0", "a", "1-", "-1", "0-5-7", "1,2"] {
            assert!(layers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_separator_is_one_character_that_is_not_part_of_labels() {
        for (text, expected) in [(";", ';'), (",", ','), ("|", '|'), (" ", ' '), ("/", '/')] {
            assert_eq!(separator(text), Ok(expected));
        }
        for bad in ["", "a", "7", ";;", "\t", "-", "[", "é"] {
            assert!(separator(bad).is_err(), "{bad}");
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
    fn a_bias_is_a_kind_or_all() {
        assert_eq!(parse(&bias(), "all"), Ok(Bias::All));
        assert_eq!(parse(&bias(), " intermediate"), Ok(Bias::Of(BiasKind::Intermediate)));
        for bad in ["", "q"] {
            assert!(parse(&bias(), bad).is_err_and(|message| message.contains("attention-layernorm")), "{bad}");
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
            assert!(device(slip).unwrap_err().starts_with("expected cpu, cuda"), "{slip}");
        }
    }

    #[test]
    fn a_delimiter_is_a_character_or_tab() {
        assert_eq!((delimiter("tab"), delimiter("\\t"), delimiter("\t")), (Ok(b'\t'), Ok(b'\t'), Ok(b'\t')));
        assert_eq!((delimiter(";"), delimiter(" ")), (Ok(b';'), Ok(b' ')));
        for bad in ["", "\"", "\n", ";;", "§", "comma"] {
            assert!(delimiter(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_with_a_unit_of_a_power_of_1024() {
        for (text, bytes) in [("0", 0), ("1000", 1000), ("1K", 1 << 10), ("512m", 512 << 20), ("2G", 2 << 30)] {
            assert_eq!(super::bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "K", "1.5G", "1 G", "1KB", "1KiB", "-1", "1Q", "1é", "99999999T"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_name_that_is_listed_is_read() {
        fn check<T: Clone + Send + Sync + 'static>(parser: &Named<T>) {
            for name in &parser.names {
                assert!((parser.parse)(name).is_some(), "{name}");
            }
        }
        check(&task());
        check(&paper_task());
        check(&table());
        check(&format());
        check(&kind());
        check(&schedule());
        check(&bias());
        assert_eq!(parse(&task(), "SST-2"), Ok(GlueTask::Sst2), "in any spelling that the library knows");
    }

    #[test]
    fn a_state_is_saved_by_steps_by_time_or_never() {
        assert_eq!(save_every("none"), Ok(SaveEvery::Never));
        assert_eq!(save_every("20"), Ok(SaveEvery::Steps(20)));
        for (text, seconds) in [("30s", 30), ("5m", 300), ("2h", 7200)] {
            assert_eq!(save_every(text), Ok(SaveEvery::Time(Duration::from_secs(seconds))));
        }
        for bad in ["", "m", "-1", "1.5h", "5 m", "all", "0s", "9999999h"] {
            assert!(save_every(bad).is_err_and(|message| message.contains("30s")), "{bad}");
        }
    }

    #[test]
    fn a_shard_is_counted_from_1() {
        assert_eq!(shard("2/4"), Ok(Shard { index: 2, of: 4 }));
        assert_eq!((shard("1/1"), shard("all")), (Ok(Shard::ALL), Ok(Shard::ALL)));
        for bad in ["", "0/4", "5/4", "2", "2/", "/4", "1/4/2", "-1/4", "1/0"] {
            assert!(shard(bad).is_err_and(|message| message.contains("from 1 to N")), "{bad}");
        }
    }

    #[test]
    fn counts_have_bounds() {
        assert!(count("-1").is_err() && count("4294967296").is_err() && count("7") == Ok(7));
        assert_eq!((epochs("100000"), folds("2"), shards("1024")), (Ok(100_000), Ok(2), Ok(1024)));
        let range = Err("expected a whole number from 1 to 100000".to_owned());
        assert_eq!((epochs("0"), epochs("100001"), epochs("x")), (range.clone(), range.clone(), range));
        assert!(count("0").is_err() && folds("1").is_err() && shards("0").is_err() && shards("1025").is_err());
        assert!(threads("0").is_err() && threads("1025").is_err() && threads("2") == Ok(2));
    }
}
