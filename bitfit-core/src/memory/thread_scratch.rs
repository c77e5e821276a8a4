//! Memory that a thread reuses from one op to the next, so that a training step does not allocate any: f32 buffers of
//! any length ([`ThreadScratch`]), and one value of any type ([`with_thread_value`]).

use std::{
    any::Any,
    cell::RefCell,
    mem,
    ops::{Deref, DerefMut},
};

use super::Line;

/// The number of free buffers that a thread holds on to. Ops nest a few levels deep at most.
const MAX_BUFFERS: usize = 8;

/// What a thread has free.
struct Free {
    buffers: Vec<Vec<Line>>,
    /// At most one of each type.
    values: Vec<Box<dyn Any>>,
}

thread_local! {
    static FREE: RefCell<Free> = const { RefCell::new(Free { buffers: Vec::new(), values: Vec::new() }) };
}

/// An f32 buffer borrowed from the current thread, aligned to a cache line. When dropped, it is kept by the dropping
/// thread.
#[derive(Debug)]
pub(crate) struct ThreadScratch {
    /// At least as many as `len` needs.
    lines: Vec<Line>,
    len: usize,
}

impl ThreadScratch {
    /// A buffer of `len` elements with unspecified contents.
    pub fn unspecified(len: usize) -> Self {
        let count = len.div_ceil(Line::LEN);
        let mut lines = FREE.with_borrow_mut(|free| take_buffer(&mut free.buffers, count));
        if lines.len() < count {
            // A new allocation: growing the old one would copy contents that are not needed.
            if lines.capacity() < count {
                lines = Vec::with_capacity(count);
            }
            lines.resize(count, Line::ZERO);
        }
        Self { lines, len }
    }

    /// A buffer of `len` elements, each of them `value`.
    pub fn filled(len: usize, value: f32) -> Self {
        let mut scratch = Self::unspecified(len);
        scratch.fill(value);
        scratch
    }

    /// A buffer with the concatenation of slices.
    pub fn concat<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone) -> Self {
        let mut scratch = Self::unspecified(parts.clone().map(<[f32]>::len).sum());
        let mut to = &mut *scratch;
        for part in parts {
            let (own, rest) = to.split_at_mut(part.len());
            own.copy_from_slice(part);
            to = rest;
        }
        scratch
    }
}

/// Removes the smallest buffer that is large enough, or else the largest one.
fn take_buffer<T>(free: &mut Vec<Vec<T>>, len: usize) -> Vec<T> {
    let best = (0..free.len()).min_by_key(|&i| match free[i].len() >= len {
        true => (0, free[i].len()),
        false => (1, usize::MAX - free[i].len()),
    });
    best.map_or_else(Vec::new, |i| free.swap_remove(i))
}

impl Deref for ThreadScratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for ThreadScratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl Drop for ThreadScratch {
    fn drop(&mut self) {
        let lines = mem::take(&mut self.lines);
        // Fails in a thread that is ending; the buffer is then freed.
        let _ = FREE.try_with(|free| {
            let buffers = &mut free.borrow_mut().buffers;
            if buffers.len() < MAX_BUFFERS {
                buffers.push(lines);
            }
        });
    }
}

/// Calls `work` with this thread's value of type `T`, which is made by `T::default` at its first use.
///
/// The value is moved out of the thread's storage meanwhile: if `work` waits for other threads, rayon may run another
/// task on this one, which then gets a value of its own.
pub(crate) fn with_thread_value<T: Default + 'static, R>(work: impl FnOnce(&mut T) -> R) -> R {
    let found = FREE.with_borrow_mut(|free| {
        let index = free.values.iter().position(|value| value.is::<T>())?;
        free.values.swap_remove(index).downcast::<T>().ok()
    });
    let mut value = found.unwrap_or_default();
    let result = work(&mut value);
    FREE.with_borrow_mut(|free| match free.values.iter_mut().find(|value| value.is::<T>()) {
        Some(other) => *other = value,
        None => free.values.push(value),
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_reused() {
        let first = ThreadScratch::unspecified(100);
        let at = first.as_ptr();
        drop(first);
        let second = ThreadScratch::filled(60, 2.0);
        assert_eq!((second.as_ptr(), &*second), (at, &[2.0; 60][..]));
        assert_ne!(ThreadScratch::unspecified(60).as_ptr(), at, "the first is still borrowed");
    }

    #[test]
    fn the_smallest_buffer_that_fits_is_taken_and_otherwise_the_largest() {
        let mut free: Vec<Vec<u8>> = [30, 10, 20].map(|len| vec![0; len]).into();
        assert_eq!(take_buffer(&mut free, 15).len(), 20);
        assert_eq!(take_buffer(&mut free, 40).len(), 30);
        assert_eq!(take_buffer(&mut free, 1).len(), 10);
        assert_eq!(take_buffer(&mut free, 1).len(), 0);
    }

    #[test]
    fn slices_are_concatenated_in_order() {
        assert_eq!(&*ThreadScratch::concat([&[1.0, 2.0][..], &[], &[3.0]].into_iter()), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_value_is_kept_and_a_nested_use_gets_another() {
        #[derive(Default)]
        struct Count(u32);
        let next = || {
            with_thread_value(|count: &mut Count| {
                count.0 += 1;
                count.0
            })
        };
        assert_eq!([next(), next()], [1, 2]);
        with_thread_value(|outer: &mut Count| {
            assert_eq!(outer.0, 2);
            assert_eq!(next(), 1);
        });
        assert_eq!(next(), 3);
    }
}
