//! The bounds of sequences in a packed matrix `[T, H]`.

use std::sync::Arc;

use crate::{Device, Error, Indices, Result};

/// The bounds of B concatenated sequences: `B + 1` offsets, on the host and on the device.
#[derive(Debug)]
pub struct Sequences<D: Device> {
    offsets: Indices<D>,
    host: Arc<[u32]>,
    longest: usize,
}

impl<D: Device> Sequences<D> {
    /// Makes the bounds of sequences of the given lengths in tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are no sequences, one is empty, or the number of tokens overflows 32 bits;
    /// [`Error::Device`] if the device is out of memory.
    pub fn new(device: &D, lengths: impl IntoIterator<Item = usize>) -> Result<Self> {
        let host = Self::offsets_of(lengths)?;
        let offsets = Indices::new(device, &host)?;
        Ok(Self::from_offsets(host, offsets))
    }

    /// The offsets of sequences of the given lengths in tokens, to be copied with other lists.
    ///
    /// # Errors
    /// [`Error::Invalid`] as for [`Sequences::new`].
    pub fn offsets_of(lengths: impl IntoIterator<Item = usize>) -> Result<Vec<u32>> {
        let mut host = vec![0u32];
        for length in lengths {
            let end = u32::try_from(length)
                .ok()
                .filter(|&length| length > 0)
                .and_then(|length| host[host.len() - 1].checked_add(length));
            let end = end.ok_or_else(|| {
                Error::invalid("sequences", format!("sequence {} has length {length}", host.len() - 1))
            })?;
            host.push(end);
        }
        if host.len() == 1 {
            return Err(Error::invalid("sequences", "a batch has at least one sequence, found none"));
        }
        Ok(host)
    }

    /// The bounds of which the device has a copy: the first is 0, and each sequence's end is not before its start. Of
    /// the queries of [attention](crate::ops::attention), and of nothing else, a sequence may have none.
    ///
    /// # Panics
    /// If there is no sequence, or `offsets` has another length than `host`.
    pub fn from_offsets(host: Vec<u32>, offsets: Indices<D>) -> Self {
        assert_eq!(host.len(), offsets.len(), "the offsets on the device are of other sequences");
        let longest = host.windows(2).map(|bounds| (bounds[1] - bounds[0]) as usize).max();
        Self { offsets, host: host.into(), longest: longest.expect("at least one sequence") }
    }

    /// The number of sequences, B.
    pub fn count(&self) -> usize {
        self.host.len() - 1
    }

    /// The number of tokens of all sequences, T.
    pub fn tokens(&self) -> usize {
        self.host[self.count()] as usize
    }

    /// The length of the longest sequence, in tokens.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The `B + 1` offsets on the host.
    pub fn host(&self) -> &[u32] {
        &self.host
    }

    /// The `B + 1` offsets on the device.
    pub fn offsets(&self) -> &Indices<D> {
        &self.offsets
    }

    /// The rows of sequence number `sequence`.
    pub fn range(&self, sequence: usize) -> std::ops::Range<usize> {
        self.host[sequence] as usize..self.host[sequence + 1] as usize
    }

    /// The first row of every sequence, which is the row of `[CLS]`.
    pub fn starts(&self) -> &[u32] {
        &self.host[..self.count()]
    }
}

impl<D: Device> Clone for Sequences<D> {
    fn clone(&self) -> Self {
        Self { offsets: self.offsets.clone(), host: Arc::clone(&self.host), longest: self.longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    #[test]
    fn offsets_follow_from_lengths_and_an_empty_sequence_or_batch_is_refused() {
        let sequences = Sequences::new(&Cpu::default(), [3, 1, 5]).unwrap();
        assert_eq!(sequences.host(), [0, 3, 4, 9]);
        assert_eq!((sequences.count(), sequences.tokens(), sequences.longest()), (3, 9, 5));
        assert_eq!(sequences.range(2), 4..9);
        assert_eq!(sequences.starts(), [0, 3, 4]);
        assert!(Sequences::new(&Cpu::default(), [2, 0]).unwrap_err().to_string().contains("sequence 1 has length 0"));
        assert!(Sequences::new(&Cpu::default(), []).is_err());
    }
}
