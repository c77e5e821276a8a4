//! The texts that are too long for one sequence, and how much of them is lost.

use crate::tokenize::Encoding;

/// The texts among several that are longer than the maximum length and are cut there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The number of them.
    pub texts: usize,
    /// The number of all texts.
    pub of: usize,
    /// Their tokens that are left out; of very long texts an estimate.
    pub left_out: usize,
    /// All their tokens.
    pub tokens: usize,
}

impl Cut {
    /// Counts further texts.
    pub(crate) fn add<'a>(&mut self, encodings: impl IntoIterator<Item = &'a Encoding>) {
        for encoding in encodings {
            self.of += 1;
            if encoding.left_out > 0 {
                self.texts += 1;
                self.left_out += encoding.left_out;
                self.tokens += encoding.left_out + encoding.ids.len();
            }
        }
    }
}
