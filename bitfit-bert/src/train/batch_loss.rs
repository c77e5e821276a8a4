//! The loss of a batch, which the device may still be computing: that of one pass, or the shares of its parts.

use std::sync::{Mutex, PoisonError};

use bitfit_core::memory::Scratch;
use bitfit_core::{Backend, Var, Workspace};

use crate::Result;
use crate::model::Model;

/// The loss of a batch.
#[derive(Debug)]
pub(super) struct BatchLoss<D: Backend> {
    pub loss: Loss<D>,
    /// The number of tokens.
    pub tokens: usize,
    /// Whether a rank is to stop.
    pub stops: bool,
}

/// Where a loss is.
#[derive(Debug)]
pub(super) enum Loss<D: Backend> {
    /// On the device, of one pass over the batch.
    Whole(Var<D>),
    /// On the device, in parts.
    Parts(LossShares<D>),
    /// On the host, in parts.
    Known(Vec<f32>),
}

/// The shares of a loss that the parts of a batch have; 0 for a part that has none.
///
/// They are copied to one buffer, which is taken before the first part. The loss of a pass lies among the pass's other
/// buffers; if it were kept there, those of the next pass would come to lie elsewhere, for each sequence of shapes of
/// the parts before, and a device that launches the same commands on the same addresses as one would seldom meet them
/// again.
#[derive(Debug)]
pub(super) struct LossShares<D: Backend> {
    values: Mutex<Scratch<D>>,
    workspace: Workspace<D>,
}

impl<D: Backend> LossShares<D> {
    /// The shares of so many parts, all 0.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the device is out of memory.
    pub fn new(model: &Model<D>, parts: usize) -> Result<Self> {
        let workspace = model.workspace().clone();
        let mut values = workspace.scratch(parts)?;
        workspace.device().fill(0.0, values.as_mut())?;
        Ok(Self { values: Mutex::new(values), workspace })
    }

    /// Copies the share of a part.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the device fails.
    pub fn put(&self, part: usize, share: &Var<D>) -> Result<()> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let place = values.as_mut().rows(&(part..part + 1), 1);
        Ok(self.workspace.device().copy(share.tensor().slice(), place)?)
    }

    /// Waits for the shares of all parts.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the device fails.
    pub fn read(&self) -> Result<Vec<f32>> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read = vec![0.0; values.len()];
        self.workspace.device().read(values.as_ref(), &mut read)?;
        Ok(read)
    }
}

impl<D: Backend> BatchLoss<D> {
    /// Waits for the loss.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the device fails.
    pub fn read(&self) -> Result<f32> {
        let shares = match &self.loss {
            Loss::Whole(loss) => return Ok(loss.item()?),
            Loss::Parts(shares) => &shares.read()?,
            Loss::Known(shares) => shares,
        };
        Ok(shares.iter().fold(0.0, |sum, &share| sum + f64::from(share)) as f32)
    }
}
