//! Which instruction sets the CPU has, found once, and the environment variable that forces one.

use std::{env, fmt, str::FromStr, sync::OnceLock};

/// The environment variable that forces a level, by its [name](Level::name).
const VARIABLE: &str = "BITFIT_ISA";

/// A family of instructions, each containing the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What every CPU of the target has: SSE2 on x86-64, NEON on aarch64, plain floats elsewhere.
    Portable,
    /// AVX2 and FMA: 8 lanes.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 16 lanes.
    Avx512,
    /// The same and `vdpbf16ps`, which multiplies pairs of bfloat16.
    Avx512Bf16,
    /// The same and AMX, whose tile registers multiply matrices of bfloat16.
    Amx,
}

/// `BITFIT_ISA` asks for something that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedLevel {
    /// No such name.
    #[error("BITFIT_ISA={0:?}: no such instruction set; one of {names}", names = names())]
    Unknown(String),
    /// This CPU does not have it.
    #[error("BITFIT_ISA={asked}: this CPU has no more than {best}")]
    Missing {
        /// The level asked for.
        asked: Level,
        /// The best level the CPU has.
        best: Level,
    },
}

impl Level {
    /// Every level, the plainest first.
    pub const ALL: [Level; 5] = [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Bf16, Level::Amx];

    /// The best level of this CPU.
    pub fn detect() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(probe)
    }

    /// Every level this CPU has, the plainest first: what a test runs through.
    pub fn supported() -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(|&level| level <= Level::detect())
    }

    /// This level where the CPU has it, else the best it has.
    #[inline]
    pub fn available(self) -> Level {
        self.min(Level::detect())
    }

    /// The name `BITFIT_ISA` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Avx512Bf16 => "avx512bf16",
            Level::Amx => "amx",
        }
    }

    /// `f32` lanes of a vector.
    pub fn lanes(self) -> usize {
        match self {
            Level::Portable | Level::Avx2 => 8,
            Level::Avx512 | Level::Avx512Bf16 | Level::Amx => 16,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = UnsupportedLevel;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Level::ALL
            .into_iter()
            .find(|level| level.name() == name)
            .ok_or_else(|| UnsupportedLevel::Unknown(name.to_owned()))
    }
}

/// The level to use: the one `BITFIT_ISA` forces, else the best of this CPU. Found on the first call.
///
/// A value that [`init`] would refuse is passed over here.
#[inline]
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| init().unwrap_or_else(|_| Level::detect()))
}

/// As [`level`], refusing an unknown name or a level the CPU lacks: for a binary to call at its start.
///
/// # Errors
/// [`UnsupportedLevel`], for what `BITFIT_ISA` says.
pub fn init() -> Result<Level, UnsupportedLevel> {
    match env::var_os(VARIABLE) {
        None => Ok(Level::detect()),
        Some(value) => forced(&value.to_string_lossy(), Level::detect()),
    }
}

/// The level called `name`, if a CPU whose best is `best` has it.
fn forced(name: &str, best: Level) -> Result<Level, UnsupportedLevel> {
    let asked: Level = name.parse()?;
    if asked > best { Err(UnsupportedLevel::Missing { asked, best }) } else { Ok(asked) }
}

/// All names, for a message.
fn names() -> String {
    Level::ALL.map(Level::name).join(", ")
}

#[cfg(target_arch = "x86_64")]
fn probe() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let bfloat16 = avx512 && is_x86_feature_detected!("avx512bf16");
    match (avx2, avx512, bfloat16, bfloat16 && super::amx::available()) {
        (_, _, _, true) => Level::Amx,
        (_, _, true, _) => Level::Avx512Bf16,
        (_, true, _, _) => Level::Avx512,
        (true, _, _, _) => Level::Avx2,
        _ => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn probe() -> Level {
    Level::Portable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_order_by_strength() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!(Level::ALL.is_sorted());
    }

    #[test]
    fn a_forced_level_must_exist_and_be_there() {
        assert_eq!(forced("avx2", Level::Avx512), Ok(Level::Avx2));
        assert_eq!(forced("sse9", Level::Avx512), Err(UnsupportedLevel::Unknown("sse9".into())));
        let missing = forced("avx512", Level::Avx2).unwrap_err();
        assert_eq!(missing, UnsupportedLevel::Missing { asked: Level::Avx512, best: Level::Avx2 });
        assert!(missing.to_string().contains("no more than avx2"));
    }

    #[test]
    fn asking_for_more_than_there_is_gives_the_best() {
        assert!(Level::Avx512Bf16.available() <= Level::detect());
        assert_eq!(Level::Portable.available(), Level::Portable);
    }
}
