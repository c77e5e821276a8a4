//! A method by the name that a user gives it.

use std::fmt;
use std::str::FromStr;

use crate::methods::Method;

/// A method as it was named, and its learning rate.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodChoice {
    /// The name, as it was written.
    pub name: String,
    /// What trains besides the head.
    pub method: Method,
    /// The learning rate; `None` for that of the task.
    pub learning_rate: Option<f32>,
}

impl MethodChoice {
    /// The name of the method itself, without what stands behind a colon.
    pub fn base_name(&self) -> &str {
        self.name.split([':', '@', '+']).next().unwrap_or_default()
    }

    /// The name as part of a path.
    pub fn file_name(&self) -> String {
        self.name.replace([':', '@'], "-")
    }
}

impl FromStr for MethodChoice {
    type Err = String;

    /// Reads what [`Method`] reads. A mask has no name: it is read from a file.
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "mask" => Err("a mask has no name: it is read from a file, with --mask".into()),
            name => Ok(Self { name: name.into(), method: name.parse()?, learning_rate: None }),
        }
    }
}

impl fmt::Display for MethodChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::{BiasKind, BiasSelection};

    #[test]
    fn a_method_may_have_kinds_of_bias_of_its_own() {
        let choice: MethodChoice = "bitfit:query+intermediate@0-1".parse().unwrap();
        let kinds = BiasSelection::of([BiasKind::Query, BiasKind::Intermediate]).in_layers(0..=1);
        assert_eq!(choice.method, Method::BitFit(kinds));
        let names = (choice.to_string(), choice.base_name(), choice.file_name());
        assert_eq!(names, (choice.name.clone(), "bitfit", "bitfit-query+intermediate-0-1".into()));
        assert_eq!("bitfit+columns:3".parse::<MethodChoice>().unwrap().base_name(), "bitfit");
        assert_eq!("probe".parse::<MethodChoice>().unwrap().method, Method::Probe);
    }

    #[test]
    fn what_is_no_method_is_named() {
        let refused = |name: &str| name.parse::<MethodChoice>().unwrap_err();
        assert!(refused("bitfti").contains("unknown method \"bitfti\": expected bitfit, "));
        assert!(refused("bitfti").ends_with(", or probe") && !refused("bitfit:q").ends_with(", or probe"));
        assert!(refused("mask").contains("from a file"));
    }
}
