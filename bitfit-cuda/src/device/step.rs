//! The number of the training step in the device's memory, where the kernels of dropout read it: as an argument it
//! would be another one in every step, and their graph another one too ([`crate::queue`]).

use std::sync::{Mutex, MutexGuard, PoisonError};

use bitfit_core::DType;

use super::Cuda;
use crate::{Buffer, Result};

/// The number that the device has, and where; nothing before the first step.
#[derive(Debug, Default)]
pub(super) struct Step(Mutex<Option<(u32, Buffer)>>);

/// Keeps the number as it is.
pub(crate) struct Held<'a>(#[expect(dead_code, reason = "it is dropped")] MutexGuard<'a, Option<(u32, Buffer)>>);

impl Cuda {
    /// The address of the number of a step, for a kernel that is queued while the result is held: another thread may
    /// be in another step.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`], or [`crate::Error::Driver`] if the copy fails.
    pub(crate) fn address_of_step(&self, step: u32) -> Result<(u64, Held<'_>)> {
        // Set as a whole, so a poisoned lock is harmless.
        let mut there = self.shared.step.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, mut buffer) = match there.take() {
            Some((number, buffer)) => (Some(number), buffer),
            None => (None, Buffer::new(self.heap(), 1)?),
        };
        let address = buffer.pointer(0, 1, DType::F32);
        if number != Some(step) {
            // After the kernels that read the previous number.
            self.shared.staging.copy(self.work(), &[step], &mut buffer, 0)?;
        }
        *there = Some((step, buffer));
        Ok((address, Held(there)))
    }
}
