//! F1 of entities: an entity counts where its type, its first and its last word are all right. `f1_score` of seqeval in
//! its default mode, which is that of the script conlleval of the CoNLL-2000 task.
//!
//! A tag is a prefix and a type, `B-PER`. Read are IOB1 and IOB2 (`B` begins an entity, `I` goes on with it), BIOES
//! (`E` ends one, `S` is one of a single word), and tags out of order as the script reads them: an `I` of another type
//! than the word before begins an entity.

use super::f1;

/// F1 over all sentences, 2 right / (predicted + true); 0 without any entity.
pub fn entity_f1(predicted: &[Vec<&str>], expected: &[Vec<&str>]) -> f64 {
    let (mut right, mut all) = (0_usize, 0_usize);
    for (predicted, expected) in predicted.iter().zip(expected) {
        let (predicted, expected) = (entities(predicted), entities(expected));
        all += predicted.len() + expected.len();
        // Both are in the order of their last words, and an entity ends where no other does.
        let is_found = |entity: &&Entity| {
            let place = predicted.binary_search_by_key(&entity.last, |found| found.last);
            place.is_ok_and(|place| predicted[place] == **entity)
        };
        right += expected.iter().filter(is_found).count();
    }
    f1::of_counts(right, all)
}

/// A run of words that is one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entity<'a> {
    /// Its type; `_` for tags without one.
    pub kind: &'a str,
    /// The number of its first word in the sentence.
    pub first: usize,
    /// The number of its last word.
    pub last: usize,
}

/// The entities of a sentence.
pub fn entities<'a>(tags: &[&'a str]) -> Vec<Entity<'a>> {
    let mut found = Vec::new();
    let (mut before, mut first) = (Tag { prefix: 'O', kind: "_" }, 0);
    for (at, tag) in tags.iter().map(|tag| Tag::of(tag)).chain([Tag { prefix: 'O', kind: "_" }]).enumerate() {
        if before.ends_before(tag) {
            found.push(Entity { kind: before.kind, first, last: at - 1 });
        }
        if tag.begins_after(before) {
            first = at;
        }
        before = tag;
    }
    found
}

/// Whether these tags mark entities: each is `O`, or one of the prefixes, a hyphen and a type.
pub fn mark_entities<'a>(tags: impl IntoIterator<Item = &'a str>) -> bool {
    let is_mark = |tag: &str| matches!(tag.split_once('-'), Some(("B" | "I" | "E" | "S", kind)) if !kind.is_empty());
    let mut has_mark = false;
    tags.into_iter().all(|tag| {
        has_mark |= is_mark(tag);
        tag == "O" || is_mark(tag)
    }) && has_mark
}

#[derive(Clone, Copy)]
struct Tag<'a> {
    prefix: char,
    kind: &'a str,
}

impl<'a> Tag<'a> {
    fn of(tag: &'a str) -> Self {
        let prefix = tag.chars().next().unwrap_or('O');
        let rest = &tag[prefix.len_utf8().min(tag.len())..];
        let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
        Self { prefix, kind: if kind.is_empty() { "_" } else { kind } }
    }

    /// Whether an entity ends with this tag, before `next`.
    fn ends_before(self, next: Self) -> bool {
        matches!((self.prefix, next.prefix), ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O'))
            || (!matches!(self.prefix, 'O' | '.') && self.kind != next.kind)
    }

    /// Whether an entity begins with this tag, after `before`.
    fn begins_after(self, before: Self) -> bool {
        matches!((before.prefix, self.prefix), (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I'))
            || (!matches!(self.prefix, 'O' | '.') && before.kind != self.kind)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        predicted: Vec<Vec<String>>,
        expected: Vec<Vec<String>>,
        f1: f64,
    }

    fn as_str(sentences: &[Vec<String>]) -> Vec<Vec<&str>> {
        sentences.iter().map(|tags| tags.iter().map(String::as_str).collect()).collect()
    }

    #[test]
    fn tags_mark_entities_where_each_is_a_prefix_and_a_type() {
        assert!(mark_entities(["O", "B-PER", "I-PER"]) && mark_entities(["S-a-b", "O"]));
        for tags in [&["O"][..], &["NOUN", "VERB"], &["B-PER", "NOUN"], &["B-", "O"], &["B-NP", "X-NP"]] {
            assert!(!mark_entities(tags.iter().copied()), "{tags:?}");
        }
    }

    #[test]
    fn an_entity_counts_where_its_type_and_both_ends_are_right() {
        let expected = vec!["B-X", "I-X", "O", "B-Y", "B-Y", "O", "S-Z"];
        for (predicted, right) in [
            (expected.clone(), 4.0),
            (vec!["O", "I-X", "O", "B-Y", "I-Y", "O", "S-Z"], 1.0),
            (vec!["B-Y", "I-Y", "O", "B-X", "B-Y", "O", "O"], 1.0),
        ] {
            let all = (entities(&predicted).len() + entities(&expected).len()) as f64;
            assert_eq!(entity_f1(&[predicted], std::slice::from_ref(&expected)), 2.0 * right / all);
        }
    }

    #[test]
    fn agrees_with_seqeval() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/entity_f1.json");
        let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(cases.iter().filter(|case| case.f1 > 0.0 && case.f1 < 1.0).count() > 20);
        for Case { predicted, expected, f1 } in cases {
            let found = entity_f1(&as_str(&predicted), &as_str(&expected));
            assert!((found - f1).abs() < 1e-12, "{found} {f1}: {predicted:?} {expected:?}");
        }
    }
}
