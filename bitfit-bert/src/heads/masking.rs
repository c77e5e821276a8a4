//! Which tokens of a sequence are masked, and what stands in their place.
//!
//! As in BERT (arXiv 1810.04805, section 3.1) and `DataCollatorForLanguageModeling` of transformers: each token that is
//! not special is chosen with a probability; of those chosen, 80 % become the mask token, 10 % a random token, and 10 %
//! stay. With whole words, the tokens of a word are chosen together and replaced each by itself. Two things differ from
//! transformers: a sequence in which nothing is chosen has one token (or word) chosen, as in BERT's own code, so that
//! short texts are trained on in every epoch; and a random token is never a special one.
//!
//! What is drawn for a sequence depends on the seed, the epoch and the sequence's number in its set alone, and so
//! neither on the batch that it is in nor on threads or device.

use std::sync::Arc;

use bitfit_core::Random;
use serde::{Deserialize, Serialize};

use super::{Examples, Targets};
use crate::tokenize::{Encoding, MaskVocabulary, ReadToken};

/// The streams of the seed that masks are drawn from, one for each epoch: far from those of the order of rows.
const STREAM: u32 = 1 << 31;
/// The seed of the masks of every evaluation, so that the scores of runs with different seeds can be compared.
const EVALUATION_SEED: u64 = 0;
/// The epoch that an evaluation draws from; those of training begin with 1.
const EVALUATION_EPOCH: usize = 0;
/// The share of the chosen tokens that become the mask token, and that of those that it or a random token replaces.
const MASKED: f64 = 0.8;
const REPLACED: f64 = 0.9;

/// How tokens are chosen to be masked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskingOptions {
    /// The probability of each token, or of each word.
    pub probability: f64,
    /// Whether the tokens of a word are chosen together.
    pub whole_words: bool,
}

impl Default for MaskingOptions {
    fn default() -> Self {
        Self { probability: 0.15, whole_words: false }
    }
}

impl MaskingOptions {
    /// Whether the probability is one.
    pub(crate) fn is_sound(&self) -> bool {
        self.probability > 0.0 && self.probability <= 1.0
    }
}

/// A source of masks.
#[derive(Clone, Debug, PartialEq)]
pub struct Masking {
    options: MaskingOptions,
    vocabulary: MaskVocabulary,
    seed: u64,
}

impl Masking {
    /// The masks of a training set in a run of this seed.
    pub fn of_training(options: MaskingOptions, vocabulary: MaskVocabulary, seed: u64) -> Self {
        Self { options, vocabulary, seed }
    }

    /// The masks of an evaluation set, the same in every run.
    pub fn of_evaluation(options: MaskingOptions, vocabulary: MaskVocabulary) -> Self {
        Self { options, vocabulary, seed: EVALUATION_SEED }
    }

    /// The masks of a run of another seed.
    pub(crate) fn with_seed(&self, seed: u64) -> Self {
        Self { seed, ..self.clone() }
    }

    /// Sequences that are masked anew in each epoch; [`Encoding::read`] has the tokens that may be chosen.
    pub fn anew(self, encodings: Vec<Encoding>) -> Examples {
        Examples::new(encodings, Targets::Masked(Arc::new(self)))
    }

    /// Sequences that are masked once, of which the first has the number `first` in its set.
    pub fn once(&self, encodings: &[Encoding], first: usize) -> Examples {
        self.mask(EVALUATION_EPOCH, encodings.iter().enumerate().map(|(place, encoding)| (first + place, encoding)))
    }

