//! Matrix products: through cuBLASLt, with a cache of plans ([`plan`]), or by a kernel of this crate if cuBLASLt has no
//! algorithm. The choice is made once for each shape and cached.

mod plan;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bitfit_core::{
    DType,
    backend::{Slice, SliceMut},
};
use cudarc::driver::CudaStream;

use self::plan::{Key, Library, Plan};
use crate::{
    Cuda, Error, Result,
    launch::{Arguments, Shape, Source, bytes_of, kernel, source},
    memory::Heap,
    queue::Queue,
};

/// The kernel for products for which cuBLASLt has no algorithm.
pub(crate) static SOURCE: Source = source!("product");

/// Rows and columns of the tile of a block, as in the kernel.
const TILE: usize = 64;

/// The maximum number of cached plans. Batches have many numbers of tokens, and where they are not padded there may be
/// thousands.
const MAX_PLANS: usize = 4096;

/// A factor of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factor<'a> {
    pub data: Slice<'a, Cuda>,
    /// Whether the matrix in memory is the transpose of the factor.
    pub transposed: bool,
}

impl<'a> Factor<'a> {
    /// A factor that is stored without transposition.
    pub fn plain(data: Slice<'a, Cuda>) -> Self {
        Self { data, transposed: false }
    }

    /// A factor that is stored transposed.
    pub fn transposed(data: Slice<'a, Cuda>) -> Self {
        Self { data, transposed: true }
    }
}

/// A product `C = A · B`, or `C += A · B`: A `[m, k]` and B `[k, n]` have the same type, C is `[m, n]`; all are
/// row-major.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub a: Factor<'a>,
    pub b: Factor<'a>,
    pub accumulate: bool,
}

/// cuBLASLt and the cached plans.
pub(crate) struct Products {
    library: Arc<Library>,
    plans: Mutex<Plans<Arc<Plan>>>,
}

/// The cached decision for each product: a plan, or `None` if cuBLASLt has no algorithm.
struct Plans<P> {
    decided: HashMap<Key, Option<P>>,
    /// The number of products for which cuBLASLt had no algorithm.
    refused: usize,
}

impl<P> Plans<P> {
    fn new() -> Self {
        Self { decided: HashMap::new(), refused: 0 }
    }

    /// The decision for a product, made at its first use. A full cache is cleared; plans that are still used are made
    /// again.
    fn of(&mut self, key: Key, make: impl FnOnce() -> Result<Option<P>>) -> Result<Option<&P>> {
        if !self.decided.contains_key(&key) {
            let plan = make()?;
            if self.decided.len() >= MAX_PLANS {
                self.decided.clear();
            }
            self.refused += usize::from(plan.is_none());
            self.decided.insert(key, plan);
        }
        Ok(self.decided[&key].as_ref())
    }

    /// Replaces a decision.
    fn decide(&mut self, key: Key, plan: Option<P>) {
        self.refused += usize::from(plan.is_none());
        self.decided.insert(key, plan);
    }
}

impl Products {
    /// The products of a device, whose context has to be the thread's current one.
    pub fn new(heap: &Arc<Heap>) -> Result<Self> {
        Ok(Self { library: Arc::new(Library::new(heap)?), plans: Mutex::new(Plans::new()) })
    }

    /// Queues a product. Returns false, and queues nothing, if cuBLASLt has no algorithm for it.
    ///
    /// # Safety
    /// As for [`Library::multiply`].
    unsafe fn multiply(&self, queue: &Queue, key: Key, addresses: [u64; 3]) -> Result<bool> {
        // Plans are complete when they are inserted, so a poisoned lock is harmless.
        let plans = &mut *self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(plan) = plans.of(key, || Ok(Plan::new(&self.library, &key)?.map(Arc::new)))? {
            if plan.has_run() {
                let (library, plan) = (Arc::clone(&self.library), Arc::clone(plan));
                let identity = [plan.id, addresses[0], addresses[1], addresses[2]];
                let work = move |stream: &Arc<CudaStream>| {
                    // SAFETY: guaranteed by the caller, for when the queue executes it.
                    match unsafe { library.multiply(stream, &plan, addresses) }? {
                        true => Ok(()),
                        false => Err(plan.was_refused()),
                    }
                };
                return queue.product(&identity, &addresses, Box::new(work)).map(|()| true);
            }
            // SAFETY: guaranteed by the caller.
            if queue.direct(|stream| unsafe { self.library.multiply(stream, plan, addresses) })? {
                plan.mark_as_run();
                return Ok(true);
            }
            let own = if plan.borrowed { Plan::own(&self.library, &key)? } else { None };
            plans.decide(key, own.map(Arc::new));
        }
        Ok(false)
    }

