//! The queue of work for the device: one stream, on which everything is executed in the order in which it is queued,
//! but for sums that nothing uses yet ([`crate::sums`]).
//!
//! The host takes about 4 µs to launch a kernel (a virtual machine with an H200), longer than the device takes for most
//! kernels of a small model. In a CUDA graph it takes 0.1 µs, if the graph exists. Commands are therefore collected,
//! and submitted [`CHUNK`] at a time. The first time, the commands of a chunk are launched one by one; if the same ones
//! come again, with the same arguments to the last bit, they are captured as a graph, which is launched from then on:
//!
//! ```text
//! 1st time                 2nd time                               from the 3rd time on
//! launched one by one      captured, and launched as a graph      launched as a graph
//! ```
//!
//! Steps of a training have the same commands where their batches have the same shape, because buffers get the same
//! addresses ([`crate::memory`]), and what differs from step to step is in the device's memory, or launched by itself.
//! The results have the same bits as without graphs, because the kernels and their order are the same.
//!
//! A captured kernel has always run before: the driver may load a kernel when it first runs, which cannot be captured.
//! Graphs are never updated for other kernels: the driver of an H200 (580.159) accepted that, and computed wrong
//! results.

mod chunk;
mod graphs;

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::driver::{CudaFunction, CudaStream, LaunchConfig};

use self::{
    chunk::{Chunk, Command, Kind, Work},
    graphs::Graphs,
};
use crate::{Error, Result, sums::Sums};
pub(crate) use chunk::launch_kernel;

/// The commands of a chunk. The launch of a graph takes the host about 2 µs; with more of them the device waits longer
/// for the first.
const CHUNK: usize = 32;

/// The commands of the first chunk after the host has waited, so that the device soon has work.
const FIRST: usize = 8;

/// A stream, and the commands for its next graph.
pub(crate) struct Queue {
    /// Dropped first: graphs go before the stream, and with it perhaps the context.
    state: Mutex<State>,
    stream: Arc<CudaStream>,
}

#[derive(Default)]
struct State {
    chunk: Chunk,
    /// Whether a chunk was submitted since the host has waited.
    started: bool,
    graphs: Graphs,
    /// Sums that are executed before their results are used.
    sums: Option<Sums>,
    /// Submitted work. What it keeps is given up without the lock, because giving back a buffer can take it.
    done: Vec<Work>,
    /// An error of commands that were submitted where none can be returned.
    failed: Option<Error>,
}

