//! A cache of the index lists of masks on the device: they are used in every step and never change, so each is copied
//! once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bitfit_core::{Device, Result};

use super::Cuda;
use crate::Indices;

/// The maximum size of the cache in words: 64 MiB, many times the size of the masks of one model.
const MAX_WORDS: usize = 1 << 24;

/// The lists on the device, by their address and length on the host. The address may meanwhile hold another list, so
/// each entry includes the contents that were copied.
///
/// The cache is not notified when a list is freed on the host. When it is full, all lists are dropped; those that are
/// still used are copied again at their next use.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<ListCache<Indices>>);

/// The cache; `D` is the type of a list on the device.
#[derive(Debug)]
struct ListCache<D> {
    lists: HashMap<(usize, usize), Known<D>>,
    words: usize,
}

#[derive(Debug)]
struct Known<D> {
    host: Vec<u32>,
    device: Arc<D>,
}

impl<D> Default for ListCache<D> {
    fn default() -> Self {
        Self { lists: HashMap::new(), words: 0 }
    }
}

impl<D> ListCache<D> {
    /// The list on the device, copied if it is not there.
    fn of(&mut self, list: &[u32], most_words: usize, copy: impl FnOnce() -> Result<D>) -> Result<Arc<D>> {
        let place = (list.as_ptr() as usize, list.len());
        if let Some(known) = self.lists.get(&place).filter(|known| known.host == list) {
            return Ok(Arc::clone(&known.device));
        }
        let device = Arc::new(copy()?);
        if self.words + list.len() > most_words {
            self.lists.clear();
            self.words = 0;
        }
        let known = Known { host: list.to_vec(), device: Arc::clone(&device) };
        // An entry that it replaces has the same length.
        if self.lists.insert(place, known).is_none() {
            self.words += list.len();
        }
        Ok(device)
    }
}

impl Cuda {
    /// A list that will be used again, on the device.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if the device is out of memory.
    pub(crate) fn lasting_indices(&self, list: &[u32]) -> Result<Arc<Indices>> {
        // The cache is consistent after every change, so a poisoned lock is harmless.
        let cache = &mut *self.shared.lists.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.of(list, MAX_WORDS, || self.indices(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_copied_once_and_dropped_when_there_are_too_many() {
        let [a, b, c] = [vec![1; 4], vec![2; 4], vec![3; 4]];
        let mut cache = ListCache::default();
        let again = || panic!("it was copied before");
        for list in [&a, &b] {
            assert_eq!(*cache.of(list, 8, || Ok(list[0])).unwrap(), list[0]);
        }
        // Used in turn, as in the steps of a training.
        for list in [&a, &b, &a, &b] {
            assert_eq!(*cache.of(list, 8, again).unwrap(), list[0]);
        }
        assert_eq!(*cache.of(&c, 8, || Ok(3)).unwrap(), 3);
        assert_eq!((cache.lists.len(), cache.words), (1, 4));
        assert_eq!(*cache.of(&a, 8, || Ok(7)).unwrap(), 7);
        assert_eq!(*cache.of(&c, 8, again).unwrap(), 3);
    }

    #[test]
    fn a_list_at_the_same_address_replaces_another() {
        let mut list = vec![1, 2];
        let mut cache = ListCache::default();
        assert_eq!(*cache.of(&list, 8, || Ok('a')).unwrap(), 'a');
        list[1] = 3;
        assert_eq!(*cache.of(&list, 8, || Ok('b')).unwrap(), 'b');
        assert_eq!((cache.lists.len(), cache.words), (1, 2));
    }
}
