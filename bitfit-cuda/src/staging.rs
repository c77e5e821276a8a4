//! Copies from the host that do not wait: through pinned memory, from which the device fetches them in its own time.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, HostSlice, PinnedHostSlice, SyncOnDrop};

use crate::{Buffer, Error, Result};

/// Blocks of pinned memory, used in turn. A batch has fewer copies than this, and the loss of the batch before is waited
/// for; so by the time a block's turn comes again, its copy is usually done. Where it is not, the next copy waits for it.
const BLOCKS: usize = 32;

/// Words from which on a copy goes without pinned memory, and is waited for. A batch's lists are shorter; weights are
/// longer, and they are copied once. With it, no more than 8 MiB are ever pinned.
const LONG: usize = 1 << 16;

/// Pinned memory for copies under way.
#[derive(Debug)]
pub(crate) struct Staging {
    context: Arc<CudaContext>,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    blocks: Vec<Block>,
    next: usize,
}

/// A block of pinned memory. It is not written, and not freed, while the device may still read it.
#[derive(Debug)]
struct Block {
    words: PinnedHostSlice<u32>,
    /// Recorded behind each copy out of the block. The event that `words` has of its own is not recorded where the context
    /// does not track events, and so says nothing.
    copied: CudaEvent,
}

impl Block {
    fn new(context: &Arc<CudaContext>, words: usize) -> Result<Self> {
        // SAFETY: any bits are a u32; and the words that are copied are written first.
        let block = unsafe { context.alloc_pinned::<u32>(words) };
        let words = block.map_err(Error::allocation("cuMemHostAlloc", words * 4))?;
        Ok(Self { words, copied: context.new_event(None).map_err(Error::driver("cuEventCreate"))? })
    }

    /// Queues a copy of `data`, once the copy that last went out of this block is done.
    fn copy(&mut self, stream: &Arc<CudaStream>, data: &[u32], to: &mut Buffer, offset: usize) -> Result<()> {
        self.copied.synchronize().map_err(Error::driver("cuEventSynchronize"))?;
        let words = self.words.as_mut_slice().map_err(Error::driver("cuEventSynchronize"))?;
        words[..data.len()].copy_from_slice(data);
        let mut to = to.memory_mut().slice_mut(offset..offset + data.len());
        stream
            .memcpy_htod(&Prefix(&mut self.words, data.len()), &mut to)
            .map_err(Error::driver("cuMemcpyHtoDAsync"))?;
        self.copied.record(stream).map_err(|error| {
            // The copy is under way and nothing will tell when it is done: so it is waited for here.
            let _ = stream.synchronize();
            Error::driver("cuEventRecord")(error)
        })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // The fields are dropped behind this, the memory with them. After an error the device copies nothing any more.
        let _ = self.copied.synchronize();
    }
}

impl Staging {
    pub fn new(context: Arc<CudaContext>) -> Self {
        Self { context, ring: Mutex::default() }
    }

    /// Copies `data` to word `offset` of a buffer, in the order of the stream. `data` may change as soon as this returns.
    pub fn copy(&self, stream: &Arc<CudaStream>, data: &[u32], to: &mut Buffer, offset: usize) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        if data.len() >= LONG {
            let mut to = to.memory_mut().slice_mut(offset..offset + data.len());
            stream.memcpy_htod(data, &mut to).map_err(Error::driver("cuMemcpyHtoDAsync"))?;
            // The driver does not promise to have read pageable memory when it returns, and the caller may free it then.
            return stream.synchronize().map_err(Error::driver("cuStreamSynchronize"));
        }
        // The ring is whole after every change, so a panic elsewhere cannot have broken it.
        let ring = &mut *self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = ring.next;
        ring.next = (turn + 1) % BLOCKS;
        if ring.blocks.get(turn).is_none_or(|block| block.words.len() < data.len()) {
            let block = Block::new(&self.context, data.len().max(1024).next_power_of_two())?;
            match ring.blocks.get_mut(turn) {
                Some(short) => *short = block,
                None => ring.blocks.push(block),
            }
        }
        ring.blocks[turn].copy(stream, data, to, offset)
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
