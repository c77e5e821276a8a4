//! The functions of NCCL that gather messages, found at run time.
//!
//! They are declared here, and not taken from `cudarc`, because that looks for `libnccl.so` and numbers of CUDA's
//! versions behind it, while NCCL's own packages for a system and for Python install `libnccl.so.2` alone; and because
//! a function that an old NCCL does not have is an error here, and a panic there.

use std::error::Error as _;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::sync::OnceLock;

use libloading::Library;

use crate::{Error, Result};

/// The names that NCCL is looked up by. The second is that of a link in packages for developers.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

/// The words of an id.
pub(super) const ID_WORDS: usize = 32;

/// `ncclUint32` of `ncclDataType_t`.
const UINT32: c_int = 3;
/// `ncclSuccess`, `ncclRemoteError` and `ncclInProgress` of `ncclResult_t`.
const SUCCESS: c_int = 0;
const REMOTE_ERROR: c_int = 6;
const IN_PROGRESS: c_int = 7;

/// `ncclUniqueId`, by which the ranks of a communicator find each other.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct UniqueId([u8; 4 * ID_WORDS]);

impl UniqueId {
    pub fn of_words(words: [u32; ID_WORDS]) -> Self {
        bytemuck::cast(words)
    }

    pub fn words(self) -> [u32; ID_WORDS] {
        bytemuck::cast(self)
    }
}

/// `ncclComm_t`.
type Handle = *mut c_void;

/// NCCL, loaded. Its functions are used as `nccl.h` declares them.
pub(super) struct Nccl {
    version: u32,
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    comm_init_rank: unsafe extern "C" fn(*mut Handle, c_int, UniqueId, c_int) -> c_int,
    all_gather: unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, Handle, *mut c_void) -> c_int,
    comm_get_async_error: unsafe extern "C" fn(Handle, *mut c_int) -> c_int,
    comm_destroy: unsafe extern "C" fn(Handle) -> c_int,
    comm_abort: unsafe extern "C" fn(Handle) -> c_int,
    get_error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    get_last_error: unsafe extern "C" fn(Handle) -> *const c_char,
    /// What the functions are of.
    _library: Library,
}

impl Nccl {
    /// The installed NCCL.
    ///
    /// # Errors
    /// [`Error::NoNccl`]; [`Error::OldNccl`] for one without a function that is used.
    pub fn get() -> Result<&'static Self> {
        static NCCL: OnceLock<Result<Nccl>> = OnceLock::new();
        NCCL.get_or_init(|| Self::open(&NAMES)).as_ref().map_err(Clone::clone)
    }

    /// The first library of these names.
    fn open(names: &[&str]) -> Result<Self> {
        let mut missing = None;
        for &name in names {
            // SAFETY: loads the library, whose initialisers are those of NCCL.
            match unsafe { Library::new(name) } {
                Ok(library) => return Self::of(library),
                // The loader's own message, with the name, is the cause of this one.
                Err(error) => {
                    let cause = error.source().map(ToString::to_string);
                    missing.get_or_insert(cause.unwrap_or_else(|| error.to_string()));
                }
            }
        }
        Err(Error::NoNccl { reason: missing.unwrap_or_default() })
    }

    fn of(library: Library) -> Result<Self> {
        /// Finds a function.
        ///
        /// # Safety
        /// `F` must be the type of the function of this name.
        unsafe fn find<F: Copy>(library: &Library, function: &'static str) -> Result<F> {
            // SAFETY: guaranteed by the caller.
            let found = unsafe { library.get::<F>(function) };
            found.map(|found| *found).map_err(|_| Error::OldNccl { function })
        }
        let mut version = 0;
        // SAFETY: the types are those of `nccl.h`, where enumerations are ints and `ncclUniqueId` is passed by value.
        // The pointer is to an int.
        let (nccl, code) = unsafe {
            let get_version: unsafe extern "C" fn(*mut c_int) -> c_int = find(&library, "ncclGetVersion")?;
            let code = get_version(&mut version);
            let nccl = Self {
                version: version as u32,
                get_unique_id: find(&library, "ncclGetUniqueId")?,
                comm_init_rank: find(&library, "ncclCommInitRank")?,
                all_gather: find(&library, "ncclAllGather")?,
                comm_get_async_error: find(&library, "ncclCommGetAsyncError")?,
                comm_destroy: find(&library, "ncclCommDestroy")?,
                comm_abort: find(&library, "ncclCommAbort")?,
                get_error_string: find(&library, "ncclGetErrorString")?,
                get_last_error: find(&library, "ncclGetLastError")?,
                _library: library,
            };
            (nccl, code)
        };
        nccl.check("ncclGetVersion", code, std::ptr::null_mut())?;
        Ok(nccl)
    }

    /// The number of the version, as NCCL encodes it: see [`version_name`].
    pub fn version(&self) -> u32 {
        self.version
    }

    /// An id for a new communicator.
    ///
    /// # Errors
    /// [`Error::Nccl`].
    pub fn unique_id(&self) -> Result<UniqueId> {
        let mut id = bytemuck::Zeroable::zeroed();
        // SAFETY: the pointer is to an id, which the call writes.
        let code = unsafe { (self.get_unique_id)(&mut id) };
        self.check("ncclGetUniqueId", code, std::ptr::null_mut())?;
        Ok(id)
    }

    fn check(&self, call: &'static str, code: c_int, communicator: Handle) -> Result<()> {
        if code == SUCCESS {
            return Ok(());
        }
        // SAFETY: the first function takes every code, the second a communicator or null, which it may ignore. Both
        // return null or a text that ends with a zero and is copied before the next call.
        let texts = unsafe { [(self.get_error_string)(code), (self.get_last_error)(communicator)].map(|at| text(at)) };
        // Its first line; what NCCL advises in parentheses stands in the message of the error.
        let brief = |text: &String| {
            let line = text.lines().next().unwrap_or_default();
            line.split(" (run with").next().unwrap_or_default().trim().to_owned()
        };
        let texts: Vec<String> = texts.iter().map(brief).filter(|text| !text.is_empty()).collect();
        let reason = if texts.is_empty() { format!("error {code}") } else { texts.join(": ") };
        Err(if code == REMOTE_ERROR { Error::OtherRank { call, reason } } else { Error::Nccl { call, reason } })
    }
}

