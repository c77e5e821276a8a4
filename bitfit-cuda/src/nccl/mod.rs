//! [`NcclRank`]: ranks with a GPU each, which gather messages through NCCL.
//!
//! ```text
//! message of a rank ──▶ its place of this GPU's buffer ──▶ all-gather ──▶ the places of all ranks ──▶ host
//! host                  device                             NVLink, PCIe   device
//! ```
//!
//! A stream of its own has the copies and the gathering, so that they neither wait for the work of a pass, nor are in a
//! graph of it. The buffer is of the driver and not of the heap, whose memory is reused in the order of the other
//! stream.
//!
//! One all-gather serves messages of any lengths: each has a place as long as the longest message needs. The
//! alternative, a broadcast of each rank's message, sends no padding but is an operation for each rank, with a latency
//! each where the library does not merge them. The messages of a step are a few gradients of one model: with a power of
//! two of ranks, the case that has to be fast, they have one length, and otherwise some ranks have a subtree more than
//! others, such as three instead of two. The caller gets the messages without the padding.

mod library;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use bitfit_core::optim::{Collective, check_lengths};
use bitfit_core::{Error as CoreError, Result as CoreResult};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, PinnedHostSlice, result};

use self::library::{Communicator, ID_WORDS, Nccl, UniqueId, version_name};
use crate::{Cuda, Error, Result};

/// The bytes of a word.
const WORD: usize = size_of::<u32>();

/// The words that a place begins at a multiple of: accesses of NCCL's are 16 bytes wide.
const ALIGNMENT: usize = 4;

/// The number of words of all messages up to which they go through pinned memory, 16 MiB. It is faster than pageable
/// memory, and the host waits once; but the system cannot have it back.
const PINNED: usize = 1 << 22;

/// The words that the buffer grows by, so that evaluations with messages of many lengths allocate seldom.
const GROWTH: usize = 1 << 18;

/// How long a rank that waits looks again at once, and the pause between two looks after that.
const EAGER: Duration = Duration::from_millis(2);
const PAUSE: Duration = Duration::from_micros(50);

/// A rank with a GPU of its own, of a group whose ranks gather messages through NCCL.
///
/// Another group of the same ranks, of processes or threads, says which of them this one is. The first message makes
/// the connection: rank 0 makes NCCL's id, and the others get it through that group.
///
/// After an error the connection is not used again. Dropping a rank frees what NCCL has; NCCL may wait for the other
/// ranks of the machine there, so a rank that ends alone should end its process, or the others.
pub struct NcclRank {
    device: Cuda,
    group: Arc<dyn Collective>,
    nccl: &'static Nccl,
    link: Mutex<Link>,
    lost_another: AtomicBool,
}

/// The connection to the other ranks.
enum Link {
    /// No message was gathered yet.
    None,
    Made(Box<Exchange>),
    /// Another rank, or NCCL, failed while it was made.
    Failed,
}

impl NcclRank {
    /// The rank of `group` that has `device`. The ranks do not communicate yet, so that one that fails here can tell
    /// the others through `group`.
    ///
    /// # Errors
    /// [`Error::NoNccl`] if NCCL is not installed; [`Error::OldNccl`]; [`Error::Nccl`] if it cannot say its version.
    pub fn new(device: &Cuda, group: Arc<dyn Collective>) -> Result<Self> {
        let (nccl, link) = (Nccl::get()?, Mutex::new(Link::None));
        Ok(Self { device: device.clone(), group, nccl, link, lost_another: AtomicBool::new(false) })
    }

    /// Whether the error that this rank had is that NCCL did not reach another any more ([`Error::OtherRank`]): then
    /// that one knows more.
    pub fn has_lost_another(&self) -> bool {
        self.lost_another.load(Ordering::Relaxed)
    }

    /// Converts an error to that of `bitfit_core`.
    fn error(&self, error: Error) -> CoreError {
        self.lost_another.fetch_or(matches!(error, Error::OtherRank { .. }), Ordering::Relaxed);
        self.device.error(error)
    }

    /// Connects the ranks.
    fn connect(&self) -> CoreResult<Exchange> {
        let (rank, size) = (self.rank(), self.size());
        let mut mine = vec![self.nccl.version()];
        if rank == 0 {
            self.bind()?;
            mine.extend(self.nccl.unique_id().map_err(|error| self.error(error))?.words());
        }
        let mut lengths = vec![1; size];
        lengths[0] += ID_WORDS;
        let mut all = Vec::new();
        self.group.all_gather(&mine, &lengths, &mut all)?;
        let id: Vec<u32> = all.drain(1..=ID_WORDS).collect();
        check_versions(&all)?;
        let id = UniqueId::of_words(id.try_into().expect("as many words as were taken"));
        self.bind()?;
        Exchange::new(self.device.context(), self.nccl, id, rank, size).map_err(|error| self.error(error))
    }

    /// Makes the device's context the thread's current one: NCCL takes the device from there.
    fn bind(&self) -> CoreResult<()> {
        let bound = self.device.context().bind_to_thread().map_err(Error::driver("cuCtxSetCurrent"));
        bound.map_err(|error| self.error(error))
    }
}

