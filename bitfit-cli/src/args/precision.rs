//! The values of `--precision`, and what `auto` stands for.

use bitfit_core::cpu::Isa;
use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::{Device, MachineArgs};

/// The least compute capability with instructions for bf16, ten times major plus minor.
const AMPERE: u32 = 80;

/// The type of products with frozen weights, and of activations saved for backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32 bits throughout, as PyTorch computes by default
    F32,
    /// f32, with the factors of products rounded to 10 bits of mantissa; only on a GPU
    Tf32,
    /// bfloat16 for weights and saved activations; sums, statistics and trainable values are f32
    Bf16,
    /// As bf16, with frozen weights and what they are multiplied with in 8 bits; only on a CPU
    Int8,
}

/// The value of `--precision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// bf16 where it is faster than f32, which has the same scores; otherwise f32.
    Auto,
    /// One by name.
    Of(Precision),
}

impl ValueEnum for PrecisionChoice {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [PrecisionChoice; 5] = [
            PrecisionChoice::Auto,
            PrecisionChoice::Of(Precision::F32),
            PrecisionChoice::Of(Precision::Tf32),
            PrecisionChoice::Of(Precision::Bf16),
            PrecisionChoice::Of(Precision::Int8),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Auto => {
                Some(PossibleValue::new("auto").help("bf16 on a GPU or a CPU where it is faster, otherwise f32"))
            }
            Self::Of(precision) => precision.to_possible_value(),
        }
    }
}

impl MachineArgs {
    /// The precision, that which `auto` stands for on this machine included.
    pub fn precision(&self) -> Precision {
        match (self.precision, self.device) {
            (PrecisionChoice::Of(precision), _) => precision,
            (PrecisionChoice::Auto, Device::Cuda(_)) => match self.capability.get() {
                Some(..AMPERE) => Precision::F32,
                _ => Precision::Bf16,
            },
            // An unknown instruction set is refused where the device is opened.
            (PrecisionChoice::Auto, Device::Cpu) => match Isa::from_env() {
                Ok(isa) if isa.has_fast_bf16() => Precision::Bf16,
                _ => Precision::F32,
            },
        }
    }

    /// A device's name in a plan, with how its precision was chosen.
    pub fn device_in_plan(&self, name: &str) -> String {
        match (self.precision, self.device, self.precision()) {
            (PrecisionChoice::Auto, Device::Cpu, Precision::Bf16) => {
                format!("{name}; bf16 because it is faster here than f32, with the same scores")
            }
            (PrecisionChoice::Auto, Device::Cuda(_), Precision::F32) => {
                format!("{name}; f32 because this GPU has no instructions for bf16")
            }
            (PrecisionChoice::Auto, Device::Cuda(_), _) => format!("{name}; bf16 by default"),
            _ => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Machine {
        #[command(flatten)]
        machine: MachineArgs,
    }

    #[test]
    fn a_gpu_without_instructions_for_bf16_has_f32_unless_another_is_named() {
        let on = |flags: &str, capability: u32| {
            let machine = Machine::parse_from(format!("bitfit {flags}").split(' ')).machine;
            machine.capability.set(capability).unwrap();
            (machine.precision(), machine.device_in_plan("gpu"))
        };
        let turing = (Precision::F32, "gpu; f32 because this GPU has no instructions for bf16".to_owned());
        assert_eq!(on("--device cuda", 75), turing);
        assert_eq!(on("--device cuda", 80), (Precision::Bf16, "gpu; bf16 by default".to_owned()));
        assert_eq!(on("--device cuda --precision bf16", 75), (Precision::Bf16, "gpu".to_owned()));
    }
}
