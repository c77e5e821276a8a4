//! Copies from the host, asynchronous through pinned memory, and of a few words to the host.

use std::sync::{Arc, Mutex, PoisonError};

use bitfit_core::DType;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, PinnedHostSlice, result};

use crate::{Buffer, Error, Result, queue::Queue};

/// The number of blocks of pinned memory, which are used in turn. A batch has fewer copies, and the host waits for the
/// loss of the batch before; so the previous copy of a block is usually complete. If not, the next copy waits for it.
const BLOCKS: usize = 32;

/// The number of words from which on a copy is synchronous, without pinned memory. The lists of a batch are shorter, of
/// up to 80,000 tokens; weights are longer, and are copied once. It limits pinned memory to 32 MiB.
const LONG: usize = 1 << 18;

/// Pinned memory for pending copies.
#[derive(Debug)]
pub(crate) struct Staging {
    context: Arc<CudaContext>,
    ring: Mutex<Ring>,
    /// Where words to the host arrive: the driver copies to pageable memory in thrice the time.
    back: Mutex<Option<PinnedHostSlice<u32>>>,
}

/// The maximum number of words that come back through pinned memory.
const BACK: usize = 256;

#[derive(Debug, Default)]
struct Ring {
    blocks: Vec<Block>,
    next: usize,
}

/// A block of pinned memory. It is neither written nor freed while the device may read it.
#[derive(Debug)]
struct Block {
    words: PinnedHostSlice<u32>,
    /// Recorded after each copy from the block. The event of `words` itself is not recorded, because the context does
    /// not track events.
    copied: CudaEvent,
}

impl Block {
    fn new(context: &Arc<CudaContext>, words: usize) -> Result<Self> {
        // SAFETY: any bits are a valid u32, and words are written before they are copied.
        let block = unsafe { context.alloc_pinned::<u32>(words) };
        let words = block.map_err(Error::allocation("cuMemHostAlloc", words * 4))?;
        Ok(Self { words, copied: context.new_event(None).map_err(Error::driver("cuEventCreate"))? })
    }

    /// Queues a copy of `data`, after the previous copy from this block is complete.
    fn copy(&mut self, stream: &Arc<CudaStream>, data: &[u32], to: &mut Buffer, offset: usize) -> Result<()> {
        self.copied.synchronize().map_err(Error::driver("cuEventSynchronize"))?;
        let words = self.words.as_mut_slice().map_err(Error::driver("cuEventSynchronize"))?;
        words[..data.len()].copy_from_slice(data);
        // SAFETY: the destination is in bounds of a live buffer (checked by `Buffer::pointer`), which is freed and
        // reused in the order of the stream. The block is neither written nor freed before the event.
        unsafe {
            result::memcpy_htod_async(
                to.pointer(offset, data.len(), DType::F32),
                &words[..data.len()],
                stream.cu_stream(),
            )
        }
        .map_err(Error::driver("cuMemcpyHtoDAsync"))?;
        self.copied.record(stream).map_err(|error| {
            // The event could not be recorded, so the pending copy is waited for here.
            let _ = stream.synchronize();
            Error::driver("cuEventRecord")(error)
        })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // The fields, and the memory, are dropped after this. After an error the device does not continue copying.
        let _ = self.copied.synchronize();
    }
}

impl Staging {
    pub fn new(context: Arc<CudaContext>) -> Self {
        Self { context, ring: Mutex::default(), back: Mutex::default() }
    }

    /// Copies `data` to a buffer, starting at word `offset`, in the order of the queue. `data` can be changed when
    /// this returns.
    pub fn copy(&self, queue: &Queue, data: &[u32], to: &mut Buffer, offset: usize) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        if data.len() >= LONG {
            let address = to.pointer(offset, data.len(), DType::F32);
            // The driver may still be reading pageable memory when it returns, so the copy is waited for.
            return queue.wait(|stream| {
                // SAFETY: as in `Block::copy`; `data` is borrowed until the copy is complete.
                unsafe { result::memcpy_htod_async(address, data, stream.cu_stream()) }
                    .map_err(Error::driver("cuMemcpyHtoDAsync"))
            });
        }
        // The ring is consistent after every change, so a poisoned lock is harmless.
        let ring = &mut *self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = ring.next;
        if ring.blocks.get(turn).is_none_or(|block| block.words.len() < data.len()) {
            let block = Block::new(&self.context, data.len().max(1024).next_power_of_two())?;
            match ring.blocks.get_mut(turn) {
                Some(short) => *short = block,
                None => ring.blocks.push(block),
            }
        }
        ring.next = (turn + 1) % BLOCKS;
        queue.direct(|stream| ring.blocks[turn].copy(stream, data, to, offset))
    }

    /// Copies words from an address of the device, after everything that was queued before.
    pub fn read(&self, queue: &Queue, from: u64, to: &mut [u32]) -> Result<()> {
        let copy = |stream: &Arc<CudaStream>, to: &mut [u32]| {
            // SAFETY: the caller's address is that of as many words, and the copy is waited for below.
            unsafe { result::memcpy_dtoh_async(to, from, stream.cu_stream()) }
                .map_err(Error::driver("cuMemcpyDtoHAsync"))
        };
        if to.len() > BACK {
            return queue.wait(|stream| copy(stream, to));
        }
        // The block holds nothing between calls, so a poisoned lock is harmless.
        let back = &mut *self.back.lock().unwrap_or_else(PoisonError::into_inner);
        let back = match back {
            Some(back) => back,
            None => {
                // SAFETY: any bits are a valid u32, and words are written before they are read.
                let block = unsafe { self.context.alloc_pinned_with_flags::<u32>(BACK, 0) };
                back.insert(block.map_err(Error::allocation("cuMemHostAlloc", BACK * 4))?)
            }
        };
        let words = back.as_mut_slice().map_err(Error::driver("cuEventSynchronize"))?;
        queue.wait(|stream| copy(stream, &mut words[..to.len()]))?;
        to.copy_from_slice(&words[..to.len()]);
        Ok(())
    }
}