/// Refuses ranks of different versions.
fn check_versions(versions: &[u32]) -> CoreResult<()> {
    let Some(rank) = versions.iter().position(|version| *version != versions[0]) else { return Ok(()) };
    let [other, first] = [versions[rank], versions[0]].map(version_name);
    let reason = format!("it has NCCL {other}, and rank 0 has {first}: install one version for all ranks");
    Err(CoreError::Rank { rank, reason })
}

impl Collective for NcclRank {
    fn rank(&self) -> usize {
        self.group.rank()
    }

    fn size(&self) -> usize {
        self.group.size()
    }

    /// An error of NCCL or of the device is [`CoreError::Device`]: it is this rank's, and the others may not have it.
    fn all_gather(&self, mine: &[u32], lengths: &[usize], all: &mut Vec<u32>) -> CoreResult<()> {
        check_lengths(self, mine, lengths)?;
        all.clear();
        if lengths.iter().all(|&length| length == 0) {
            return Ok(());
        }
        // A panic while the link was made leaves one that failed, so a poisoned lock is harmless.
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Link::None = *link {
            *link = Link::Failed;
            *link = Link::Made(Box::new(self.connect()?));
        }
        self.bind()?;
        let gathered = match &mut *link {
            Link::Made(exchange) => exchange.gather(self.rank(), mine, lengths, all),
            Link::None | Link::Failed => Err(Error::Disconnected),
        };
        gathered.map_err(|error| self.error(error))
    }
}

impl fmt::Debug for NcclRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rank, size) = (self.rank(), self.size());
        f.debug_struct("NcclRank").field("rank", &rank).field("size", &size).finish_non_exhaustive()
    }
}

/// What a connected rank has.
struct Exchange {
    line: Line,
    buffer: DeviceWords,
    /// Through which messages that are not long go to the device and come back.
    pinned: Option<PinnedHostSlice<u32>>,
}

impl Exchange {
    fn new(context: &Arc<CudaContext>, nccl: &'static Nccl, id: UniqueId, rank: usize, size: usize) -> Result<Self> {
        let stream = context.new_stream().map_err(Error::driver("cuStreamCreate"))?;
        let done = context.new_event(None).map_err(Error::driver("cuEventCreate"))?;
        let communicator = Some(Communicator::join(nccl, id, rank, size)?);
        let buffer = DeviceWords { context: Arc::clone(context), address: 0, words: 0 };
        Ok(Self { line: Line { communicator, stream, done, has_failed: false }, buffer, pinned: None })
    }

    /// As [`Collective::all_gather`], for lengths that are not all zero; `all` is empty.
    fn gather(&mut self, rank: usize, mine: &[u32], lengths: &[usize], all: &mut Vec<u32>) -> Result<()> {
        if self.line.has_failed {
            return Err(Error::Disconnected);
        }
        // Until it is known to have succeeded.
        self.line.has_failed = true;
        let place = lengths.iter().max().map_or(0, |longest| longest.next_multiple_of(ALIGNMENT));
        let words = place * lengths.len();
        self.buffer.reserve(words)?;
        if words <= PINNED {
            self.gather_short(rank, mine, lengths, place, all)?;
        } else {
            self.gather_long(rank, mine, lengths, place, all)?;
        }
        self.line.has_failed = false;
        Ok(())
    }

    /// Gathers through pinned memory, which is this rank's own: after an error, work that is queued may still use it.
    fn gather_short(
        &mut self,
        rank: usize,
        mine: &[u32],
        lengths: &[usize],
        place: usize,
        all: &mut Vec<u32>,
    ) -> Result<()> {
        let Self { line, buffer, pinned } = self;
        let words = place * lengths.len();
        if pinned.as_ref().is_none_or(|pinned| pinned.len() < words) {
            let wanted = words.next_power_of_two().max(1024);
            // SAFETY: any bits are a valid u32, and words are written before they are read.
            let block = unsafe { buffer.context.alloc_pinned_with_flags::<u32>(wanted, 0) };
            // Nothing uses the block before: every gathering is waited for, and none follows one that failed.
            *pinned = Some(block.map_err(Error::allocation("cuMemHostAlloc", wanted * WORD))?);
        }
        let Some(pinned) = pinned else { unreachable!("it was allocated") };
        let host = &mut pinned.as_mut_slice().map_err(Error::driver("cuEventSynchronize"))?[..words];
        host[..mine.len()].copy_from_slice(mine);
        let stream = line.stream.cu_stream();
        // SAFETY: the buffer has these words, and the host's are pinned memory that lives as long as the buffer.
        unsafe { result::memcpy_htod_async(buffer.at(rank * place, mine.len()), &host[..mine.len()], stream) }
            .map_err(Error::driver("cuMemcpyHtoDAsync"))?;
        line.gather(buffer, rank, place, words)?;
        // SAFETY: as before.
        unsafe { result::memcpy_dtoh_async(host, buffer.at(0, words), stream) }
            .map_err(Error::driver("cuMemcpyDtoHAsync"))?;
        line.wait()?;
        for (there, &length) in host.chunks_exact(place).zip(lengths) {
            all.extend_from_slice(&there[..length]);
        }
        Ok(())
    }