impl Queue {
    /// The queue of a stream.
    pub fn new(stream: Arc<CudaStream>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), stream })
    }

    /// Queues a kernel with arguments of 8 bytes, or less in the low bytes.
    ///
    /// # Errors
    /// Those of the driver, for this and for commands queued before: after an error, some of these may not have been
    /// executed.
    ///
    /// # Safety
    /// The arguments must be those of the kernel, and memory that they refer to be valid until it is given back in the
    /// order of the queue.
    pub unsafe fn kernel(&self, function: CudaFunction, config: LaunchConfig, arguments: &[u64]) -> Result<()> {
        // SAFETY: guaranteed by the caller.
        self.add(arguments, |chunk| unsafe { chunk.kernel(function, config, arguments) })
    }

    /// Queues a product, which has run before. `identity` determines it: everything in which it can differ from others.
    /// `addresses` are those that its kernels are given.
    ///
    /// # Errors
    /// As [`Queue::kernel`].
    pub fn product(&self, identity: &[u64], addresses: &[u64], work: Work) -> Result<()> {
        self.add(addresses, |chunk| chunk.other(Kind::Product, identity, work))
    }

    fn add(&self, addresses: &[u64], command: impl FnOnce(&mut Chunk)) -> Result<()> {
        self.with(|state| {
            if state.sums.as_ref().is_some_and(|sums| sums.concern(addresses)) {
                state.add_sums();
            }
            command(&mut state.chunk);
            let is_full = state.chunk.commands.len() >= if state.started { CHUNK } else { FIRST };
            if is_full { self.submit(state) } else { Ok(()) }
        })
    }

    /// Queues sums, which may be executed after commands that are queued later: before the first of them that is given
    /// an address in the buffer of the results, and before any work that is not a command.
    ///
    /// # Errors
    /// As [`Queue::kernel`].
    pub fn sums(&self, sums: Sums) -> Result<()> {
        self.with(|state| {
            let separate = match &mut state.sums {
                Some(pending) => pending.merge(sums).err(),
                None => Some(sums),
            };
            if let Some(separate) = separate {
                state.add_sums();
                state.sums = Some(separate);
            }
            Ok(())
        })
    }

    /// Prepares for other uses of the memory at these addresses, which are not given to commands any more: sums that
    /// are added to results there do not wait any longer.
    pub fn reuse(&self, addresses: Range<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.sums.as_ref().is_some_and(|sums| sums.meet(&addresses)) {
            state.add_sums();
        }
    }

    /// Submits all commands one by one from now on.
    pub fn disable_graphs(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).graphs.disabled = true;
    }

    /// The number of launches of graphs so far.
    pub fn graphs_launched(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).graphs.launched
    }

    /// Calls `work` with the stream, after everything that was queued before: for copies, for memory, and for kernels
    /// that run for the first time or have new arguments every time.
    ///
    /// # Errors
    /// Those of `work`, and of the driver for commands queued before.
    pub fn direct<R>(&self, work: impl FnOnce(&Arc<CudaStream>) -> Result<R>) -> Result<R> {
        self.with(|state| {
            self.bind()?;
            self.settle(state)?;
            work(&self.stream)
        })
    }

    /// As [`Queue::direct`], and waits until all work is done. Errors of kernels are reported here.
    ///
    /// # Errors
    /// As [`Queue::direct`].
    pub fn wait<R>(&self, work: impl FnOnce(&Arc<CudaStream>) -> Result<R>) -> Result<R> {
        self.with(|state| {
            self.bind()?;
            self.settle(state)?;
            let result = work(&self.stream)?;
            self.stream.synchronize().map_err(Error::driver("cuStreamSynchronize"))?;
            state.started = false;
            Ok(result)
        })
    }

    /// As [`Queue::direct`] for work that cannot fail. An error of commands queued before is returned by the next call.
    pub fn release(&self, work: impl FnOnce(&Arc<CudaStream>)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.bind().and_then(|()| self.settle(&mut state)) {
            state.failed.get_or_insert(error);
        }
        work(&self.stream);
        let done = std::mem::take(&mut state.done);
        drop(state);
        drop(done);
    }

    /// Calls `change` with the state, unless there is an error that could not be returned before.
    fn with<R>(&self, change: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        // The state is consistent after every call, so a poisoned lock is harmless.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.failed.take() {
            // `change` may keep buffers.
            drop(state);
            return Err(error);
        }
        let result = change(&mut state);
        let done = std::mem::take(&mut state.done);
        drop(state);
        drop(done);
        result
    }

    /// Makes the device's context the thread's current one.
    fn bind(&self) -> Result<()> {
        self.stream.context().bind_to_thread().map_err(Error::driver("cuCtxSetCurrent"))
    }

    /// Executes everything that waits, waits for the end of all work, and forgets the graphs: before kernels are
    /// unloaded, and memory is given back to the driver.
    pub fn end(&self) {
        self.release(|_| {});
        // Even after an error, for which `wait` would not wait. Errors cannot be handled.
        let _ = self.stream.synchronize();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).graphs.clear();
    }

    /// Submits everything that waits.
    fn settle(&self, state: &mut State) -> Result<()> {
        state.add_sums();
        self.submit(state)
    }

    /// Submits the chunk.
    fn submit(&self, state: &mut State) -> Result<()> {
        if state.chunk.commands.is_empty() {
            return Ok(());
        }
        state.started = true;
        // Nothing of it is submitted twice, whatever happens.
        let mut chunk = std::mem::take(&mut state.chunk);
        let submitted = self.bind().and_then(|()| state.graphs.submit(&chunk, &self.stream));
        let work = |command| match command {
            Command::Kernel { .. } => None,
            Command::Other(work) => Some(work),
        };
        state.done.extend(chunk.commands.drain(..).filter_map(work));
        chunk.words.clear();
        // Its memory serves the next one.
        state.chunk = chunk;
        submitted
    }
}

impl State {
    /// Adds the sums that wait to the chunk.
    fn add_sums(&mut self) {
        if let Some(sums) = self.sums.take() {
            self.chunk.other(Kind::Sums, &sums.identity(), Box::new(move |stream| sums.launch(stream)));
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}
