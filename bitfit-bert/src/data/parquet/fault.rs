//! Why a file is refused, and the bound on what its pages unpack to.

use std::cell::Cell;

/// What follows the name of the file in an error.
#[derive(Debug)]
pub(super) struct Fault(pub(super) String);

/// What reading a part of a file gives.
pub(super) type Read<T> = Result<T, Fault>;

/// The fault of a file that breaks the format.
pub(super) fn unsound(reason: impl AsRef<str>) -> Fault {
    Fault(format!("not a sound Parquet file: {}", reason.as_ref()))
}

/// The fault of a page that ends before its values do.
pub(super) fn short() -> Fault {
    unsound("a page has fewer values than its header says")
}

/// The fault of a file that uses a part of the format that is not read.
pub(super) fn unsupported(what: impl AsRef<str>) -> Fault {
    Fault(format!(
        "a Parquet file with {}, which is not read; write it without, or as CSV or JSON lines",
        what.as_ref()
    ))
}

/// What pages may unpack to.
pub(super) struct Budget {
    /// The bytes that may be in use at a time, and those of them that are left.
    at_a_time: u64,
    left: Cell<u64>,
    /// The bytes of all pages of the file together, which take time, and those of them that are left.
    in_all: u64,
    left_in_all: Cell<u64>,
}

impl Budget {
    /// The budget of a file of `size` bytes.
    pub(super) fn of(size: usize) -> Self {
        let size = size as u64;
        let (at_a_time, in_all) = ((64 << 20) + 32 * size, (1 << 30) + 1_032 * size);
        Self { at_a_time, left: at_a_time.into(), in_all, left_in_all: in_all.into() }
    }

    /// Sets `bytes` aside for as long as the loan lives.
    pub(super) fn lend(&self, bytes: usize) -> Read<Loan<'_>> {
        let bytes = bytes as u64;
        let Some(left) = self.left.get().checked_sub(bytes) else {
            return Err(Fault(format!(
                "its pages unpack to more than {} MiB at a time, the most for a file of its size; write it with smaller \
                 pages",
                self.at_a_time >> 20
            )));
        };
        self.left.set(left);
        Ok(Loan { budget: self, bytes })
    }

    /// Counts the size of a page.
    pub(super) fn count(&self, bytes: usize) -> Read<()> {
        let left = self.left_in_all.get().checked_sub(bytes as u64).ok_or_else(|| {
            let mib = self.in_all >> 20;
            Fault(format!("its pages unpack to more than {mib} MiB in all, the most for a file of its size; save it as CSV or JSON lines"))
        })?;
        self.left_in_all.set(left);
        Ok(())
    }
}

/// A part of a budget, which is given back when it is dropped.
pub(super) struct Loan<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.budget.left.set(self.budget.left.get() + self.bytes);
    }
}
