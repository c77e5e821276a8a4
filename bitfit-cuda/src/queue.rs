//! The queue of work for the device: one stream, on which everything is executed in the order in which it is queued,
//! but for sums that nothing uses yet ([`crate::sums`]).
//!
//! The host takes about 4 µs to launch a kernel (a virtual machine with an H200), longer than the device takes for most
//! kernels of a small model. In a CUDA graph it is a third of that. Kernels are therefore captured, and [`NODES`] of
//! them at a time are launched as one graph, while the host goes on with the next. A step of a training has the same
//! kernels as the one before, with other arguments, so that an executable graph is made once for each place in a step
//! and updated from then on.
//!
//! ```text
//! the host      8 kernels, one by one    capture 24, update, launch    capture 24, update, launch    …    wait
//! the device        8 kernels …                                    24 kernels …               24 kernels …
//! ```
//!
//! The results have the same bits as without graphs, because the kernels and their order are the same.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{
    CudaStream, DriverError,
    result::{graph, stream},
    sys::{self, CUresult},
};

use crate::{Error, Result, sums::Sums};

/// The kernels of a graph. A launch of an updated graph takes about 10 µs, so that fewer would take longer; with more
/// of them the device waits longer for the first graph.
const NODES: usize = 24;

/// The kernels that are launched one by one after the host has waited, so that the device has work while the first
/// graph is captured.
const SINGLE: usize = 8;

/// The maximum number of executable graphs; a step of BERT-large has 26.
const GRAPHS: usize = 64;

/// A stream, and the kernels that are captured for the next graph.
pub(crate) struct Queue {
    stream: Arc<CudaStream>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Kernels launched one by one since the host has waited.
    single: usize,
    /// Kernels captured for the next graph; the stream is capturing if there is one.
    captured: usize,
    /// The executable graphs, by their number since the host has waited.
    graphs: Vec<Executable>,
    next: usize,
    /// Sums that are executed before their results are used.
    sums: Option<Sums>,
    /// An error of a graph that was launched where none can be returned.
    failed: Option<Error>,
}

impl Queue {
    /// The queue of a stream.
    pub fn new(stream: Arc<CudaStream>) -> Arc<Self> {
        Arc::new(Self { stream, state: Mutex::default() })
    }

    /// Queues kernels: `work` does nothing with the stream but to launch kernels that have run before. The driver may
    /// load a kernel when it first runs, which cannot be captured. `addresses` are those that the kernels are given;
    /// other numbers among them do no harm.
    ///
    /// # Errors
    /// Those of `work`, and of the driver. After an error, kernels queued before it may not have been executed.
    pub fn kernels<R>(&self, addresses: &[u64], work: impl FnOnce(&Arc<CudaStream>) -> Result<R>) -> Result<R> {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check()?;
        if state.sums.as_ref().is_some_and(|sums| sums.concern(addresses)) {
            self.launch_sums(state)?;
        }
        self.submit(state, work)
    }

    /// Queues sums, which may be executed after kernels that are queued later: before the first of them that is given an
    /// address in the buffer of the results, and before any work that is not a kernel.
    ///
    /// # Errors
    /// As [`Queue::kernels`].
    pub fn sums(&self, sums: Sums) -> Result<()> {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check()?;
        let separate = match &mut state.sums {
            Some(pending) => pending.merge(sums).err(),
            None => Some(sums),
        };
        let Some(separate) = separate else { return Ok(()) };
        self.launch_sums(state)?;
        state.sums = Some(separate);
        Ok(())
    }

    /// Launches the sums that wait.
    fn launch_sums(&self, state: &mut State) -> Result<()> {
        match state.sums.take() {
            Some(sums) => self.submit(state, |stream| sums.launch(stream)),
            None => Ok(()),
        }
    }

    /// Launches kernels, or captures them.
    fn submit<R>(&self, state: &mut State, work: impl FnOnce(&Arc<CudaStream>) -> Result<R>) -> Result<R> {
        if state.single < SINGLE {
            state.single += 1;
            return work(&self.stream);
        }
        if state.captured == 0 {
            self.bind()?;
            // Other threads, and the library of products, may call what a strict capture forbids.
            let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
            // SAFETY: the stream is live and not capturing: a capture ends before the lock is released with
            // `captured == 0`.
            unsafe { stream::begin_capture(self.stream.cu_stream(), mode) }
                .map_err(Error::driver("cuStreamBeginCapture"))?;
        }
        state.captured += 1;
        let result = work(&self.stream);
        if result.is_err() {
            // What was captured is dropped with the graph.
            let _ = self.end_capture(state);
        } else if state.captured == NODES {
            self.launch_graph(state)?;
        }
        result
    }

