//! Products of matrices: through cuBLASLt, with a cache of plans ([`plan`]), and by a kernel of our own where cuBLASLt has no
//! algorithm. Which of the two is decided once a shape, and kept with its plan.

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
};

/// The kernel for what cuBLASLt has no algorithm for.
pub(crate) static SOURCE: Source = source!("product");

/// Rows and columns of a block's tile, as the kernel has them.
const TILE: usize = 64;

/// Plans that are kept at the most. A run meets a shape for each number of tokens in a batch, and there may be thousands.
const MOST_PLANS: usize = 4096;

/// One factor of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    pub data: Slice<'a, Cuda>,
    /// Whether it is stored as the transpose of what is multiplied.
    pub transposed: bool,
}

impl<'a> Operand<'a> {
    /// A factor that lies as it is multiplied.
    pub fn plain(data: Slice<'a, Cuda>) -> Self {
        Self { data, transposed: false }
    }

    /// A factor whose transpose is stored.
    pub fn transposed(data: Slice<'a, Cuda>) -> Self {
        Self { data, transposed: true }
    }
}

/// `C = A · B`, or `C += A · B`: A `[m, k]` and B `[k, n]` of one type, C `[m, n]`, all row-major.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub a: Operand<'a>,
    pub b: Operand<'a>,
    pub accumulate: bool,
}

/// cuBLASLt and the plans that it made.
pub(crate) struct Products {
    library: Library,
    plans: Mutex<Plans<Plan>>,
}

/// What was decided for each product: a plan, or `None` where cuBLASLt has none.
struct Plans<P> {
    decided: HashMap<Key, Option<P>>,
    /// How often the decision was that there is none.
    refused: usize,
}

impl<P> Plans<P> {
    fn new() -> Self {
        Self { decided: HashMap::new(), refused: 0 }
    }

    /// What was decided for this product, or is now. When there are too many, all are forgotten: those still in use are made
    /// again, as when they were first met.
    fn of(&mut self, key: Key, make: impl FnOnce() -> Result<Option<P>>) -> Result<Option<&P>> {
        if !self.decided.contains_key(&key) {
            let plan = make()?;
            if self.decided.len() >= MOST_PLANS {
                self.decided.clear();
            }
            self.refused += usize::from(plan.is_none());
            self.decided.insert(key, plan);
        }
        Ok(self.decided[&key].as_ref())
    }

    /// Decides again.
    fn decide(&mut self, key: Key, plan: Option<P>) {
        self.refused += usize::from(plan.is_none());
        self.decided.insert(key, plan);
    }
}

impl Products {
    /// For a stream, whose context is the thread's current one.
    pub fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        Ok(Self { library: Library::new(stream)?, plans: Mutex::new(Plans::new()) })
    }

    /// Queues a product; false, and nothing queued, where cuBLASLt has no algorithm for it.
    ///
    /// # Safety
    /// As [`Library::multiply`].
    unsafe fn multiply(&self, stream: &CudaStream, key: Key, addresses: [u64; 3]) -> Result<bool> {
        // Plans are whole when they are put there, so a panic elsewhere cannot have broken one.
        let plans = &mut *self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(plan) = plans.of(key, || Plan::new(&self.library, &key))? {
            // SAFETY: as the caller promises.
            if unsafe { self.library.multiply(stream, &key, plan, addresses) }? {
                return Ok(true);
            }
            let own = if plan.borrowed { Plan::own(&self.library, &key)? } else { None };
            plans.decide(key, own);
        }
        Ok(false)
    }

    /// How many products cuBLASLt had no algorithm for.
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
    /// [`bitfit_core::Error::Device`] when cuBLASLt fails or the driver refuses.
    ///
    /// # Panics
    /// When the windows do not hold the shape's elements, or the factors are of different types.
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
            // Buffers begin at multiples of 256 bytes.
            alignments: windows.map(|window| 1 << (window.offset * bytes_of(window.dtype)).trailing_zeros().min(8)),
        };
        let addresses = windows.map(|window| window.buffer.pointer(window.offset, window.len, window.dtype));
        if self.asks_cublaslt() {
            let done = self.context().bind_to_thread().map_err(Error::driver("cuCtxSetCurrent")).and_then(|()| {
                // SAFETY: the windows hold as many elements as the shape has (asserted above), lie inside their buffers
                // (`Buffer::pointer` checks it) and are aligned as the key says. Buffers are freed and lent again in the
                // order of this stream.
                unsafe { self.products().multiply(self.stream(), key, addresses) }
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
        for m in 0..MOST_PLANS {
            assert_eq!(plans.of(key(m), || Ok(Some(m))), Ok(Some(&m)));
        }
        let again = || panic!("it was decided before");
        assert_eq!(plans.of(key(0), again), Ok(Some(&0)));
        assert_eq!(plans.decided.len(), MOST_PLANS);
        assert_eq!(plans.of(key(MOST_PLANS), || Ok(None)), Ok(None));
        assert_eq!(plans.of(key(MOST_PLANS), again), Ok(None));
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
