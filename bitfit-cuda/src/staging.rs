//! Copies from the host that do not wait: through pinned memory, from which the device fetches them in its own time.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaContext, CudaStream, HostSlice, PinnedHostSlice, SyncOnDrop};

use crate::{Buffer, Error, Result};

/// Blocks of pinned memory, used in turn. A batch has fewer copies than this, and the loss of the batch before is waited
/// for; so by the time a block's turn comes again, its copy is done and nothing waits. Where it is not, the next copy waits.
const BLOCKS: usize = 32;

/// Words from which on a copy is left to the driver: only weights are as long, and they are copied once.
const LONG: usize = 1 << 20;

/// Pinned memory for copies under way.
#[derive(Debug)]
pub(crate) struct Staging {
    context: Arc<CudaContext>,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    blocks: Vec<PinnedHostSlice<u32>>,
    next: usize,
}

impl Staging {
    pub fn new(context: Arc<CudaContext>) -> Self {
        Self { context, ring: Mutex::default() }
    }

    /// Queues a copy of `data` to word `offset` of a buffer. `data` may change as soon as this returns.
    pub fn copy(&self, stream: &Arc<CudaStream>, data: &[u32], to: &mut Buffer, offset: usize) -> Result<()> {
        const CALL: &str = "cuMemcpyHtoDAsync";
        if data.is_empty() {
            return Ok(());
        }
        let mut to = to.memory_mut().slice_mut(offset..offset + data.len());
        if data.len() >= LONG {
            // Out of pageable memory: the driver has read all of it when it returns.
            return stream.memcpy_htod(data, &mut to).map_err(Error::driver(CALL));
        }
        // The ring is whole after every change, so a panic elsewhere cannot have broken it.
        let ring = &mut *self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = ring.next;
        ring.next = (turn + 1) % BLOCKS;
        if ring.blocks.get(turn).is_none_or(|block| block.len() < data.len()) {
            let words = data.len().max(1024).next_power_of_two();
            // SAFETY: any bits are a u32; and the words that are copied are written first.
            let block = unsafe { self.context.alloc_pinned::<u32>(words) }
                .map_err(Error::allocation("cuMemHostAlloc", words * 4))?;
            match ring.blocks.get_mut(turn) {
                Some(short) => *short = block,
                None => ring.blocks.push(block),
            }
        }
        let block = &mut ring.blocks[turn];
        // Waits for the copy that last went out of this block.
        block.as_mut_slice().map_err(Error::driver("cuEventSynchronize"))?[..data.len()].copy_from_slice(data);
        stream.memcpy_htod(&Prefix(block, data.len()), &mut to).map_err(Error::driver(CALL))
    }
}

/// The first words of a pinned block.
struct Prefix<'b>(&'b mut PinnedHostSlice<u32>, usize);

impl HostSlice<u32> for Prefix<'_> {
    fn len(&self) -> usize {
        self.1
    }

    unsafe fn stream_synced_slice<'a>(&'a self, stream: &'a CudaStream) -> (&'a [u32], SyncOnDrop<'a>) {
        // SAFETY: the caller uses the words with this stream, as is asked of them here.
        let (all, record) = unsafe { self.0.stream_synced_slice(stream) };
        (&all[..self.1], record)
    }

    unsafe fn stream_synced_mut_slice<'a>(&'a mut self, stream: &'a CudaStream) -> (&'a mut [u32], SyncOnDrop<'a>) {
        // SAFETY: as above.
        let (all, record) = unsafe { self.0.stream_synced_mut_slice(stream) };
        (&mut all[..self.1], record)
    }
}
