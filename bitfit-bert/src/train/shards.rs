//! A batch in logical shards: their number is a setting of the run, and neither the ranks nor the threads that compute
//! them change a bit of the result.
//!
//! ```text
//! rows of the batch  ── cut by tokens ──▶  shards 0 … S-1, contiguous; those of a rank are contiguous too
//! some shards        ── one pass at their place (BatchOffset), a share of the loss each ──▶  a gradient each
//! gradients          ── sums over a binary tree, fixed by S ──▶  gradient of the batch
//! ```
//!
//! A rank sums the subtrees whose shards are all its own, and the ranks exchange the roots of these subtrees, one or a
//! few each, in one message with the losses. Each rank then adds the roots up by the same tree. With one rank the whole
//! tree is its own, so the additions are the same ones in the same order.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bitfit_core::optim::Collective;
use bitfit_core::{Backend, BatchOffset, Gradient};

use super::TrainOptions;
use super::batch_loss::{BatchLoss, Loss, LossShares};
use super::batch_pass::BatchPass;
use super::prefix_cache::FrozenPrefixCache;
use crate::Result;
use crate::model::Model;
use crate::settings::{Setting, check};

/// The number of logical shards where a run on several ranks does not set it.
pub const DEFAULT_SHARDS: usize = 16;

/// The most logical shards.
pub const MOST_SHARDS: usize = 1024;

/// How much one pass computes, if its shards are several. No bit of a result depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassLimits {
    /// The most tokens: with more, products are hardly faster, and a pass takes more memory.
    pub tokens: u64,
    /// The most elements of the shards' gradients together.
    pub scalars: usize,
}

impl Default for PassLimits {
    fn default() -> Self {
        Self { tokens: 1024, scalars: 1 << 22 }
    }
}

/// How the batches of a run are computed: in shards, by one rank or several, or without shards.
#[derive(Debug)]
pub(super) struct Shards<D: Backend> {
    count: Option<usize>,
    ranks: Arc<dyn Collective>,
    limits: PassLimits,
    /// Gradients of the model's arena that are not in use.
    spare: Mutex<Vec<Gradient<D>>>,
}

/// A part of the tree: the sum of the gradients of its shards, unless none of them has a row that is read, and whether
/// each has one, and with it a share of the loss.
struct Node<D: Backend> {
    gradient: Option<Gradient<D>>,
    has_share: Vec<bool>,
}

/// What the passes over the shards of a batch have in common.
struct Job<'a, D: Backend> {
    pass: BatchPass<'a>,
    model: &'a Model<D>,
    cache: Option<Mutex<&'a mut FrozenPrefixCache>>,
    /// Each shard's range of the batch's rows.
    rows: Vec<Range<usize>>,
    /// What the batch has before each shard, and what it has altogether.
    places: Vec<BatchOffset>,
    total: f64,
    /// The share of each shard in the loss.
    shares: LossShares<D>,
    /// What one pass over several shards computes; `None` where each is a pass.
    limits: Option<PassLimits>,
}

impl<D: Backend> Shards<D> {
    /// As the options say, over these ranks.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for several ranks without shards, or for more ranks than shards.
    pub fn new(options: &TrainOptions, ranks: Arc<dyn Collective>) -> Result<Self> {
        let (count, size) = (options.shards, ranks.size());
        if size > 1 {
            let shown = count.map_or_else(|| "not set".to_owned(), |count| count.to_string());
            let reason = "each rank computes at least one of them: start fewer ranks, or choose more shards";
            check(Setting::Shards, shown, count.is_some_and(|count| count >= size), reason)?;
        }
        Ok(Self { count, ranks, limits: PassLimits::default(), spare: Mutex::new(Vec::new()) })
    }

    /// The same with other limits.
    #[cfg(test)]
    pub fn with_limits(self, limits: PassLimits) -> Self {
        Self { limits, ..self }
    }

    /// The ranks.
    pub fn ranks(&self) -> &Arc<dyn Collective> {
        &self.ranks
    }

    /// Whether several ranks compute.
    pub fn are_shared(&self) -> bool {
        self.ranks.size() > 1
    }

