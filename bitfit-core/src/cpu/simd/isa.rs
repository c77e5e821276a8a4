//! [`Isa`]: the instruction sets of the CPU, detected once, and the environment variable that forces one of them.

use std::{env, fmt, str::FromStr, sync::OnceLock};

/// The environment variable that forces an instruction set, by its [name](Isa::name).
const VARIABLE: &str = "BITFIT_ISA";

/// An instruction set. Each one includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// The baseline of the target: SSE2 on x86-64, NEON on aarch64, plain floats elsewhere.
    Portable,
    /// AVX2 and FMA: 8 lanes.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 16 lanes.
    Avx512,
    /// AVX-512 with AVX512_BF16, whose `vdpbf16ps` multiplies pairs of bfloat16.
    Avx512Bf16,
    /// AVX-512 with AVX512_BF16 and AMX, whose tile registers multiply matrices of bfloat16 and int8.
    Amx,
}

/// The error of a value of `BITFIT_ISA` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedIsa {
    /// There is no instruction set of this name.
    #[error("BITFIT_ISA={0:?}: unknown instruction set, expected one of {names}", names = names())]
    Unknown(String),
    /// The CPU does not have the instruction set.
    #[error("BITFIT_ISA={requested}: this CPU has no more than {best}")]
    Missing {
        /// The requested instruction set.
        requested: Isa,
        /// The best instruction set of the CPU.
        best: Isa,
    },
}

impl Isa {
    /// Every instruction set, the weakest first.
    pub const ALL: [Isa; 5] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];

    /// The best instruction set of this CPU.
    pub fn detect() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(probe)
    }

    /// The instruction set to use: the one that `BITFIT_ISA` forces, otherwise the best of this CPU. Determined on the
    /// first call.
    ///
    /// A value that [`Isa::from_env`] would refuse is ignored here.
    #[inline]
    pub fn selected() -> Isa {
        static SELECTED: OnceLock<Isa> = OnceLock::new();
        *SELECTED.get_or_init(|| Isa::from_env().unwrap_or_else(|_| Isa::detect()))
    }

    /// As [`Isa::selected`], but refuses an unknown name and an instruction set that the CPU lacks: a binary calls it
    /// at its start.
    ///
    /// # Errors
    /// [`UnsupportedIsa`] for such a value of `BITFIT_ISA`.
    pub fn from_env() -> Result<Isa, UnsupportedIsa> {
        match env::var_os(VARIABLE) {
            None => Ok(Isa::detect()),
            Some(value) => forced(&value.to_string_lossy(), Isa::detect()),
        }
    }

    /// The instruction sets of this CPU, the weakest first. Tests run with each of them.
    pub fn supported() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|&isa| isa <= Isa::detect())
    }

    /// This instruction set if the CPU has it, otherwise the best one that it has.
    #[inline]
    pub fn available(self) -> Isa {
        self.min(Isa::detect())
    }

    /// Whether products of bfloat16 are faster than those of f32 with it on this CPU: those in AMX's tile registers
    /// are, and those of `vdpbf16ps` on AMD's CPUs. On an Intel Xeon the latter took 1.5 times as long.
    pub fn has_fast_bf16(self) -> bool {
        match self.available() {
            Isa::Portable | Isa::Avx2 | Isa::Avx512 => false,
            Isa::Avx512Bf16 => is_made_by_amd(),
            Isa::Amx => true,
        }
    }

    /// The name, as a value of `BITFIT_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Amx => "amx",
        }
    }

    /// The number of `f32` lanes of a vector.
    pub fn lanes(self) -> usize {
        match self {
            Isa::Portable | Isa::Avx2 => 8,
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => 16,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = UnsupportedIsa;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| UnsupportedIsa::Unknown(name.to_owned()))
    }
}

/// The instruction set called `name`, if a CPU whose best is `best` has it.
fn forced(name: &str, best: Isa) -> Result<Isa, UnsupportedIsa> {
    let requested: Isa = name.parse()?;
    if requested > best { Err(UnsupportedIsa::Missing { requested, best }) } else { Ok(requested) }
}

/// All names, for an error message.
fn names() -> String {
    Isa::ALL.map(Isa::name).join(", ")
}

#[cfg(target_arch = "x86_64")]
fn probe() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let bfloat16 = avx512 && is_x86_feature_detected!("avx512bf16");
    match (avx2, avx512, bfloat16, bfloat16 && super::amx::available()) {
        (_, _, _, true) => Isa::Amx,
        (_, _, true, _) => Isa::Avx512Bf16,
        (_, true, _, _) => Isa::Avx512,
        (true, _, _, _) => Isa::Avx2,
        _ => Isa::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn probe() -> Isa {
    Isa::Portable
}

/// Whether the vendor in leaf 0 of `cpuid` is AMD.
#[cfg(target_arch = "x86_64")]
fn is_made_by_amd() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_made_by_amd() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_order_by_strength() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert!(Isa::ALL.is_sorted());
    }

    #[test]
    fn a_forced_instruction_set_must_exist_and_be_available() {
        assert_eq!(forced("avx2", Isa::Avx512), Ok(Isa::Avx2));
        assert_eq!(forced("sse9", Isa::Avx512), Err(UnsupportedIsa::Unknown("sse9".into())));
        let missing = forced("avx512", Isa::Avx2).unwrap_err();
        assert_eq!(missing, UnsupportedIsa::Missing { requested: Isa::Avx512, best: Isa::Avx2 });
        assert!(missing.to_string().contains("no more than avx2"));
    }

    #[test]
    fn an_unavailable_instruction_set_is_replaced_by_the_best() {
        assert!(Isa::Avx512Bf16.available() <= Isa::detect());
        assert_eq!(Isa::Portable.available(), Isa::Portable);
    }
}
