//! Which buffer is lent, and which free ones are given back to the device: decides, and leaves the device to others.
//!
//! Batches differ in size from one pass to the next. A pool that kept a free buffer for ever, and only for requests of
//! its own size, would end with the peak of every size that ever came; so what earlier passes left is treated as follows.
//!
//! 1. A request takes a free buffer that served its size class last. In a pass, buffers once lent keep their class.
//! 2. Otherwise it takes a *stale* one, free and not yet lent in this pass, that is at most [`REACH`] classes larger.
//! 3. Otherwise a new one is made, and stale ones go, the longest unused first, until all together are within a
//!    quarter of what the largest pass needed by itself.
//!
//! By 1, a second pass of the same requests finds every buffer where the first one left it, and allocates nothing. By 2,
//! a buffer is at most half as large again as what it is lent for, and with 3 that holds for all of them together.

/// Size classes, four to an octave: at most a quarter of a buffer lies idle, and a batch that is a few tokens longer
/// than the last finds the last one's buffers.
pub(super) fn class(len: usize) -> usize {
    let len = len.max(64);
    let octave = (usize::BITS - 1 - len.leading_zeros()) as usize;
    let step = 1 << (octave - 2);
    let quarter = (len - (1 << octave)).div_ceil(step);
    (octave - 6) * 4 + quarter
}

/// f32 that a buffer of a class holds.
pub(super) fn class_len(class: usize) -> usize {
    let octave = class / 4 + 6;
    (1 << octave) + (class % 4) * (1 << (octave - 2))
}

/// How many classes larger than asked for a buffer may be.
const REACH: usize = 2;

/// The free buffers of a device, and the count of all.
pub(super) struct Pool<B> {
    /// Free buffers by the class they last served, the last to come back at the end.
    shelves: Vec<Vec<Free<B>>>,
    /// The number of the current pass.
    pass: u64,
    /// f32 of all buffers, free and lent.
    held: usize,
    /// f32 of the classes now lent.
    lent: usize,
    /// f32 of the classes of all buffers that were lent at some time in this pass: what it would hold if it were alone.
    needed: usize,
    /// The most that a pass needed.
    most: usize,
}

struct Free<B> {
    buffer: B,
    /// The class it was made for.
    made: usize,
    /// The pass in which it was last lent.
    pass: u64,
}

/// A buffer on loan.
pub(super) struct Loan<B> {
    pub buffer: B,
    /// The class it is lent for.
    class: usize,
    /// The class it was made for.
    made: usize,
}

impl<B> Pool<B> {
    pub fn new() -> Self {
        Self { shelves: Vec::new(), pass: 0, held: 0, lent: 0, needed: 0, most: 0 }
    }

    /// f32 of all buffers, free and lent.
    pub fn held(&self) -> usize {
        self.held
    }

    /// What is free now counts as left over from earlier passes.
    pub fn begin_pass(&mut self) {
        self.pass += 1;
        self.needed = self.lent;
    }

    /// A free buffer for a request of `class`, if one fits.
    pub fn lend(&mut self, class: usize) -> Option<Loan<B>> {
        let of_class = self.shelves.get_mut(class).and_then(Vec::pop);
        let free =
            of_class.or_else(|| self.take_stale(|made| (class..=class + REACH).contains(&made), |free| free.made))?;
        if free.pass != self.pass {
            self.need(class);
        }
        self.lent += class_len(class);
        Some(Loan { buffer: free.buffer, class, made: free.made })
    }

    /// Buffers to give back to the device before a new one of `class` is made.
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

    /// Lends a buffer that was just made for `class`.
    pub fn lend_new(&mut self, class: usize, buffer: B) -> Loan<B> {
        self.held += class_len(class);
        self.lent += class_len(class);
        self.need(class);
        Loan { buffer, class, made: class }
    }

    /// Takes a buffer back.
    pub fn put(&mut self, loan: Loan<B>) {
        let Loan { buffer, class, made } = loan;
        self.lent -= class_len(class);
        if self.shelves.len() <= class {
            self.shelves.resize_with(class + 1, Vec::new);
        }
        self.shelves[class].push(Free { buffer, made, pass: self.pass });
    }

    fn need(&mut self, class: usize) {
        self.needed += class_len(class);
        self.most = self.most.max(self.needed);
    }

    /// Takes out the stale buffer that comes first by `order`, of those made for a class that fits.
    fn take_stale<K: Ord>(&mut self, fits: impl Fn(usize) -> bool, order: impl Fn(&Free<B>) -> K) -> Option<Free<B>> {
        let mut first: Option<(K, usize, usize)> = None;
        for (shelf, free) in self.shelves.iter().enumerate() {
            // In the order of their return, so that the stale ones stand in front.
            let stale = free.iter().take_while(|free| free.pass != self.pass).enumerate();
            for (place, free) in stale.filter(|(_, free)| fits(free.made)) {
                let key = order(free);
                if first.as_ref().is_none_or(|(least, ..)| key < *least) {
                    first = Some((key, shelf, place));
                }
            }
        }
        first.map(|(_, shelf, place)| self.shelves[shelf].remove(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn a_size_class_holds_its_lengths_and_wastes_at_most_a_quarter() {
        for len in (1..5000).chain([1 << 20, (1 << 20) + 1, 786_432, 6_291_457]) {
            let held = class_len(class(len));
            assert!(held >= len, "{len} in {held}");
            assert!(len <= 64 || held <= len + len / 4, "{len} in {held}");
        }
    }

    #[test]
    fn a_buffer_within_reach_is_at_most_half_as_large_again() {
        for class in 0..60 {
            assert!(2 * class_len(class + REACH) <= 3 * class_len(class), "{class}");
        }
    }

    /// The pool and a device that counts.
    struct Counted {
        pool: Pool<usize>,
        /// Lengths of the buffers that exist.
        alive: usize,
        made: usize,
    }

    impl Counted {
        fn lend(&mut self, len: usize) -> Loan<usize> {
            let class = class(len);
            let loan = self.pool.lend(class).unwrap_or_else(|| {
                self.alive -= self.pool.make_room(class).iter().sum::<usize>();
                self.alive += class_len(class);
                self.made += 1;
                self.pool.lend_new(class, class_len(class))
            });
            assert!(loan.buffer >= len && 2 * loan.buffer <= 3 * class_len(class), "{} for {len}", loan.buffer);
            assert_eq!(self.pool.held(), self.alive);
            loan
        }

        /// Lends and takes back by a script: a length to lend, or which of the loans to end.
        fn pass(&mut self, script: &[Result<usize, usize>]) {
            self.pool.begin_pass();
            let mut loans = Vec::new();
            for step in script {
                match *step {
                    Ok(len) => loans.push(self.lend(len)),
                    Err(which) => self.pool.put(loans.swap_remove(which)),
                }
            }
            loans.into_iter().for_each(|loan| self.pool.put(loan));
        }

        fn new() -> Self {
            Self { pool: Pool::new(), alive: 0, made: 0 }
        }
    }

    /// Lengths over three octaves lent and given back in any order.
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
    fn what_a_pass_left_serves_one_that_is_somewhat_smaller_and_only_that() {
        let mut counted = Counted::new();
        counted.pass(&[Ok(1024), Ok(1024)]);
        counted.pass(&[Ok(900), Ok(700), Ok(700)]);
        assert_eq!(counted.made, 3, "1024 serves 900 and 700, but only two at a time");
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