    /// Adds the gradient of the batch's loss to `gradient`. `stops` says whether this rank is to stop; the result has
    /// whether any is ([`BatchLoss::stops`]).
    ///
    /// # Errors
    /// As [`BatchPass::add_gradient`]; those of [`Collective::all_gather`].
    pub fn add_gradient(
        &self,
        pass: BatchPass<'_>,
        model: &Model<D>,
        cache: Option<&mut FrozenPrefixCache>,
        stops: bool,
        gradient: &mut Gradient<D>,
    ) -> Result<BatchLoss<D>> {
        pass.drawn(|pass| self.add_drawn(pass, model, cache, stops, gradient))
    }

    /// [`Shards::add_gradient`] for a batch whose sequences are drawn.
    fn add_drawn(
        &self,
        pass: BatchPass<'_>,
        model: &Model<D>,
        cache: Option<&mut FrozenPrefixCache>,
        stops: bool,
        gradient: &mut Gradient<D>,
    ) -> Result<BatchLoss<D>> {
        // The error of a batch without any target is that of its one pass, on every rank.
        let (Some(count), Some(total)) = (self.count, pass.loss_total()) else {
            return pass.add_gradient(model, cache, gradient);
        };
        let tokens = |&row: &usize| pass.examples.encodings[row].ids.len();
        let cache = cache.map(Mutex::new);
        let rows = cut(pass.rows.iter().map(tokens), count);
        let mut places = vec![BatchOffset::default()];
        for rows in &rows {
            let encodings = pass.rows[rows.clone()].iter().map(|&row| &pass.examples.encodings[row]);
            places.push(encodings.fold(places[places.len() - 1], |place, encoding| {
                place.after(encoding.ids.len(), encoding.lengths().count(), model.output_rows(encoding))
            }));
        }
        let tokens = pass.rows.iter().map(tokens).sum();
        let limits = model.computes_parts_at_once().then_some(self.limits);
        let shares = LossShares::new(model, count)?;
        let job = Job { pass, model, cache, rows, places, total, shares, limits };
        let own = own(count, self.ranks.rank(), self.ranks.size());
        let nodes = roots(&(0..count), &own).into_iter().map(|root| self.node(&job, root)).collect::<Result<_>>()?;
        if self.are_shared() {
            return self.exchange(&job, nodes, stops, tokens, gradient);
        }
        for sum in nodes.into_iter().filter_map(|node| node.gradient) {
            gradient.add(model.base().device(), &sum)?;
            self.give_back(sum);
        }
        Ok(BatchLoss { loss: Loss::Parts(job.shares), tokens, stops })
    }

    /// The subtree of `range`.
    fn node(&self, job: &Job<'_, D>, range: Range<usize>) -> Result<Node<D>> {
        match split(&range).filter(|_| !job.is_one_pass(&range)) {
            None => self.sum(job, self.leaves(job, range)?),
            Some((left, right)) => {
                let (left, right) = job.both(|| self.node(job, left), || self.node(job, right));
                self.pair(job, left?, right?)
            }
        }
    }

    /// The shards of `range`, each a node, in one pass over those that have rows.
    fn leaves(&self, job: &Job<'_, D>, range: Range<usize>) -> Result<Vec<Node<D>>> {
        let there: Vec<usize> = range.clone().filter(|&shard| !job.rows[shard].is_empty()).collect();
        let mut leaves: Vec<_> = range.clone().map(|_| Node { gradient: None, has_share: vec![false] }).collect();
        if there.is_empty() {
            return Ok(leaves);
        }
        let rows: Vec<_> = there.iter().map(|&shard| job.rows[shard].clone()).collect();
        let places: Vec<_> = there.iter().chain([&range.end]).map(|&shard| job.places[shard]).collect();
        let mut gradients = there.iter().map(|_| self.take(job.model)).collect::<Result<Vec<_>>>()?;
        let mut cache = job.cache.as_ref().map(|cache| cache.lock().unwrap_or_else(PoisonError::into_inner));
        let cache = cache.as_mut().map(|cache| &mut ***cache);
        // A shard that is a pass by itself, whatever its neighbours, is an ordinary part of a batch.
        let shares = if job.limits.is_some() {
            job.pass.add_parts(job.model, cache, (&rows, &places), job.total, &mut gradients)?
        } else {
            let rows = &job.pass.rows[rows[0].clone()];
            vec![job.pass.add_part(job.model, cache, rows, places[0], Some(job.total), &mut gradients[0])?.share]
        };
        for ((shard, share), gradient) in there.into_iter().zip(shares).zip(gradients) {
            match share {
                Some(share) => {
                    job.shares.put(shard, &share)?;
                    leaves[shard - range.start] = Node { gradient: Some(gradient), has_share: vec![true] };
                }
                None => self.give_back(gradient),
            }
        }
        Ok(leaves)
    }