    /// The number of products for which cuBLASLt had no algorithm.
    pub fn refused(&self) -> usize {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).refused
    }
}

impl fmt::Debug for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Products").finish_non_exhaustive()
    }
}

impl Cuda {
    /// Queues a product.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if cuBLASLt or the driver fails; [`bitfit_core::Error::Foreign`] if a matrix
    /// belongs to another device.
    ///
    /// # Panics
    /// If the slices do not have the elements of the shape, or the factors have different types.
    pub(crate) fn multiply(&self, product: Product<'_>, c: SliceMut<'_, Self>) -> bitfit_core::Result<()> {
        let Product { m, k, n, a, b, accumulate } = product;
        assert_eq!([a.data.len, b.data.len, c.len], [m * k, k * n, m * n], "a product of [{m}, {k}] and [{k}, {n}]");
        assert_eq!(a.data.dtype, b.data.dtype, "a product of two types");
        if m == 0 || n == 0 {
            return Ok(());
        }
        if k == 0 {
            return if accumulate { Ok(()) } else { bitfit_core::Device::fill(self, 0.0, c) };
        }
        let windows = [a.data, b.data, c.as_slice()];
        for window in windows {
            self.check_buffer("product", window.buffer)?;
        }
        let key = Key {
            m,
            k,
            n,
            a_transposed: a.transposed,
            b_transposed: b.transposed,
            factors: a.data.dtype,
            output: c.dtype,
            accumulate,
            tf32: self.uses_tf32() && a.data.dtype == DType::F32,
            // Buffers start at multiples of 256 bytes.
            alignments: windows.map(|window| 1 << (window.offset * bytes_of(window.dtype)).trailing_zeros().min(8)),
        };
        let addresses = windows.map(|window| window.buffer.pointer(window.offset, window.len, window.dtype));
        if self.uses_cublaslt() {
            let done = self.context().bind_to_thread().map_err(Error::driver("cuCtxSetCurrent")).and_then(|()| {
                // SAFETY: the slices have the elements of the shape (asserted above), are in bounds of their buffers
                // (checked by `Buffer::pointer`) and have the alignment of the key. Buffers are freed and reused in the
                // order of this queue.
                unsafe { self.products().multiply(self.work(), key, addresses) }
            });
            if done.map_err(|error| self.error(error))? {
                return Ok(());
            }
        }
        let strides = |transposed, rows, columns| if transposed { [1, rows] } else { [columns, 1] };
        let [a_row, a_column] = strides(a.transposed, m, k);
        let [b_row, b_column] = strides(b.transposed, k, n);
        let name = kernel!("bitfit_product", a.data.dtype, c.dtype);
        let mut arguments = Arguments::new();
        arguments.input(a.data).usize(a_row).usize(a_column).input(b.data).usize(b_row).usize(b_column);
        arguments.output(c).usize(m).usize(k).usize(n).flag(accumulate);
        self.launch(&SOURCE, name, Shape::blocks(m.div_ceil(TILE) * n.div_ceil(TILE), 256), &arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(m: usize) -> Key {
        Key {
            m,
            k: 1,
            n: 1,
            a_transposed: false,
            b_transposed: false,
            factors: DType::F32,
            output: DType::F32,
            accumulate: false,
            tf32: false,
            alignments: [4; 3],
        }
    }

    #[test]
    fn a_decision_is_kept_and_not_all_of_them_for_ever() {
        let mut plans = Plans::new();
        for m in 0..MAX_PLANS {
            assert_eq!(plans.of(key(m), || Ok(Some(m))), Ok(Some(&m)));
        }
        let again = || panic!("it was decided before");
        assert_eq!(plans.of(key(0), again), Ok(Some(&0)));
        assert_eq!(plans.decided.len(), MAX_PLANS);
        assert_eq!(plans.of(key(MAX_PLANS), || Ok(None)), Ok(None));
        assert_eq!(plans.of(key(MAX_PLANS), again), Ok(None));
        assert_eq!((plans.decided.len(), plans.refused), (1, 1));
        assert_eq!(plans.of(key(0), || Ok(Some(7))), Ok(Some(&7)));
        plans.decide(key(0), None);
        assert_eq!(plans.of(key(0), again), Ok(None));
        assert_eq!(plans.refused, 2);
    }

    #[test]
    fn a_plan_that_could_not_be_made_is_tried_again() {
        let mut plans = Plans::new();
        assert_eq!(plans.of(key(1), || Err(Error::NoProducts)), Err(Error::NoProducts));
        assert_eq!(plans.of(key(1), || Ok(Some(1))), Ok(Some(&1)));
    }
}