    /// Calls `work` with the stream, after everything that was queued before: for copies, for memory, and for kernels
    /// that run for the first time.
    ///
    /// # Errors
    /// Those of `work`, and of the driver for work queued before.
    pub fn direct<R>(&self, work: impl FnOnce(&Arc<CudaStream>) -> Result<R>) -> Result<R> {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check()?;
        self.settle(state)?;
        work(&self.stream)
    }

    /// As [`Queue::direct`], and waits until all work is done. Errors of kernels are reported here.
    ///
    /// # Errors
    /// As [`Queue::direct`].
    pub fn wait<R>(&self, work: impl FnOnce(&Arc<CudaStream>) -> Result<R>) -> Result<R> {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check()?;
        self.settle(state)?;
        let result = work(&self.stream)?;
        self.stream.synchronize().map_err(Error::driver("cuStreamSynchronize"))?;
        (state.single, state.next) = (0, 0);
        Ok(result)
    }

    /// As [`Queue::direct`] for work that cannot fail. An error of work queued before is returned by the next call.
    pub fn release(&self, work: impl FnOnce()) {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.settle(state) {
            state.failed.get_or_insert(error);
        }
        work();
    }

    /// Launches everything that waits.
    fn settle(&self, state: &mut State) -> Result<()> {
        self.launch_sums(state)?;
        self.launch_graph(state)
    }

    /// Launches the captured kernels.
    fn launch_graph(&self, state: &mut State) -> Result<()> {
        if state.captured == 0 {
            return Ok(());
        }
        self.bind()?;
        let captured = self.end_capture(state)?;
        let number = state.next;
        state.next = (number + 1) % GRAPHS;
        let updated = match state.graphs.get(number) {
            Some(executable) => executable.update(&captured)?,
            None => false,
        };
        if !updated {
            let executable = Executable::new(&captured)?;
            match state.graphs.get_mut(number) {
                // A graph that is destroyed while it runs is freed when it has run.
                Some(of_another_shape) => *of_another_shape = executable,
                None => state.graphs.push(executable),
            }
        }
        // SAFETY: the graph and the stream are live. The memory that its kernels use is freed or reused in the order
        // of the stream, as that of kernels launched one by one.
        unsafe { graph::launch(state.graphs[number].0, self.stream.cu_stream()) }
            .map_err(Error::driver("cuGraphLaunch"))
    }

    /// Ends the capture.
    fn end_capture(&self, state: &mut State) -> Result<Captured> {
        state.captured = 0;
        // SAFETY: the stream is live and capturing.
        let captured = unsafe { stream::end_capture(self.stream.cu_stream()) };
        captured.map(Captured).map_err(Error::driver("cuStreamEndCapture"))
    }

    /// Makes the device's context the thread's current one.
    fn bind(&self) -> Result<()> {
        self.stream.context().bind_to_thread().map_err(Error::driver("cuCtxSetCurrent"))
    }
}

impl State {
    /// Returns an error that could not be returned before.
    fn check(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // A stream is not destroyed while it captures. The results of the work can no longer be read.
        self.release(|| {});
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// A graph of captured kernels.
struct Captured(sys::CUgraph);

impl Drop for Captured {
    fn drop(&mut self) {
        // SAFETY: the graph is destroyed only here. An error cannot be handled.
        let _ = unsafe { graph::destroy(self.0) };
    }
}

/// A graph in the form in which it is launched.
struct Executable(sys::CUgraphExec);

// SAFETY: a graph is not bound to a thread, and the queue's lock keeps calls apart.
unsafe impl Send for Executable {}

impl Executable {
    fn new(captured: &Captured) -> Result<Self> {
        // SAFETY: the graph is live.
        unsafe { graph::instantiate(captured.0, sys::CUgraphInstantiate_flags(0)) }
            .map(Self)
            .map_err(Error::driver("cuGraphInstantiate"))
    }

    /// Takes over the kernels and arguments of another graph; false if it has another shape. A launch before this call
    /// is not affected.
    fn update(&self, captured: &Captured) -> Result<bool> {
        let mut reason = std::mem::MaybeUninit::<sys::CUgraphExecUpdateResultInfo>::zeroed();
        // SAFETY: both graphs are live, and the driver writes to `reason` only.
        match unsafe { sys::cuGraphExecUpdate_v2(self.0, captured.0, reason.as_mut_ptr()) } {
            CUresult::CUDA_SUCCESS => Ok(true),
            CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE => Ok(false),
            error => Err(Error::driver("cuGraphExecUpdate")(DriverError(error))),
        }
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: the graph is destroyed only here. An error cannot be handled.
        let _ = unsafe { graph::exec_destroy(self.0) };
    }
}