    /// Adds up the gradients of neighbouring shards by the tree.
    fn sum(&self, job: &Job<'_, D>, mut shards: Vec<Node<D>>) -> Result<Node<D>> {
        let Some((left, _)) = split(&(0..shards.len())) else { return Ok(shards.swap_remove(0)) };
        let right = shards.split_off(left.end);
        self.pair(job, self.sum(job, shards)?, self.sum(job, right)?)
    }

    /// Adds the right of two neighbouring subtrees to the left one.
    fn pair(&self, job: &Job<'_, D>, mut left: Node<D>, right: Node<D>) -> Result<Node<D>> {
        left.has_share.extend(right.has_share);
        match (&mut left.gradient, right.gradient) {
            (Some(sum), Some(other)) => {
                sum.add(job.model.base().device(), &other)?;
                self.give_back(other);
            }
            (None, other) => left.gradient = other,
            (Some(_), None) => {}
        }
        Ok(left)
    }

    /// Gathers the nodes of all ranks, and adds their sum to `gradient`.
    ///
    /// A message is a word for whether the rank is to stop, for each of its shards a word for whether it has a share of
    /// the loss and the share, and the gradients of its nodes.
    fn exchange(
        &self,
        job: &Job<'_, D>,
        nodes: Vec<Node<D>>,
        stops: bool,
        tokens: usize,
        gradient: &mut Gradient<D>,
    ) -> Result<BatchLoss<D>> {
        let (device, count, size) = (job.model.base().device(), job.rows.len(), self.ranks.size());
        let scalars = job.model.arena().len();
        let (mut mine, mut sums) = (vec![u32::from(stops)], Vec::new());
        // In the order of the nodes, which are those of this rank's shards.
        let mut shares = job.shares.read()?.into_iter().skip(own(count, self.ranks.rank(), size).start);
        for Node { gradient, has_share } in nodes {
            for (has_share, share) in has_share.into_iter().zip(&mut shares) {
                mine.extend([u32::from(has_share), share.to_bits()]);
            }
            match gradient {
                Some(sum) => {
                    sums.extend_from_slice(bytemuck::cast_slice(&sum.read(device)?));
                    self.give_back(sum);
                }
                None => sums.resize(sums.len() + scalars, 0),
            }
        }
        mine.extend(sums);
        let own: Vec<_> = (0..size).map(|rank| own(count, rank, size)).collect();
        let roots: Vec<_> = own.iter().map(|own| roots(&(0..count), own)).collect();
        let length = |(own, roots): (&Range<usize>, &Vec<_>)| 1 + 2 * own.len() + roots.len() * scalars;
        let lengths: Vec<usize> = own.iter().zip(&roots).map(length).collect();
        let mut all = Vec::new();
        self.ranks.all_gather(&mine, &lengths, &mut all)?;

        let (mut rest, mut any_stops, mut values, mut found) = (&all[..], false, Vec::new(), Vec::new());
        for (own, roots) in own.iter().zip(roots) {
            let (head, behind) = rest.split_at(1 + 2 * own.len());
            any_stops |= head[0] != 0;
            values.extend(head[1..].chunks_exact(2).map(|pair| (pair[0] != 0).then(|| f32::from_bits(pair[1]))));
            let (data, behind) = behind.split_at(roots.len() * scalars);
            rest = behind;
            for (place, root) in roots.into_iter().enumerate() {
                let is_there = values[root.clone()].iter().any(Option::is_some);
                let data = bytemuck::cast_slice::<u32, f32>(&data[place * scalars..][..scalars]);
                found.push((root, is_there.then_some(data)));
            }
        }
        if let Some(sum) = sum_of(&(0..count), &found) {
            let mut there = self.take(job.model)?;
            device.write(&sum, there.slice_mut())?;
            gradient.add(device, &there)?;
            self.give_back(there);
        }
        let loss = Loss::Known(values.into_iter().flatten().collect());
        Ok(BatchLoss { loss, tokens, stops: any_stops })
    }

