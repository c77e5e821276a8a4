//! A batch of tokenised texts, packed without padding, with all data that a step reads.

use bitfit_core::{Device, Indices, Result, Sequences};

use crate::heads::Targets;
use crate::tokenize::Encoding;

/// Concatenated sequences on the device: T tokens, B sequences.
#[derive(Debug)]
pub struct Batch<D: Device> {
    ids: Indices<D>,
    token_types: Indices<D>,
    positions: Indices<D>,
    sequences: Sequences<D>,
    first_tokens: Indices<D>,
    first_token_sequences: Sequences<D>,
    /// The targets of the sequences, on the host; `None` in prediction.
    targets: Option<Targets>,
}

impl<D: Device> Batch<D> {
    /// Packs the encodings in their order. `first_position` is the position of each sequence's first token
    /// ([`crate::arch::Architecture::position_offset`]).
    ///
    /// # Errors
    /// [`bitfit_core::Error::Invalid`] when there is none, or one is empty; [`bitfit_core::Error::Device`] when the
    /// device is out of memory.
    pub fn new<'a>(
        device: &D,
        encodings: impl IntoIterator<Item = &'a Encoding> + Clone,
        first_position: usize,
    ) -> Result<Self> {
        let all = || encodings.clone().into_iter();
        let ids: Vec<u32> = all().flat_map(|encoding| &encoding.ids).copied().collect();
        let token_types: Vec<u32> = all().flat_map(|encoding| &encoding.type_ids).copied().collect();
        let positions: Vec<u32> =
            all().flat_map(|encoding| (first_position..).take(encoding.ids.len()).map(|place| place as u32)).collect();
        let sequences = Sequences::new(device, all().map(|encoding| encoding.ids.len()))?;
        Ok(Self {
            ids: Indices::new(device, &ids)?,
            token_types: Indices::new(device, &token_types)?,
            positions: Indices::new(device, &positions)?,
            first_tokens: Indices::new(device, sequences.starts())?,
            first_token_sequences: Sequences::new(device, all().map(|_| 1))?,
            sequences,
            targets: None,
        })
    }

    /// The batch with the targets of its sequences.
    #[must_use]
    pub fn with_targets(self, targets: Targets) -> Self {
        Self { targets: Some(targets), ..self }
    }

    /// The targets of the sequences; `None` in prediction.
    pub fn targets(&self) -> Option<&Targets> {
        self.targets.as_ref()
    }

    /// T: the number of tokens of all sequences; none is padding.
    pub fn tokens(&self) -> usize {
        self.sequences.tokens()
    }

    /// B: the number of sequences.
    pub fn count(&self) -> usize {
        self.sequences.count()
    }

    /// The word pieces `[T]`.
    pub fn ids(&self) -> &Indices<D> {
        &self.ids
    }

    /// The token types `[T]`: 0 for the first text of a pair, 1 for the second.
    pub fn token_types(&self) -> &Indices<D> {
        &self.token_types
    }

    /// The positions `[T]` of the tokens in their sequences.
    pub fn positions(&self) -> &Indices<D> {
        &self.positions
    }

    /// The bounds of the sequences.
    pub fn sequences(&self) -> &Sequences<D> {
        &self.sequences
    }

    /// The rows `[B]` of the sequences' first tokens, `[CLS]`.
    pub fn first_tokens(&self) -> &Indices<D> {
        &self.first_tokens
    }

    /// The bounds of the first tokens as B sequences of one token.
    pub fn first_token_sequences(&self) -> &Sequences<D> {
        &self.first_token_sequences
    }
}