/// A text of the library's, empty for null.
///
/// # Safety
/// The pointer must be null or to a text that ends with a zero and is not changed meanwhile.
unsafe fn text(at: *const c_char) -> String {
    // SAFETY: guaranteed by the caller.
    if at.is_null() { String::new() } else { unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned() }
}

/// The name of a version by its number: 22803 is 2.28.3. Before 2.9 the numbers had one digit less: 2804 was 2.8.4.
pub(super) fn version_name(number: u32) -> String {
    let thousands = if number < 10_000 { 1000 } else { 10_000 };
    format!("{}.{}.{}", number / thousands, number % thousands / 100, number % 100)
}

/// A rank of a communicator.
pub(super) struct Communicator {
    nccl: &'static Nccl,
    handle: Handle,
}

// SAFETY: NCCL lets any thread use a communicator, one at a time; it is not `Sync`.
unsafe impl Send for Communicator {}

impl Communicator {
    /// Joins the others of the `size` ranks, all of which call this with the same id and wait here. The context of the
    /// rank's device must be the thread's current one.
    ///
    /// # Errors
    /// [`Error::Nccl`]; [`Error::OtherRank`].
    pub fn join(nccl: &'static Nccl, id: UniqueId, rank: usize, size: usize) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the pointer is to a handle, which the call writes.
        let code = unsafe { (nccl.comm_init_rank)(&mut handle, size as c_int, id, rank as c_int) };
        nccl.check("ncclCommInitRank", code, std::ptr::null_mut())?;
        Ok(Self { nccl, handle })
    }

    /// Queues the gathering of `words` words of each rank, as the number of this one: into `all`, in the order of the
    /// ranks. The context of the rank's device must be the thread's current one.
    ///
    /// # Errors
    /// [`Error::Nccl`]; [`Error::OtherRank`].
    ///
    /// # Safety
    /// `mine` must be the address of as many words on the device, and `all` of as many for each rank, of which `mine`
    /// are this rank's or none; both must be valid until the work is complete, or the communicator ended. `stream` is
    /// one of the device.
    pub unsafe fn all_gather(&mut self, mine: u64, all: u64, words: usize, stream: *mut c_void) -> Result<()> {
        let (mine, all) = (mine as *const c_void, all as *mut c_void);
        // SAFETY: guaranteed by the caller; the handle is live.
        let code = unsafe { (self.nccl.all_gather)(mine, all, words, UINT32, self.handle, stream) };
        self.check("ncclAllGather", code)
    }

    /// Reports an error of work that is queued, such as the end of another rank.
    ///
    /// # Errors
    /// [`Error::Nccl`]; [`Error::OtherRank`].
    pub fn poll(&self) -> Result<()> {
        let mut error = SUCCESS;
        // SAFETY: the handle is live, and the pointer is to an int.
        let code = unsafe { (self.nccl.comm_get_async_error)(self.handle, &mut error) };
        self.check("ncclCommGetAsyncError", code)?;
        if error == IN_PROGRESS { Ok(()) } else { self.check("ncclAllGather", error) }
    }

    /// Leaves the other ranks: after a failure at once, so that the work that is queued ends; otherwise with them.
    pub fn end(self, has_failed: bool) {
        let end = if has_failed { self.nccl.comm_abort } else { self.nccl.comm_destroy };
        // SAFETY: the handle is live, and not used again. An error cannot be handled.
        unsafe { end(self.handle) };
    }

    fn check(&self, call: &'static str, code: c_int) -> Result<()> {
        self.nccl.check(call, code, self.handle)
    }
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nccl").field(&version_name(self.version)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_nccl_writes_them() {
        assert_eq!([2804, 20908, 22803].map(version_name), ["2.8.4", "2.9.8", "2.28.3"]);
    }

    #[test]
    fn a_library_that_is_missing_or_is_another_one_is_named() {
        let error = Nccl::open(&["libnccl-of-no-one.so.2", "libnccl-of-no-one.so"]).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("NCCL was not found: libnccl-of-no-one.so.2: "), "{message}");
        assert!(!message.contains('\n'), "{message}");
        // It has none of NCCL's functions.
        #[cfg(target_os = "linux")]
        assert_eq!(Nccl::open(&["libc.so.6"]).unwrap_err(), Error::OldNccl { function: "ncclGetVersion" });
    }
}