    /// Gathers messages that are long, from and to the caller's memory. No copy of it is queued while NCCL can fail.
    fn gather_long(
        &mut self,
        rank: usize,
        mine: &[u32],
        lengths: &[usize],
        place: usize,
        all: &mut Vec<u32>,
    ) -> Result<()> {
        let Self { line, buffer, .. } = self;
        let stream = line.stream.cu_stream();
        // SAFETY: the buffer has these words, and the copy is waited for.
        let written = unsafe { result::memcpy_htod_async(buffer.at(rank * place, mine.len()), mine, stream) };
        let waited = line.stream.synchronize();
        written.map_err(Error::driver("cuMemcpyHtoDAsync"))?;
        waited.map_err(Error::driver("cuStreamSynchronize"))?;
        line.gather(buffer, rank, place, place * lengths.len())?;
        line.wait()?;
        all.resize(lengths.iter().sum(), 0);
        let (mut rest, mut read) = (&mut all[..], Ok(()));
        for (other, &length) in lengths.iter().enumerate() {
            let (there, behind) = rest.split_at_mut(length);
            rest = behind;
            // SAFETY: as before.
            read = read
                .and_then(|()| unsafe { result::memcpy_dtoh_async(there, buffer.at(other * place, length), stream) });
        }
        let waited = line.stream.synchronize();
        read.map_err(Error::driver("cuMemcpyDtoHAsync"))?;
        waited.map_err(Error::driver("cuStreamSynchronize"))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(communicator) = self.line.communicator.take() {
            communicator.end(self.line.has_failed);
        }
        // Then nothing uses the memory, which is dropped next.
        let _ = self.line.stream.synchronize();
    }
}

/// The stream that messages are gathered on.
struct Line {
    /// There until the line is dropped.
    communicator: Option<Communicator>,
    stream: Arc<CudaStream>,
    /// Recorded behind the work that is waited for.
    done: CudaEvent,
    /// Whether a gathering failed: what it queued may be pending forever, and the ranks are not in step any more.
    has_failed: bool,
}

impl Line {
    /// Queues the gathering of the places of a buffer, of which this rank's has its message. What is behind the end of
    /// a message was never written or is of an earlier one, and no rank reads it.
    fn gather(&mut self, buffer: &DeviceWords, rank: usize, place: usize, words: usize) -> Result<()> {
        let (mine, all) = (buffer.at(rank * place, place), buffer.at(0, words));
        let stream = self.stream.cu_stream().cast();
        let Some(communicator) = &mut self.communicator else { unreachable!("it is there until it is dropped") };
        // SAFETY: the buffer has a place for each rank, and this rank's is where NCCL expects it in the result. It is
        // freed when the communicator is gone; the stream is of the device, whose context is current.
        unsafe { communicator.all_gather(mine, all, place, stream) }
    }

    /// Waits until the stream has done everything, or NCCL says that another rank will not do its part: without that, a
    /// rank would wait forever. The device's context must be the thread's current one.
    fn wait(&mut self) -> Result<()> {
        self.done.record(&self.stream).map_err(Error::driver("cuEventRecord"))?;
        let begin = Instant::now();
        loop {
            self.communicator.as_ref().map_or(Ok(()), Communicator::poll)?;
            if self.done.try_is_complete().map_err(Error::driver("cuEventQuery"))? {
                return Ok(());
            }
            if begin.elapsed() < EAGER { thread::yield_now() } else { thread::sleep(PAUSE) }
        }
    }
}

/// Words on the device that grow and do not move while they are used.
struct DeviceWords {
    context: Arc<CudaContext>,
    address: u64,
    words: usize,
}

impl DeviceWords {
    /// Makes room for this many words. What was there is lost, and nothing must use it any more.
    fn reserve(&mut self, words: usize) -> Result<()> {
        if words <= self.words {
            return Ok(());
        }
        self.free();
        let words = words.next_multiple_of(GROWTH);
        // SAFETY: the words are written, or read by NCCL alone, before anything depends on them.
        let address = unsafe { result::malloc_sync(words * WORD) };
        self.address = address.map_err(Error::allocation("cuMemAlloc", words * WORD))?;
        self.words = words;
        Ok(())
    }

    /// The address of `count` words from `first` on.
    ///
    /// # Panics
    /// If there are not as many.
    fn at(&self, first: usize, count: usize) -> u64 {
        assert!(first + count <= self.words, "{count} words at {first} of {}", self.words);
        self.address + (first * WORD) as u64
    }

    fn free(&mut self) {
        if self.words > 0 {
            self.words = 0;
            // SAFETY: the address is that of an allocation that is freed once, which no work that is queued uses. An
            // error cannot be handled.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

impl Drop for DeviceWords {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            self.free();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_different_versions_are_refused() {
        assert!(check_versions(&[22803; 3]).is_ok());
        let error = check_versions(&[22803, 22803, 22105]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "rank 2: it has NCCL 2.21.5, and rank 0 has 2.28.3: install one version for all ranks"
        );
    }
}