    /// Masked sequences, each with its number in its set. [`Encoding::read`] then has the chosen tokens, in their
    /// order, and the targets are the tokens that stood there.
    pub(super) fn mask<'a>(&self, epoch: usize, sequences: impl Iterator<Item = (usize, &'a Encoding)>) -> Examples {
        let masked = sequences.map(|(number, encoding)| {
            self.mask_one(&mut Random::part(self.seed, STREAM + epoch as u32, number as u32), encoding)
        });
        let (encodings, targets) = masked.unzip();
        Examples::new(encodings, Targets::Tags(targets))
    }

    fn mask_one(&self, random: &mut Random, encoding: &Encoding) -> (Encoding, Vec<usize>) {
        let MaskingOptions { probability, whole_words } = self.options;
        // What is chosen together: tokens of one word behind each other, or each token.
        let groups: Vec<&[ReadToken]> = encoding.read.chunk_by(|a, b| whole_words && a.word == b.word).collect();
        let mut chosen: Vec<&[ReadToken]> = groups.iter().copied().filter(|_| random.uniform() < probability).collect();
        if chosen.is_empty() && !groups.is_empty() {
            chosen.push(groups[random.below(groups.len() as u32) as usize]);
        }
        let mut masked = Encoding { read: Vec::new(), ..encoding.clone() };
        let mut targets = Vec::new();
        for ReadToken { token, .. } in chosen.into_iter().flatten() {
            let drawn = random.uniform();
            targets.push(encoding.ids[*token] as usize);
            masked.read.push(ReadToken { token: *token, word: masked.read.len() });
            if drawn < MASKED {
                masked.ids[*token] = self.vocabulary.mask;
            } else if drawn < REPLACED {
                let ordinary = &self.vocabulary.ordinary;
                masked.ids[*token] = ordinary[random.below(ordinary.len() as u32) as usize];
            }
        }
        (masked, targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: u32 = 4;

    /// A sequence between two special tokens, whose words have one, two, three, one, … tokens.
    fn sequence(tokens: usize, first: u32) -> Encoding {
        let ids: Vec<u32> = (0..tokens as u32).map(|place| 10 + (first + place) % 50).collect();
        let ids = [&[2], &ids[..], &[3]].concat();
        let words = (0..tokens).flat_map(|word| std::iter::repeat_n(word, 1 + word % 3));
        let read = words.zip(1..=tokens).map(|(word, token)| ReadToken { token, word }).collect();
        Encoding { type_ids: vec![0; ids.len()], ids, read, ..Encoding::default() }
    }

    fn masking(probability: f64, whole_words: bool) -> Masking {
        let vocabulary = MaskVocabulary { mask: MASK, ordinary: (10..60).collect() };
        Masking::of_training(MaskingOptions { probability, whole_words }, vocabulary, 5)
    }

    fn set(count: usize, tokens: usize) -> Vec<Encoding> {
        (0..count).map(|number| sequence(tokens, number as u32)).collect()
    }

    fn tags(examples: &Examples) -> &[Vec<usize>] {
        let Targets::Tags(tags) = &examples.targets else { panic!("{:?}", examples.targets) };
        tags
    }

    #[test]
    fn the_shares_are_those_of_bert_and_special_tokens_are_never_chosen() {
        for whole_words in [false, true] {
            let set = set(1000, 100);
            let examples = masking(0.15, whole_words).once(&set, 0);
            let (mut chosen, mut masked, mut same) = (0.0, 0.0, 0.0);
            for ((before, after), targets) in set.iter().zip(&examples.encodings).zip(tags(&examples)) {
                assert_eq!((after.ids[0], after.ids[101], targets.len()), (2, 3, after.read.len()));
                for (read, &target) in after.read.iter().zip(targets) {
                    assert!((1..=100).contains(&read.token) && before.ids[read.token] as usize == target);
                    chosen += 1.0;
                    masked += f64::from(u8::from(after.ids[read.token] == MASK));
                    same += f64::from(u8::from(after.ids[read.token] as usize == target));
                }
                let read: Vec<usize> = after.read.iter().map(|read| read.token).collect();
                let others = (0..102).filter(|token| !read.contains(token));
                others.for_each(|token| assert_eq!(before.ids[token], after.ids[token]));
            }
            // Of 100,000 tokens; five standard errors, which are twice as large for words of up to three tokens. A
            // random token is the one that stood there once in fifty times.
            let [rate, mask, stay] = [chosen / 1e5, masked / chosen, same / chosen];
            assert!((rate - 0.15).abs() < 0.011, "{rate} chosen");
            assert!((mask - 0.8).abs() < 0.017 && (stay - 0.102).abs() < 0.013, "{mask} masked, {stay} the same");
        }
    }

    #[test]
    fn the_tokens_of_a_word_are_chosen_together() {
        let set = set(50, 60);
        let examples = masking(0.3, true).once(&set, 0);
        for (before, after) in set.iter().zip(&examples.encodings) {
            let chosen = |token: usize| after.read.iter().any(|read| read.token == token);
            for pair in before.read.windows(2).filter(|pair| pair[0].word == pair[1].word) {
                assert_eq!(chosen(pair[0].token), chosen(pair[1].token));
            }
        }
    }

    #[test]
    fn what_is_drawn_depends_on_seed_epoch_and_number_and_not_on_the_batch() {
        let examples = masking(0.15, false).anew(set(20, 30));
        let whole = examples.drawn(3, &(0..20).collect::<Vec<_>>()).unwrap();
        for rows in [vec![7, 2, 19], vec![4], (0..20).rev().collect()] {
            let part = examples.drawn(3, &rows).unwrap();
            for (place, &row) in rows.iter().enumerate() {
                assert_eq!(part.encodings[place], whole.encodings[row]);
                assert_eq!(tags(&part)[place], tags(&whole)[row]);
            }
        }
        assert_ne!(examples.drawn(4, &[0, 1]).unwrap().encodings, whole.encodings[..2]);
        // Two sequences of the same tokens have different masks.
        let twice = masking(0.15, false).anew(vec![sequence(30, 0); 2]).drawn(1, &[0, 1]).unwrap();
        assert_ne!(twice.encodings[0], twice.encodings[1]);
        let other = Masking { seed: 6, ..masking(0.15, false) }.anew(set(20, 30));
        assert_ne!(other.drawn(3, &[0, 1]).unwrap().encodings, whole.encodings[..2]);
    }

    #[test]
    fn an_evaluation_set_has_the_same_masks_in_parts_as_in_one() {
        let set = set(9, 12);
        let masking = masking(0.15, false);
        let whole = masking.once(&set, 0);
        let parts = [masking.once(&set[..4], 0).encodings, masking.once(&set[4..], 4).encodings].concat();
        assert_eq!(whole.encodings, parts);
    }

    #[test]
    fn a_sequence_in_which_nothing_is_chosen_has_one_token_or_word_chosen() {
        let set = set(200, 6);
        for (whole_words, lengths) in [(false, &[1][..]), (true, &[1, 2, 3])] {
            let examples = masking(1e-9, whole_words).once(&set, 0);
            assert!(examples.encodings.iter().all(|encoding| lengths.contains(&encoding.read.len())));
            let firsts: std::collections::BTreeSet<usize> =
                examples.encodings.iter().map(|encoding| encoding.read[0].token).collect();
            assert_eq!(firsts.len(), if whole_words { 3 } else { 6 }, "any of them");
        }
        assert!(masking(1.0, false).once(&set, 0).encodings.iter().all(|encoding| encoding.read.len() == 6));
    }
}
