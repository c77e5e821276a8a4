//! [`BatchOffset`]: where a part of a batch stands in it. A pass over the part draws the dropout masks that a pass over
//! the whole batch draws for the same rows, so the batch can be computed in parts, one after the other or at once.

/// The number of rows of each kind that a batch has before a part of it; all 0 for the whole batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchOffset {
    /// Tokens: rows of packed matrices `[T, H]`.
    pub tokens: u64,
    /// Sequences: rows of matrices `[B, H]`, and the matrices of attention.
    pub sequences: u64,
    /// Rows that the head of a network reads.
    pub outputs: u64,
}

/// What a matrix has a row for: by these its rows are counted over the parts of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsOf {
    /// A token, or whatever else a batch has an example in each row of.
    Tokens,
    /// A sequence.
    Sequences,
    /// What the head reads: a text, or some of its tokens.
    Outputs,
}

impl BatchOffset {
    /// The number of rows of a kind.
    pub fn rows(&self, of: RowsOf) -> u64 {
        match of {
            RowsOf::Tokens => self.tokens,
            RowsOf::Sequences => self.sequences,
            RowsOf::Outputs => self.outputs,
        }
    }

    /// The offset of what follows a part with this offset and these rows.
    #[must_use]
    pub fn after(self, tokens: usize, sequences: usize, outputs: usize) -> Self {
        Self {
            tokens: self.tokens + tokens as u64,
            sequences: self.sequences + sequences as u64,
            outputs: self.outputs + outputs as u64,
        }
    }
}
