//! [`Precision`]: the element types of a device's weights, products and saved activations.

use std::{fmt, str::FromStr};

use super::DType;

/// The precision in which a device multiplies with frozen weights and saves activations.
///
/// Sums, statistics, parameters, their gradients and the residual stream are f32 in every precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 throughout: for parity with other devices and other frameworks.
    #[default]
    F32,
    /// Products of bfloat16 with f32 sums: half the memory, and more speed if the device has instructions for it.
    Bf16,
    /// As [`Precision::Bf16`], with products of frozen weights in int8, whose factors are rounded to 8 bits with a
    /// scale for each row; weights of which something trains are bfloat16. Only the CPU has it.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// The name, as [`FromStr`] accepts it: `f32`, `bf16` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// The precision of products with a weight of which something trains.
    pub fn of_trained_weights(self) -> Self {
        match self {
            Self::Int8 => Self::Bf16,
            other => other,
        }
    }

    /// The type of the factors that an op hands to a product with a weight; int8 is rounded from it inside the product.
    pub fn product_dtype(self) -> DType {
        self.dtype()
    }

    /// The type of the activations that this precision applies to: results of products with frozen weights, their
    /// gradients, and what an op saves for backward. Where it is bfloat16, the derivative of the GELU is kept in a byte
    /// ([`feed_forward`](crate::ops::feed_forward)).
    pub fn activation_dtype(self) -> DType {
        self.dtype()
    }

    // Factors and activations have one type so far; code states which of the two it means.
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 | Self::Int8 => DType::Bf16,
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
#[error("unknown precision {0:?}: expected f32, bf16 or int8")]
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
        assert_eq!(message, "unknown precision \"f16\": expected f32, bf16 or int8");
    }
}
