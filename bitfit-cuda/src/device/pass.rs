//! What the kernels of dropout read of a pass in the device's memory: the number of the training step, and where the
//! pass stands in its batch. As arguments they would be others in every step and every part of a batch, and their
//! graphs other ones too ([`crate::queue`]).

use std::sync::{Mutex, MutexGuard, PoisonError};

use bitfit_core::{
    BatchOffset, DType,
    rng::{Dropout, RowsOf},
};

use super::Cuda;
use crate::{Buffer, Result};

/// The pass that the device has, and where; nothing before the first one.
#[derive(Debug, Default)]
pub(super) struct Pass(Mutex<Option<(Numbers, Buffer)>>);

/// The numbers of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    step: u32,
    offset: BatchOffset,
}

impl Numbers {
    /// As the kernels read them (`common/dropout.cuh`): u64, the low word first.
    fn words(&self) -> [u32; 8] {
        let offsets = [RowsOf::Tokens, RowsOf::Sequences, RowsOf::Outputs].map(|of| self.offset.rows(of));
        let numbers = [u64::from(self.step), offsets[0], offsets[1], offsets[2]];
        std::array::from_fn(|i| (numbers[i / 2] >> (32 * (i % 2))) as u32)
    }
}

/// Keeps the numbers as they are.
pub(crate) struct Held<'a>(#[expect(dead_code, reason = "it is dropped")] MutexGuard<'a, Option<(Numbers, Buffer)>>);

impl Cuda {
    /// The address of the numbers of a mask's pass, for a kernel that is queued while the result is held: another
    /// thread may be in another pass.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`], or [`crate::Error::Driver`] if the copy fails.
    pub(crate) fn address_of_pass(&self, dropout: &Dropout) -> Result<(u64, Held<'_>)> {
        let numbers = Numbers { step: dropout.step(), offset: dropout.offset() };
        // Set as a whole, so a poisoned lock is harmless.
        let mut there = self.shared.pass.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, mut buffer) = match there.take() {
            Some((known, buffer)) => (Some(known), buffer),
            None => (None, Buffer::new(self.heap(), numbers.words().len())?),
        };
        let address = buffer.pointer(0, numbers.words().len(), DType::F32);
        if known != Some(numbers) {
            // After the kernels that read the previous ones.
            self.shared.staging.copy(self.work(), &numbers.words(), &mut buffer, 0)?;
        }
        *there = Some((numbers, buffer));
        Ok((address, Held(there)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_in_the_order_of_the_kinds_of_rows() {
        let offset = BatchOffset { tokens: (7 << 32) + 1, sequences: 2, outputs: 3 };
        assert_eq!(Numbers { step: u32::MAX, offset }.words(), [u32::MAX, 0, 1, 7, 2, 0, 3, 0]);
        // The kernels read number 1 + kind.
        assert_eq!([RowsOf::Tokens, RowsOf::Sequences, RowsOf::Outputs].map(|of| of as u32), [0, 1, 2]);
    }
}
