//! Lists of indices that a mask chooses by: they come with every step and never change, so each is copied once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bitfit_core::{Device, Result};

use super::Cuda;
use crate::Indices;

/// The lists that are on the device, by where they lie on the host and how long they are. What lies there may be another
/// list by now, so each comes with what it held when it was copied.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<HashMap<(usize, usize), Known>>);

#[derive(Debug)]
struct Known {
    host: Vec<u32>,
    device: Arc<Indices>,
}

impl Cuda {
    /// A list that will be asked for again, on the device.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] when the device is out of memory.
    pub(crate) fn lasting_indices(&self, list: &[u32]) -> Result<Arc<Indices>> {
        let known = &mut *self.shared.lists.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (list.as_ptr() as usize, list.len());
        if let Some(known) = known.get(&place).filter(|known| known.host == list) {
            return Ok(Arc::clone(&known.device));
        }
        let device = Arc::new(self.indices(list)?);
        known.insert(place, Known { host: list.to_vec(), device: Arc::clone(&device) });
        Ok(device)
    }
}
