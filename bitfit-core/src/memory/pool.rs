//! The policy of a workspace: which free buffer a request gets, and which ones are freed. It does not use the device
//! itself.
//!
//! Batches differ in size from one pass to the next. A pool that kept every free buffer, each for requests of its own
//! size only, would grow to the sum of the peaks of all sizes. Buffers that earlier passes left are therefore handled
//! as follows.
//!
//! 1. A request takes a free buffer that was last used for its size class. Within a pass, a used buffer keeps its
//!    class.
//! 2. Otherwise it takes a *stale* buffer, free and not yet used in this pass, that is at most [`REACH`] classes
//!    larger.
//! 3. Otherwise a new buffer is allocated, and stale ones are freed, the longest unused first, until the total is at
//!    most a quarter above what the largest pass needed by itself.
//!
//! By rule 1, a second pass with the same requests finds every buffer where the first one left it, and allocates
//! nothing. By rule 2, a buffer is at most half as large again as its request, and with rule 3 that holds for the
//! total.

/// The size class of a request, eight classes to an octave: at most an eighth of a buffer is unused, and a batch that
/// is a few tokens longer than the last reuses its buffers. Three times a power of two, and nine times, are whole
/// classes, and so the matrices of most models.
pub(super) fn class(len: usize) -> usize {
    let len = len.max(64);
    let octave = (usize::BITS - 1 - len.leading_zeros()) as usize;
    let step = 1 << (octave - 3);
    let eighth = (len - (1 << octave)).div_ceil(step);
    (octave - 6) * 8 + eighth
}

/// The number of f32 in a buffer of a class.
pub(super) fn class_len(class: usize) -> usize {
    let octave = class / 8 + 6;
    (1 << octave) + (class % 8) * (1 << (octave - 3))
}

/// How many classes above its request's a buffer may be.
const REACH: usize = 4;

/// The free buffers of a device, and the size of all.
pub(super) struct Pool<B> {
    /// Free buffers by the class that they were last used for, the last one returned at the end.
    free: Vec<Vec<Free<B>>>,
    /// The number of the current pass.
    pass: u64,
    /// The number of f32 of all buffers, free and in use.
    held: usize,
    /// The number of f32 of the classes in use.
    in_use: usize,
    /// The number of f32 of the classes of all buffers used in this pass: what it would need by itself.
    needed: usize,
    /// The maximum of `needed` over all passes.
    most: usize,
}

struct Free<B> {
    buffer: B,
    /// The class that it was allocated for.
    made: usize,
    /// The pass in which it was last used.
    pass: u64,
}

/// A buffer in use.
pub(super) struct Loan<B> {
    pub buffer: B,
    /// The class of the request.
    class: usize,
    /// The class that it was allocated for.
    made: usize,
}

impl<B> Pool<B> {
    pub fn new() -> Self {
        Self { free: Vec::new(), pass: 0, held: 0, in_use: 0, needed: 0, most: 0 }
    }

    /// The number of f32 of all buffers, free and in use.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Starts a pass: all free buffers become stale.
    pub fn begin_pass(&mut self) {
        self.pass += 1;
        self.needed = self.in_use;
    }

    /// Takes a free buffer for a request of `class`, if one fits.
    pub fn take(&mut self, class: usize) -> Option<Loan<B>> {
        let of_class = self.free.get_mut(class).and_then(Vec::pop);
        let free =
            of_class.or_else(|| self.take_stale(|made| (class..=class + REACH).contains(&made), |free| free.made))?;
        if free.pass != self.pass {
            self.need(class);
        }
        self.in_use += class_len(class);
        Some(Loan { buffer: free.buffer, class, made: free.made })
    }

    /// Removes the buffers that are to be freed before a new one of `class` is allocated.
    pub fn make_room(&mut self, class: usize) -> Vec<B> {
        let most = self.most.max(self.needed + class_len(class));
        let mut dropped = Vec::new();
        while self.held + class_len(class) > most + most / 4 {
            let Some(free) = self.take_stale(|_| true, |free| (free.pass, free.made)) else { break };
            self.held -= class_len(free.made);
            dropped.push(free.buffer);
        }
        dropped
    }

    /// Adds a buffer that was just allocated for `class`, in use.
    pub fn add_new(&mut self, class: usize, buffer: B) -> Loan<B> {
        self.held += class_len(class);
        self.in_use += class_len(class);
        self.need(class);
        Loan { buffer, class, made: class }
    }

    /// Returns a buffer to the pool.
    pub fn put(&mut self, loan: Loan<B>) {
        let Loan { buffer, class, made } = loan;
        self.in_use -= class_len(class);
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        self.free[class].push(Free { buffer, made, pass: self.pass });
    }

    /// Removes all free buffers, which are to be freed, and forgets what earlier passes needed.
    pub fn clear(&mut self) -> Vec<B> {
        let free: Vec<Free<B>> = self.free.iter_mut().flat_map(|of_class| of_class.drain(..)).collect();
        self.held -= free.iter().map(|free| class_len(free.made)).sum::<usize>();
        (self.needed, self.most) = (self.in_use, self.in_use);
        free.into_iter().map(|free| free.buffer).collect()
    }

    fn need(&mut self, class: usize) {
        self.needed += class_len(class);
        self.most = self.most.max(self.needed);
    }

