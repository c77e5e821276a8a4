//! A method by the name that a comparison lists it by.

use std::fmt;
use std::str::FromStr;

use crate::UnknownName;
use crate::methods::{BiasKind, BiasSelection, Method};

use super::probe::ProbeUse;

/// A method of a comparison: what trains, and under which name.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodChoice {
    /// The name, as it was written.
    pub name: String,
    /// What trains beside the head.
    pub method: Method,
    /// What is done with a probe.
    pub probe: ProbeUse,
    /// The learning rate; `None` for that of the task.
    pub learning_rate: Option<f32>,
}

/// Why a name of a method cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodChoiceError {
    /// There is no such method, or no such kind of bias.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// Kinds of bias behind a method that trains none.
    #[error("{method} trains no biases, so it has no kinds of them: leave out :{kinds}")]
    NoKinds {
        /// The method.
        method: String,
        /// What stands behind it.
        kinds: String,
    },
}

/// The methods that can be compared.
const METHODS: [&str; 3] = ["probe", "bitfit", "frozen"];

impl MethodChoice {
    /// The name of the method itself, without what stands behind a colon.
    pub fn base_name(&self) -> &str {
        self.name.split(':').next().unwrap_or_default()
    }

    /// The name as part of a path.
    pub fn file_name(&self) -> String {
        self.name.replace(':', "-")
    }
}

impl FromStr for MethodChoice {
    type Err = MethodChoiceError;

    /// Reads `probe`, `frozen`, `bitfit`, or `bitfit:query+intermediate` with kinds of bias. This is the one place that
    /// knows the names.
    fn from_str(name: &str) -> Result<Self, MethodChoiceError> {
        let (method, kinds) = name.split_once(':').map_or((name, None), |(method, kinds)| (method, Some(kinds)));
        let (trains, probe) = match method {
            "probe" => (Method::Frozen, ProbeUse::Result),
            "frozen" => (Method::Frozen, ProbeUse::Baseline),
            "bitfit" => (Method::BitFit(biases(kinds)?), ProbeUse::Baseline),
            _ => return Err(UnknownName { what: "method", name: method.into(), known: METHODS.to_vec() }.into()),
        };
        match kinds.filter(|_| trains.biases().is_empty()) {
            Some(kinds) => Err(MethodChoiceError::NoKinds { method: method.into(), kinds: kinds.into() }),
            None => Ok(Self { name: name.into(), method: trains, probe, learning_rate: None }),
        }
    }
}

impl fmt::Display for MethodChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Kinds of bias between plus signs; all without any.
fn biases(kinds: Option<&str>) -> Result<BiasSelection, UnknownName> {
    match kinds {
        None | Some("all") => Ok(BiasSelection::all()),
        Some(kinds) => Ok(BiasSelection::of(kinds.split('+').map(str::parse).collect::<Result<Vec<BiasKind>, _>>()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Result<MethodChoice, String> {
        name.parse().map_err(|error: MethodChoiceError| error.to_string())
    }

    #[test]
    fn a_method_may_have_kinds_of_bias_of_its_own() {
        let choice = read("bitfit:query+intermediate").unwrap();
        let kinds = BiasSelection::of([BiasKind::Query, BiasKind::Intermediate]);
        assert_eq!((choice.method.clone(), choice.probe), (Method::BitFit(kinds), ProbeUse::Baseline));
        let names = (choice.to_string(), choice.base_name(), choice.file_name());
        assert_eq!(names, ("bitfit:query+intermediate".into(), "bitfit", "bitfit-query+intermediate".into()));
        for all in ["bitfit", "bitfit:all"] {
            assert_eq!(read(all).unwrap().method, Method::BitFit(BiasSelection::all()));
        }
        assert_eq!(read("frozen").unwrap().method, Method::Frozen);
        assert_eq!(read("probe").unwrap().probe, ProbeUse::Result);
    }

    #[test]
    fn what_is_no_method_is_named() {
        let message = read("bitfti").unwrap_err();
        assert!(message.contains("no method \"bitfti\"; expected probe, bitfit"), "{message}");
        assert!(read("bitfit:query+q").unwrap_err().contains("bias kind \"q\""));
        assert!(read("bitfit:").is_err() && read("").is_err() && read("bitfit:query,value").is_err());
        let message = read("frozen:query").unwrap_err();
        assert_eq!(message, "frozen trains no biases, so it has no kinds of them: leave out :query");
    }
}
