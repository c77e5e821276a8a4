//! A batch of tokenised texts on the device: packed, without padding.

use bitfit_core::{Device, Indices, Result, Sequences};

use crate::tokenize::Encoding;

/// Some sequences, one behind the other: T tokens, B sequences.
#[derive(Debug)]
pub struct Batch<D: Device> {
    ids: Indices<D>,
    token_types: Indices<D>,
    positions: Indices<D>,
    sequences: Sequences<D>,
    first_tokens: Indices<D>,
    first_token_sequences: Sequences<D>,
}

impl<D: Device> Batch<D> {
    /// Packs the encodings in their order.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Invalid`] when there is none, or one is empty; [`bitfit_core::Error::Device`] when the device
    /// is out of memory.
    pub fn new<'a>(device: &D, encodings: impl IntoIterator<Item = &'a Encoding> + Clone) -> Result<Self> {
        let all = || encodings.clone().into_iter();
        let ids: Vec<u32> = all().flat_map(|encoding| &encoding.ids).copied().collect();
        let token_types: Vec<u32> = all().flat_map(|encoding| &encoding.type_ids).copied().collect();
        let positions: Vec<u32> = all().flat_map(|encoding| 0..encoding.ids.len() as u32).collect();
        let sequences = Sequences::new(device, all().map(|encoding| encoding.ids.len()))?;
        Ok(Self {
            ids: Indices::new(device, &ids)?,
            token_types: Indices::new(device, &token_types)?,
            positions: Indices::new(device, &positions)?,
            first_tokens: Indices::new(device, sequences.starts())?,
            first_token_sequences: Sequences::new(device, all().map(|_| 1))?,
            sequences,
        })
    }

    /// T: tokens of all sequences; none is padding.
    pub fn tokens(&self) -> usize {
        self.sequences.tokens()
    }

    /// B: sequences.
    pub fn count(&self) -> usize {
        self.sequences.count()
    }

    /// Word pieces `[T]`.
    pub fn ids(&self) -> &Indices<D> {
        &self.ids
    }

    /// 0 for the first text of a pair, 1 for the second `[T]`.
    pub fn token_types(&self) -> &Indices<D> {
        &self.token_types
    }

    /// The place of each token in its sequence `[T]`.
    pub fn positions(&self) -> &Indices<D> {
        &self.positions
    }

    /// The bounds of the sequences.
    pub fn sequences(&self) -> &Sequences<D> {
        &self.sequences
    }

    /// The row of each sequence's first token, `[CLS]` `[B]`.
    pub fn first_tokens(&self) -> &Indices<D> {
        &self.first_tokens
    }

    /// The first tokens as B sequences of one.
    pub fn first_token_sequences(&self) -> &Sequences<D> {
        &self.first_token_sequences
    }
}