    /// Removes the stale buffer that is first by `order` among those whose class `fits`.
    fn take_stale<K: Ord>(&mut self, fits: impl Fn(usize) -> bool, order: impl Fn(&Free<B>) -> K) -> Option<Free<B>> {
        let mut first: Option<(K, usize, usize)> = None;
        for (class, free) in self.free.iter().enumerate() {
            // In the order of their return, so that the stale ones come first.
            let stale = free.iter().take_while(|free| free.pass != self.pass).enumerate();
            for (place, free) in stale.filter(|(_, free)| fits(free.made)) {
                let key = order(free);
                if first.as_ref().is_none_or(|(least, ..)| key < *least) {
                    first = Some((key, class, place));
                }
            }
        }
        first.map(|(_, class, place)| self.free[class].remove(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn a_size_class_holds_its_lengths_and_wastes_at_most_an_eighth() {
        for len in (1..5000).chain([1 << 20, (1 << 20) + 1, 786_432, 6_291_457]) {
            let held = class_len(class(len));
            assert!(held >= len, "{len} in {held}");
            assert!(len <= 64 || held <= len + len / 8, "{len} in {held}");
        }
    }

    #[test]
    fn a_buffer_within_reach_is_at_most_half_as_large_again() {
        for class in 0..120 {
            assert!(2 * class_len(class + REACH) <= 3 * class_len(class), "{class}");
        }
    }

    /// A pool with a device that counts.
    struct Counted {
        pool: Pool<usize>,
        /// Lengths of the buffers that exist.
        alive: usize,
        made: usize,
    }

    impl Counted {
        fn take(&mut self, len: usize) -> Loan<usize> {
            let class = class(len);
            let loan = self.pool.take(class).unwrap_or_else(|| {
                self.alive -= self.pool.make_room(class).iter().sum::<usize>();
                self.alive += class_len(class);
                self.made += 1;
                self.pool.add_new(class, class_len(class))
            });
            assert!(loan.buffer >= len && 2 * loan.buffer <= 3 * class_len(class), "{} for {len}", loan.buffer);
            assert_eq!(self.pool.held(), self.alive);
            loan
        }

        /// Runs a script: a length to take, or the index of the buffer to return.
        fn pass(&mut self, script: &[Result<usize, usize>]) {
            self.pool.begin_pass();
            let mut loans = Vec::new();
            for step in script {
                match *step {
                    Ok(len) => loans.push(self.take(len)),
                    Err(which) => self.pool.put(loans.swap_remove(which)),
                }
            }
            loans.into_iter().for_each(|loan| self.pool.put(loan));
        }

        fn new() -> Self {
            Self { pool: Pool::new(), alive: 0, made: 0 }
        }
    }

    /// Requests over three octaves, taken and returned in any order.
    fn script(random: &mut Random) -> Vec<Result<usize, usize>> {
        let mut loans = 0;
        let scale = 100 + random.below(4000) as usize;
        (0..80)
            .map(|_| {
                if loans > 0 && random.below(3) == 0 {
                    loans -= 1;
                    Err(random.below(loans as u32 + 1) as usize)
                } else {
                    loans += 1;
                    Ok(scale * (1 + random.below(8) as usize))
                }
            })
            .collect()
    }

    #[test]
    fn a_pass_that_is_repeated_makes_no_buffer_whatever_came_before() {
        let mut random = Random::new(7, 0);
        let mut counted = Counted::new();
        for _ in 0..300 {
            let script = script(&mut random);
            counted.pass(&script);
            let made = counted.made;
            counted.pass(&script);
            assert_eq!(counted.made, made);
        }
    }

    #[test]
    fn what_is_cleared_is_made_again_and_what_is_in_use_stays() {
        let mut counted = Counted::new();
        counted.pass(&[Ok(1024), Ok(4096)]);
        let loan = counted.take(1024);
        assert_eq!(counted.made, 2);
        assert_eq!(counted.pool.clear(), [class_len(class(4096))]);
        assert_eq!(counted.pool.held(), class_len(class(1024)));
        counted.pool.put(loan);
        counted.alive = counted.pool.held();
        counted.pass(&[Ok(1024), Ok(4096)]);
        assert_eq!(counted.made, 3, "the one that was in use serves again");
    }

    #[test]
    fn what_a_pass_left_serves_one_that_is_somewhat_smaller_and_only_that() {
        let mut counted = Counted::new();
        counted.pass(&[Ok(1024), Ok(1024)]);
        counted.pass(&[Ok(900), Ok(760), Ok(760)]);
        assert_eq!(counted.made, 3, "1024 serves 900 and 760, but only two at a time");
        counted.pass(&[Ok(1024), Ok(900)]);
        assert_eq!(counted.made, 3, "what served a smaller request is still as large as it was made");
        counted.pass(&[Ok(100)]);
        assert_eq!(counted.made, 4);
    }

    #[test]
    fn all_passes_together_hold_at_most_half_more_than_the_largest_alone() {
        let mut random = Random::new(8, 0);
        let mut counted = Counted::new();
        let mut largest = 0;
        for _ in 0..300 {
            let script = script(&mut random);
            let mut alone = Counted::new();
            alone.pass(&script);
            largest = largest.max(alone.alive);
            counted.pass(&script);
            assert!(2 * counted.alive <= 3 * largest, "{} for {largest}", counted.alive);
        }
    }
}
