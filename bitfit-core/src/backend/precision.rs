//! [`Precision`]: the element types of a device's weights, products and saved activations.

use std::{fmt, str::FromStr};

use super::DType;

/// The precision in which a device multiplies with frozen weights and saves activations.
///
/// Sums, statistics, parameters, their gradients and the residual stream are f32 in either precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 throughout: for parity with other devices and other frameworks.
    #[default]
    F32,
    /// Products of bfloat16 with f32 sums: half the memory, and more speed if the device has instructions for it.
    Bf16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The name, as [`FromStr`] accepts it: `f32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// The type in which a device stores a frozen weight.
    pub fn weight_dtype(self) -> DType {
        self.dtype()
    }

    /// The type of the factors of a product with a frozen weight; its sums are f32.
    pub fn product_dtype(self) -> DType {
        self.dtype()
    }

    /// The type of the activations that this precision applies to: results of products with frozen weights, their
    /// gradients, and what an op saves for backward.
    pub fn activation_dtype(self) -> DType {
        self.dtype()
    }

    // Weights, products and activations have one type so far; code states which of the three it means.
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::Bf16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error of parsing a [`Precision`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision {0:?}: expected f32 or bf16")]
pub struct UnknownPrecision(String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        Self::ALL
            .into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| UnknownPrecision(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_others_are_refused() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        let message = "f16".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(message, "unknown precision \"f16\": expected f32 or bf16");
    }
}
