//! JSON as a tree that can hold what `serde_json`'s values cannot: keys that are there twice, numbers of any size.

use std::fmt;

use bitfit_core::rng::Random;
use serde_json::Value;

use crate::mutate::{any, below};
use crate::text;

/// A value of JSON.
#[derive(Clone, Debug)]
pub enum Tree {
    /// Anything but an array or an object, as it is written.
    Leaf(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// Values at the ends of what types can hold, and texts that are no JSON.
const LEAVES: [&str; 40] = [
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "\"\"",
    "[null]",
    "{\"\":null}",
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "127",
    "128",
    "255",
    "256",
    "1000",
    "65535",
    "65536",
    "16777215",
    "16777216",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "0.5",
    "1e-12",
    "1e-60",
    "1e308",
    "1e999",
    "-1e999",
    "NaN",
];

impl Tree {
    /// Reads JSON that `serde_json` reads.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self::of)
    }

    fn of(value: Value) -> Self {
        match value {
            Value::Array(parts) => Self::Array(parts.into_iter().map(Self::of).collect()),
            Value::Object(fields) => {
                Self::Object(fields.into_iter().map(|(key, value)| (key, Self::of(value))).collect())
            }
            leaf => Self::Leaf(leaf.to_string()),
        }
    }

    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Leaf(Value::from(text).to_string())
    }

    /// The text of a leaf that is one.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Self::Leaf(leaf) => serde_json::from_str(leaf).ok(),
            _ => None,
        }
    }

    /// The value of a key.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match self {
            Self::Object(fields) => fields.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The parts of an array or an object.
    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Leaf(_) => Vec::new(),
            Self::Array(parts) => parts.iter().collect(),
            Self::Object(fields) => fields.iter().map(|(_, value)| value).collect(),
        }
    }

    /// Changes one place, with parts of `other` among what comes in.
    pub fn mutate(&mut self, other: &Self, random: &mut Random) {
        let descends = !self.parts().is_empty() && random.below(5) > 0;
        match self {
            Self::Array(parts) if descends => {
                let at = below(parts.len(), random);
                parts[at].mutate(other, random);
            }
            Self::Object(fields) if descends => {
                let at = below(fields.len(), random);
                fields[at].1.mutate(other, random);
            }
            _ => self.change(other, random),
        }
    }

    fn change(&mut self, other: &Self, random: &mut Random) {
        match random.below(12) {
            0 | 1 => *self = Self::new(other, random),
            2 => *self = other.part(random).clone(),
            3 => *self = Self::Array(vec![self.clone()]),
            4 => *self = Self::Object(vec![(text::piece(random), self.clone())]),
            _ => match self {
                Self::Leaf(leaf) => nudge(leaf, other, random),
                Self::Array(parts) => change_array(parts, other, random),
                Self::Object(fields) => change_object(fields, other, random),
            },
        }
    }

    /// A value out of nothing.
    fn new(other: &Self, random: &mut Random) -> Self {
        match random.below(16) {
            0 | 1 => Self::text(&text::piece(random)),
            2 => Self::text(&text::text(random)),
            3 => other.part(random).clone(),
            4 => {
                // Around the depth at which serde_json gives up, and far below the end of a stack.
                let depth = *any(&[1, 100, 126, 127, 128, 129, 3_000], random);
                let is_array = random.below(2) == 0;
                let (open, close) = if is_array { ("[", "]") } else { ("{\"a\":", "}") };
                Self::Leaf(open.repeat(depth) + "1" + &close.repeat(depth))
            }
            _ => Self::Leaf((*any(&LEAVES, random)).into()),
        }
    }

    /// Any part of the tree.
    fn part(&self, random: &mut Random) -> &Self {
        let parts = self.parts();
        if parts.is_empty() || random.below(4) == 0 { self } else { parts[below(parts.len(), random)].part(random) }
    }

    /// The values of a key anywhere in the tree.
    fn all_of<'a>(&'a self, key: &str, found: &mut Vec<&'a Self>) {
        if let Self::Object(fields) = self {
            found.extend(fields.iter().filter(|(name, _)| name == key).map(|(_, value)| value));
        }
        self.parts().into_iter().for_each(|part| part.all_of(key, found));
    }
}

/// Changes a leaf a little.
fn nudge(leaf: &mut String, other: &Tree, random: &mut Random) {
    if let Ok(number) = leaf.parse::<i64>() {
        *leaf = match random.below(5) {
            0 => number.saturating_add(1).to_string(),
            1 => number.saturating_sub(1).to_string(),
            2 => number.saturating_mul(2).to_string(),
            3 => format!("{number}.5"),
            _ => format!("-{number}"),
        };
    } else if let Ok(mut text) = serde_json::from_str::<String>(leaf) {
        let at = text.floor_char_boundary(below(text.len() + 1, random));
        match random.below(4) {
            0 => text.insert_str(at, &text::piece(random)),
            1 => text.truncate(at),
            2 => text = text.repeat(below(5, random)),
            _ => text = other.part(random).as_text().unwrap_or_default(),
        }
        *leaf = Value::from(text).to_string();
    } else {
        *leaf = (*any(&LEAVES, random)).into();
    }
}

fn change_array(parts: &mut Vec<Tree>, other: &Tree, random: &mut Random) {
    let at = below(parts.len(), random);
    match random.below(6) {
        _ if parts.is_empty() => parts.push(Tree::new(other, random)),
        0 => _ = parts.remove(at),
        1 => parts.insert(at, parts[at].clone()),
        2 => {
            let last = parts.len() - 1;
            parts.swap(at, last);
        }
        3 => parts.insert(at, Tree::new(other, random)),
        4 => {
            let part = parts[at].clone();
            let times = *any(&[2, 10, 100, 1_000], random);
            if part.to_string().len() * times < 1 << 20 {
                parts.extend(std::iter::repeat_n(part, times));
            }
        }
        _ => parts.truncate(at),
    }
}

fn change_object(fields: &mut Vec<(String, Tree)>, other: &Tree, random: &mut Random) {
    let at = below(fields.len(), random);
    match random.below(8) {
        _ if fields.is_empty() => fields.push((text::piece(random), Tree::new(other, random))),
        0 => _ = fields.remove(at),
        1 => fields[at].0 = text::piece(random),
        2 => {
            let key = any(fields, random).0.clone();
            fields[at].0 = key;
        }
        3 => {
            let key = fields[at].0.clone();
            fields.push((key, Tree::new(other, random)));
        }
        4 => fields.push((text::piece(random), Tree::new(other, random))),
        5 => {
            let from = below(fields.len(), random);
            fields[at].1 = fields[from].1.clone();
        }
        // What another file has under the same key.
        _ => {
            let mut found = Vec::new();
            other.all_of(&fields[at].0, &mut found);
            if !found.is_empty() {
                fields[at].1 = (*any(&found, random)).clone();
            }
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf(leaf) => f.write_str(leaf),
            Self::Array(parts) => {
                f.write_str("[")?;
                for (index, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if index > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (index, (key, value)) in fields.iter().enumerate() {
                    write!(f, "{}{}:{value}", if index > 0 { "," } else { "" }, Value::from(key.as_str()))?;
                }
                f.write_str("}")
            }
        }
    }
}
