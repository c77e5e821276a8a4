//! Lists of indices that a mask chooses by: they come with every step and never change, so each is copied once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bitfit_core::{Device, Result};

use super::Cuda;
use crate::Indices;

/// Words of lists that are kept at the most: 64 MiB, many times what the masks of one model choose by.
const MOST_WORDS: usize = 1 << 24;

/// The lists that are on the device, by where they lie on the host and how long they are. What lies there may be another
/// list by now, so each comes with what it held when it was copied.
///
/// Nobody says when a list is gone from the host. So all are dropped before they become too many, those of masks long gone
/// with those still in use, which are copied again when they are next asked for.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<ListCache<Indices>>);

/// The lists, with `D` what there is of each on the device.
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
    /// What there is of a list on the device, or is now.
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
        // One that it takes the place of is of the same length.
        if self.lists.insert(place, known).is_none() {
            self.words += list.len();
        }
        Ok(device)
    }
}

impl Cuda {
    /// A list that will be asked for again, on the device.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] when the device is out of memory.
    pub(crate) fn lasting_indices(&self, list: &[u32]) -> Result<Arc<Indices>> {
        // What is kept is whole after every change, so a panic elsewhere cannot have broken it.
        let kept = &mut *self.shared.lists.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.of(list, MOST_WORDS, || self.indices(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_copied_once_and_dropped_when_there_are_too_many() {
        let [a, b, c] = [vec![1; 4], vec![2; 4], vec![3; 4]];
        let mut kept = ListCache::default();
        let again = || panic!("it was copied before");
        for list in [&a, &b] {
            assert_eq!(*kept.of(list, 8, || Ok(list[0])).unwrap(), list[0]);
        }
        // Asked for in turn, as the steps of a training ask.
        for list in [&a, &b, &a, &b] {
            assert_eq!(*kept.of(list, 8, again).unwrap(), list[0]);
        }
        assert_eq!(*kept.of(&c, 8, || Ok(3)).unwrap(), 3);
        assert_eq!((kept.lists.len(), kept.words), (1, 4));
        assert_eq!(*kept.of(&a, 8, || Ok(7)).unwrap(), 7);
        assert_eq!(*kept.of(&c, 8, again).unwrap(), 3);
    }

    #[test]
    fn a_list_in_anothers_place_takes_it() {
        let mut list = vec![1, 2];
        let mut kept = ListCache::default();
        assert_eq!(*kept.of(&list, 8, || Ok('a')).unwrap(), 'a');
        list[1] = 3;
        assert_eq!(*kept.of(&list, 8, || Ok('b')).unwrap(), 'b');
        assert_eq!((kept.lists.len(), kept.words), (1, 2));
    }
}