    /// A gradient of zeros.
    fn take(&self, model: &Model<D>) -> Result<Gradient<D>> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match spare {
            None => Ok(model.arena().gradient()?),
            Some(mut gradient) => {
                gradient.clear(model.base().device())?;
                Ok(gradient)
            }
        }
    }

    /// Keeps a gradient for the next [`Shards::take`].
    fn give_back(&self, gradient: Gradient<D>) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(gradient);
    }
}

impl<D: Backend> Job<'_, D> {
    /// Whether one pass computes the shards of `range`, if they are several.
    fn is_one_pass(&self, range: &Range<usize>) -> bool {
        let tokens = self.places[range.end].tokens - self.places[range.start].tokens;
        let scalars = range.len() * self.model.arena().len();
        self.limits.is_some_and(|limits| tokens <= limits.tokens && scalars <= limits.scalars)
    }

    /// Runs both, at once where the device does that. With a cache they take turns: a thread that waits for a part of
    /// an op while it holds the cache would run the other.
    fn both<A: Send, B: Send>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
        if self.cache.is_none() {
            return self.model.base().device().join(a, b);
        }
        let a = a();
        (a, b())
    }
}

/// Cuts a list into contiguous parts with about as many tokens each: an element goes into the part in which the middle
/// of its tokens is. Some parts may be empty.
pub(super) fn cut(tokens: impl Iterator<Item = usize> + Clone, parts: usize) -> Vec<Range<usize>> {
    let all: usize = tokens.clone().sum();
    let (mut ends, mut before) = (vec![0; parts], 0);
    for (place, tokens) in tokens.enumerate() {
        let part = (parts * (2 * before + tokens)).checked_div(2 * all).unwrap_or(0).min(parts - 1);
        ends[part] = place + 1;
        before += tokens;
    }
    let mut start = 0;
    let part = |end: usize| {
        let end = end.max(start);
        std::mem::replace(&mut start, end)..end
    };
    ends.into_iter().map(part).collect()
}

/// The shards of a rank.
fn own(shards: usize, rank: usize, size: usize) -> Range<usize> {
    rank * shards / size..(rank + 1) * shards / size
}

/// The two subtrees of a subtree: the left one is the largest full binary tree that leaves something for the right one.
fn split(range: &Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let middle = range.start + range.len().next_power_of_two() / 2;
    (range.len() > 1).then_some((range.start..middle, middle..range.end))
}

fn is_inside(range: &Range<usize>, own: &Range<usize>) -> bool {
    own.start <= range.start && range.end <= own.end
}

/// The largest subtrees of `range` whose shards are all among `own`, in order.
fn roots(range: &Range<usize>, own: &Range<usize>) -> Vec<Range<usize>> {
    if is_inside(range, own) {
        return vec![range.clone()];
    }
    match split(range).filter(|_| range.start < own.end && own.start < range.end) {
        Some((left, right)) => [roots(&left, own), roots(&right, own)].concat(),
        None => Vec::new(),
    }
}

/// The sum over the subtree of `range`, from the sums over its subtrees that are found; `None` where nothing was
/// added up.
fn sum_of<'a>(range: &Range<usize>, found: &[(Range<usize>, Option<&'a [f32]>)]) -> Option<Cow<'a, [f32]>> {
    if let Some((_, sum)) = found.iter().find(|(root, _)| root == range) {
        return sum.map(Cow::Borrowed);
    }
    let (left, right) = split(range)?;
    match (sum_of(&left, found), sum_of(&right, found)) {
        (Some(mut left), Some(right)) => {
            left.to_mut().iter_mut().zip(&*right).for_each(|(sum, value)| *sum += value);
            Some(left)
        }
        (left, right) => left.or(right),
    }
}

#[cfg(test)]
mod tests;
