//! A method as text: `bitfit`, `bitfit:query+intermediate@4-5`, `columns:3`, `random-uniform:7`, `bitfit+columns:3`.

use std::fmt;
use std::str::FromStr;

use super::{BiasKind, BiasSelection, Method};

/// The forms that are read, for messages.
const FORMS: &str = "bitfit, bitfit:KIND+KIND, frozen, full, layernorm, random-uniform, random-row-col, columns:K, \
                     rows:K, several of them joined by +, or probe";

impl fmt::Display for Method {
    /// The form that a user writes and [`FromStr`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Union(methods) = self {
            for (index, method) in methods.iter().enumerate() {
                write!(f, "{}{method}", if index == 0 { "" } else { "+" })?;
            }
            return Ok(());
        }
        f.write_str(self.name())?;
        match self {
            Self::BitFit(biases) => {
                if !biases.is_every_kind() {
                    let kinds: Vec<&str> = biases.kinds().map(BiasKind::name).collect();
                    write!(f, ":{}", kinds.join("+"))?;
                }
                biases.layers().map_or(Ok(()), |layers| write!(f, "@{}-{}", layers.start(), layers.end()))
            }
            Self::RandomUniform(Some(seed)) | Self::RandomRowCol(Some(seed)) => write!(f, ":{seed}"),
            Self::Columns(count) | Self::Rows(count) => write!(f, ":{count}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut methods: Vec<Self> = Vec::new();
        let mut parts = text.split('+').peekable();
        while let Some(part) = parts.next() {
            let mut part = part.to_owned();
            // The kinds of `bitfit:query+intermediate` are joined by the sign that joins methods.
            if part.starts_with("bitfit:") {
                let is_kind = |next: &&str| next.split('@').next().is_some_and(|name| name.parse::<BiasKind>().is_ok());
                while let Some(kind) = parts.next_if(is_kind) {
                    part = format!("{part}+{kind}");
                }
            }
            methods.push(single(&part)?);
        }
        let names = |method: &Self| method.name();
        for (index, method) in methods.iter().enumerate() {
            if methods[..index].iter().any(|other| names(other) == names(method)) {
                return Err(format!("{} stands twice in {text:?}", method.name()));
            }
        }
        match methods.len() {
            1 => Ok(methods.remove(0)),
            _ if methods.contains(&Self::Probe) => {
                Err(format!("probe has no steps, so that it cannot be joined with a method that has: {text:?}"))
            }
            _ => Ok(Self::Union(methods)),
        }
    }
}

fn single(text: &str) -> Result<Method, String> {
    let unknown = || format!("unknown method {text:?}: expected {FORMS}");
    if text == "bitfit" || text.starts_with("bitfit:") || text.starts_with("bitfit@") {
        return bitfit(text);
    }
    let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
    let count = || {
        let count = argument.and_then(|count| count.parse::<usize>().ok()).filter(|&count| count > 0);
        count.ok_or_else(|| format!("expected a number of {name} such as {name}:3, found {text:?}"))
    };
    let seed = || match argument {
        None => Ok(None),
        Some(seed) => seed.parse().map(Some).map_err(|_| format!("expected a seed such as {name}:0, found {text:?}")),
    };
    let plain = |method: Method| if argument.is_none() { Ok(method) } else { Err(unknown()) };
    match name {
        "frozen" => plain(Method::Frozen),
        "probe" => plain(Method::Probe),
        "full" => plain(Method::Full),
        "layernorm" => plain(Method::LayerNorm),
        "mask" => plain(Method::Mask(None)),
        "random-uniform" => seed().map(Method::RandomUniform),
        "random-row-col" => seed().map(Method::RandomRowCol),
        "columns" => count().map(Method::Columns),
        "rows" => count().map(Method::Rows),
        _ => Err(unknown()),
    }
}

fn bitfit(text: &str) -> Result<Method, String> {
    let rest = &text["bitfit".len()..];
    let (kinds, layers) = rest.split_once('@').map_or((rest, None), |(kinds, layers)| (kinds, Some(layers)));
    let biases = match kinds.strip_prefix(':') {
        None => BiasSelection::all(),
        Some(kinds) => {
            let kinds: Result<Vec<BiasKind>, _> = kinds.split('+').map(str::parse).collect();
            BiasSelection::of(kinds.map_err(|error| error.to_string())?)
        }
    };
    let Some(layers) = layers else { return Ok(Method::BitFit(biases)) };
    let range = layers.split_once('-').and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
    match range.filter(|range| !range.is_empty()) {
        Some(range) => Ok(Method::BitFit(biases.in_layers(range))),
        None => Err(format!("expected a range of layers such as 4-5, found {layers:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_read_as_it_is_written() {
        for text in [
            "bitfit",
            "bitfit:query+intermediate",
            "bitfit@4-5",
            "bitfit:query@0-0",
            "frozen",
            "probe",
            "full",
            "layernorm",
            "random-uniform",
            "random-uniform:7",
            "random-row-col:0",
            "columns:3",
            "rows:1",
            "mask",
            "bitfit+columns:3",
            "bitfit:query+pooler@1-2+layernorm+rows:2",
        ] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        let every_kind = BiasSelection::of(BiasKind::ALL.iter().copied());
        assert_eq!("bitfit".parse(), Ok(Method::BitFit(every_kind)));
    }

    #[test]
    fn what_is_no_method_is_refused_with_the_forms_that_are() {
        for (text, words) in [
            ("lora", "unknown method \"lora\": expected bitfit, "),
            ("full:3", "unknown method"),
            ("columns", "such as columns:3"),
            ("columns:0", "such as columns:3"),
            ("rows:-1", "such as rows:3"),
            ("random-uniform:x", "such as random-uniform:0"),
            ("bitfit:keys", "\"keys\""),
            ("bitfit@5-4", "such as 4-5"),
            ("rows:1+rows:2", "rows stands twice"),
            ("bitfit+probe", "probe has no steps"),
            ("bitfit+query", "unknown method \"query\""),
            ("", "unknown method \"\""),
        ] {
            let message = text.parse::<Method>().unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
