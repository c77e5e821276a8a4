//! CUDA graphs of chunks that came more than once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use cudarc::driver::{
    CudaStream,
    result::{graph, stream},
    sys,
};

use super::chunk::Chunk;
use crate::{Error, Result};

/// A chunk of fewer commands is not captured.
const LEAST: usize = 3;

/// The maximum number of graphs; and of chunks that were seen once, which are then all forgotten.
const GRAPHS: usize = 1024;

/// The graphs of chunks that came twice, and the hashes of those that came once.
#[derive(Default)]
pub(super) struct Graphs {
    seen: HashSet<u64>,
    made: HashMap<u64, Made>,
    /// The number of launches of graphs.
    pub(super) launched: u64,
    /// Whether chunks are launched command by command only.
    pub(super) disabled: bool,
}

/// The words of a chunk, and its graph.
struct Made {
    words: Vec<u64>,
    graph: Executable,
    /// The number of its last launch, of those of all graphs.
    last: u64,
}

impl Graphs {
    /// Destroys all graphs. One that still runs is freed when it has run.
    pub(super) fn clear(&mut self) {
        self.made.clear();
    }

    /// Submits a chunk, as a graph if there is one.
    pub(super) fn submit(&mut self, chunk: &Chunk, stream: &Arc<CudaStream>) -> Result<()> {
        if chunk.commands.len() < LEAST || self.disabled {
            return chunk.launch(stream);
        }
        let hash = chunk.hash();
        if self.made.get(&hash).is_some_and(|made| made.words == chunk.words) {
            return self.launch(hash, stream);
        }
        if self.seen.remove(&hash) {
            let Ok(graph) = Executable::capture(stream, || chunk.launch(stream)) else {
                // Nothing was executed. A graph takes memory of the device, and other drivers may not capture a
                // product. What is wrong with the chunk itself fails again here.
                self.disabled = true;
                self.clear();
                return chunk.launch(stream);
            };
            self.make_room();
            self.made.insert(hash, Made { words: chunk.words.clone(), graph, last: 0 });
            return self.launch(hash, stream);
        }
        if self.seen.len() >= GRAPHS {
            self.seen.clear();
        }
        self.seen.insert(hash);
        chunk.launch(stream)
    }

    /// Launches the graph of a chunk.
    fn launch(&mut self, hash: u64, stream: &Arc<CudaStream>) -> Result<()> {
        let Some(made) = self.made.get_mut(&hash) else { unreachable!("the caller has it from here") };
        self.launched += 1;
        made.last = self.launched;
        made.graph.launch(stream)
    }

    /// Destroys the eighth of the graphs that was not launched for longest, if there are as many as there may be. One
    /// at a time would look through all of them for each new one.
    fn make_room(&mut self) {
        if self.made.len() < GRAPHS {
            return;
        }
        let mut last: Vec<u64> = self.made.values().map(|made| made.last).collect();
        let (_, &mut oldest, _) = last.select_nth_unstable(GRAPHS / 8);
        self.made.retain(|_, made| made.last >= oldest);
    }
}

/// A graph in the form in which it is launched.
struct Executable(sys::CUgraphExec);

// SAFETY: a graph is not bound to a thread, and the queue's lock keeps calls apart.
unsafe impl Send for Executable {}

impl Executable {
    /// The graph of the kernels that `work` launches to the stream.
    fn capture(stream: &CudaStream, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        // Other threads, and the library of products, may call what a strict capture forbids.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is live, and does not capture: this function also ends what it begins.
        unsafe { stream::begin_capture(stream.cu_stream(), mode) }.map_err(Error::driver("cuStreamBeginCapture"))?;
        let done = work();
        // SAFETY: the stream is live and captures.
        let captured = unsafe { stream::end_capture(stream.cu_stream()) };
        let captured = captured.map_err(Error::driver("cuStreamEndCapture"))?;
        let instantiate = || {
            // SAFETY: the graph is live.
            let made = unsafe { graph::instantiate(captured, sys::CUgraphInstantiate_flags(0)) };
            made.map(Self).map_err(Error::driver("cuGraphInstantiate"))
        };
        let made = done.and_then(|()| instantiate());
        // SAFETY: the graph is live, and not used any more. An error cannot be handled.
        let _ = unsafe { graph::destroy(captured) };
        made
    }

    fn launch(&self, stream: &CudaStream) -> Result<()> {
        // SAFETY: the graph and the stream are live. The memory that its kernels use is given back in the order of the
        // queue, as that of kernels launched one by one.
        unsafe { graph::launch(self.0, stream.cu_stream()) }.map_err(Error::driver("cuGraphLaunch"))
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: the graph is destroyed only here. An error cannot be handled.
        let _ = unsafe { graph::exec_destroy(self.0) };
    }
}
