//! Plans of cuBLASLt for products of one shape: its descriptors, and the algorithm that its heuristic finds.
//!
//! cuBLASLt takes column-major matrices; those of this crate are row-major. A row-major `[r, c]` has the memory layout
//! of a column-major `[c, r]`, its transpose. Instead of `C = op(A) · op(B)`, cuBLASLt therefore computes `Cᵀ = op(B)ᵀ
//! · op(A)ᵀ`, with B first, and each operand has the transposition that it has here:
//!
//! ```text
//! this crate               its first operand (n × k)     its second operand (k × m)
//! B stored [k, n]          columns of n, not transposed
//! B stored [n, k]          columns of k, transposed
//! A stored [m, k]                                        columns of k, not transposed
//! A stored [k, m]                                        columns of m, transposed
//! ```
//!
//! Algorithms that add partial sums in order of completion, or round them to less than f32, are excluded: a product
//! always has the same bits.
//!
//! The heuristic takes about a millisecond for a product in bfloat16 on an H200, and almost every batch has another
//! number of rows. It is therefore called for certain numbers of rows only, and the algorithm is also used for slightly
//! smaller products. If cuBLASLt rejects such an algorithm, the heuristic is called for the product itself.

use std::{
    collections::HashMap,
    ffi::c_void,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bitfit_core::DType;
use cudarc::{
    cublaslt::{
        result::{self as lt, CublasError},
        sys::{self, cublasStatus_t as Status},
    },
    driver::CudaStream,
};

use crate::{Buffer, Error, Result, memory::Heap};

/// The size of the workspace of an algorithm. NVIDIA recommends 32 MiB for its newer devices; the products of a
/// training step are as fast with this.
const WORKSPACE_BYTES: usize = 8 << 20;

/// The properties of a product that determine its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub a_transposed: bool,
    pub b_transposed: bool,
    /// The type of both factors.
    pub factors: DType,
    pub output: DType,
    pub accumulate: bool,
    pub tf32: bool,
    /// The alignments of A, B and C in bytes, powers of two; parts of the arena can start at any element.
    pub alignments: [u32; 3],
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |transposed| if transposed { "ᵀ" } else { "" };
        let Self { m, k, n, a_transposed: a, b_transposed: b, factors, output, .. } = self;
        write!(f, "[{m}, {k}]{} · [{k}, {n}]{} of {factors:?} in {output:?}", mark(*a), mark(*b))
    }
}

impl Key {
    /// The product whose algorithm this one uses, which may be this one: at most half as large again, or by up to 128
    /// rows. `None` for a transposed A, whose number of columns is the number of rows of the result: its alignment
    /// depends on it.
    fn standing_for(self) -> Option<Self> {
        if self.a_transposed {
            return None;
        }
        let step = (self.m.next_power_of_two() / 4).max(128);
        let m = if self.m <= 128 { self.m.next_power_of_two() } else { self.m.next_multiple_of(step) };
        Some(Self { m, ..self })
    }
}

/// The handle of cuBLASLt, and its workspace.
pub(super) struct Library {
    handle: Handle,
    workspace: Buffer,
    /// The algorithms of the products that stand for others. They are few: at most two for each doubling of the rows.
    algorithms: Mutex<HashMap<Key, Option<sys::cublasLtMatmulAlgo_t>>>,
}

impl Library {
    /// Opens cuBLASLt for a device, whose context has to be the thread's current one.
    pub fn new(heap: &Arc<Heap>) -> Result<Self> {
        let handle = lt::create_handle().map_err(failed("cublasLtCreate", &"the library"))?;
        let workspace = Buffer::new(heap, WORKSPACE_BYTES / 4)?;
        Ok(Self { handle: Handle(handle), workspace, algorithms: Mutex::default() })
    }

    /// The algorithm of a product that stands for others, determined once.
    fn algorithm_of(&self, standing: &Key) -> Result<Option<sys::cublasLtMatmulAlgo_t>> {
        // The map is consistent after every change, so a poisoned lock is harmless.
        let algorithms = &mut *self.algorithms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = algorithms.get(standing) {
            return Ok(*found);
        }
        let found = Problem::new(standing)?.find_algorithm(&self.handle, standing)?;
        Ok(*algorithms.entry(*standing).or_insert(found))
    }

    /// Launches a product to a stream. Returns false, and launches nothing, if the library rejects the algorithm.
    ///
    /// # Safety
    /// `a`, `b` and `c` must be device addresses of matrices with the shapes, types and alignments of the plan's key,
    /// which are valid until the stream has executed the product.
    pub unsafe fn multiply(&self, stream: &CudaStream, plan: &Plan, [a, b, c]: [u64; 3]) -> Result<bool> {
        let key = &plan.key;
        let (alpha, beta) = (1.0f32, if key.accumulate { 1.0f32 } else { 0.0 });
        let workspace = self.workspace.pointer(0, WORKSPACE_BYTES / 4, DType::F32) as *mut c_void;
        // SAFETY: the descriptors belong to the plan and describe the matrices that the caller guarantees. The
        // workspace belongs to this library, and is used in the order of the queue.
        let done = unsafe {
            lt::matmul(
                self.handle.0,
                plan.problem.product.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                b as *const c_void,
                plan.problem.first.0,
                a as *const c_void,
                plan.problem.second.0,
                c as *const c_void,
                plan.problem.output.0,
                c as *mut c_void,
                plan.problem.output.0,
                &plan.algorithm,
                workspace,
                WORKSPACE_BYTES,
                stream.cu_stream().cast(),
            )
        };
        match done {
            Ok(()) => Ok(true),
            Err(CublasError(Status::CUBLAS_STATUS_NOT_SUPPORTED | Status::CUBLAS_STATUS_ARCH_MISMATCH)) => Ok(false),
            // Also returned for an algorithm that does not fit the product, such as one of another product.
            Err(CublasError(Status::CUBLAS_STATUS_INVALID_VALUE)) if plan.borrowed => Ok(false),
            Err(error) => Err(failed("cublasLtMatmul", key)(error)),
        }
    }
}

/// The descriptors of a product, and its algorithm.
pub(super) struct Plan {
    /// A number that no other plan of the process has or had.
    pub id: u64,
    key: Key,
    problem: Problem,
    algorithm: sys::cublasLtMatmulAlgo_t,
    /// Whether the algorithm was found for another product.
    pub borrowed: bool,
    /// Whether it was executed: the library accepts the algorithm, and its kernels are loaded.
    run: AtomicBool,
}

impl Plan {
    /// Whether it was executed.
    pub fn has_run(&self) -> bool {
        self.run.load(Ordering::Relaxed)
    }

    /// The error of a product that the library accepted before and does not accept now.
    pub fn was_refused(&self) -> Error {
        failed("cublasLtMatmul", &self.key)(CublasError(Status::CUBLAS_STATUS_NOT_SUPPORTED))
    }

    /// Notes that it was executed.
    pub fn mark_as_run(&self) {
        self.run.store(true, Ordering::Relaxed);
    }

    /// Makes a plan; `None` if the heuristic has no algorithm, for example for the types on this architecture or the
    /// alignment.
    pub fn new(library: &Library, key: &Key) -> Result<Option<Self>> {
        let Some(standing) = key.standing_for() else { return Self::own(library, key) };
        let borrowed = standing != *key;
        match library.algorithm_of(&standing)? {
            Some(algorithm) => Ok(Some(Self::of(key, Problem::new(key)?, algorithm, borrowed))),
            None if borrowed => Self::own(library, key),
            None => Ok(None),
        }
    }

    /// Makes a plan with an algorithm found for this product itself.
    pub fn own(library: &Library, key: &Key) -> Result<Option<Self>> {
        let problem = Problem::new(key)?;
        let found = problem.find_algorithm(&library.handle, key)?;
        Ok(found.map(|algorithm| Self::of(key, problem, algorithm, false)))
    }

    fn of(key: &Key, problem: Problem, algorithm: sys::cublasLtMatmulAlgo_t, borrowed: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, key: *key, problem, algorithm, borrowed, run: AtomicBool::new(false) }
    }
}

/// The descriptors of a product.
struct Problem {
    product: Description,
    first: Layout,
    second: Layout,
    output: Layout,
}

impl Problem {
    fn new(key: &Key) -> Result<Self> {
        use sys::cublasLtMatmulDescAttributes_t as D;
        let Key { m, k, n, .. } = *key;
        let compute = match key.tf32 {
            true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let product = lt::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)
            .map_err(failed("cublasLtMatmulDescCreate", key))?;
        let product = Description(product);
        let transposition = |transposed: bool| if transposed { 1i32 } else { 0 };
        product.set(key, D::CUBLASLT_MATMUL_DESC_TRANSA, transposition(key.b_transposed))?;
        product.set(key, D::CUBLASLT_MATMUL_DESC_TRANSB, transposition(key.a_transposed))?;
        // Rows here are columns there.
        let layout = |dtype, rows: usize, cols: usize| {
            lt::create_matrix_layout(data_type(dtype), cols as u64, rows as u64, cols as i64)
                .map(Layout)
                .map_err(failed("cublasLtMatrixLayoutCreate", key))
        };
        let first = if key.b_transposed { layout(key.factors, n, k)? } else { layout(key.factors, k, n)? };
        let second = if key.a_transposed { layout(key.factors, k, m)? } else { layout(key.factors, m, k)? };
        let output = layout(key.output, m, n)?;
        Ok(Self { product, first, second, output })
    }

    /// Calls the heuristic; `None` if it finds no algorithm.
    fn find_algorithm(&self, handle: &Handle, key: &Key) -> Result<Option<sys::cublasLtMatmulAlgo_t>> {
        use sys::cublasLtMatmulPreferenceAttributes_t as P;
        let preference = Preference(lt::create_matmul_pref().map_err(failed("cublasLtMatmulPreferenceCreate", key))?);
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE_BYTES as u64)?;
        // Split sums are added in f32 from the workspace, neither in place nor in the type of the output.
        let reductions = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions)?;
        let [a, b, c] = key.alignments;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b)?;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a)?;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c)?;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c)?;
        // SAFETY: all descriptors are valid until the end of this function.
        let found = unsafe {
            lt::get_matmul_algo_heuristic(
                handle.0,
                self.product.0,
                self.first.0,
                self.second.0,
                self.output.0,
                self.output.0,
                preference.0,
            )
        };
        // All errors are treated as no algorithm, because there is the other kernel.
        Ok(found.ok().map(|found| found.algo))
    }
}

fn data_type(dtype: DType) -> sys::cudaDataType {
    match dtype {
        DType::F32 => sys::cudaDataType::CUDA_R_32F,
        DType::Bf16 => sys::cudaDataType::CUDA_R_16BF,
    }
}

fn failed(call: &'static str, product: &impl fmt::Display) -> impl FnOnce(CublasError) -> Error {
    let product = product.to_string();
    move |error| Error::Product { call, product, status: format!("{:?}", error.0) }
}

/// Defines an object of cuBLASLt that is destroyed when dropped.
macro_rules! owned {
    ($(#[$doc:meta])* $name:ident($kind:ty), $destroy:path) => {
        $(#[$doc])*
        struct $name($kind);

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the object is destroyed only here. An error cannot be handled.
                let _ = unsafe { $destroy(self.0) };
            }
        }

        // SAFETY: objects of cuBLASLt are not bound to a thread, and are only read after a plan is made.
        unsafe impl Send for $name {}
        // SAFETY: objects of cuBLASLt are not bound to a thread, and are only read after a plan is made.
        unsafe impl Sync for $name {}
    };
}

owned!(Handle(sys::cublasLtHandle_t), lt::destroy_handle);
owned!(Description(sys::cublasLtMatmulDesc_t), lt::destroy_matmul_desc);
owned!(Layout(sys::cublasLtMatrixLayout_t), lt::destroy_matrix_layout);
owned!(Preference(sys::cublasLtMatmulPreference_t), lt::destroy_matmul_pref);

impl Description {
    fn set(&self, key: &Key, attribute: sys::cublasLtMatmulDescAttributes_t, value: i32) -> Result<()> {
        // SAFETY: the object is valid, and the value has the given size.
        unsafe { lt::set_matmul_desc_attribute(self.0, attribute, (&raw const value).cast(), size_of::<i32>()) }
            .map_err(failed("cublasLtMatmulDescSetAttribute", key))
    }
}

impl Preference {
    fn set<T: Copy>(&self, key: &Key, attribute: sys::cublasLtMatmulPreferenceAttributes_t, value: T) -> Result<()> {
        // SAFETY: the object is valid, and the value has the given size.
        unsafe { lt::set_matmul_pref_attribute(self.0, attribute, (&raw const value).cast(), size_of::<T>()) }
            .map_err(failed("cublasLtMatmulPreferenceSetAttribute", key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_product_stands_for_those_a_little_smaller() {
        let key = |m| Key {
            m,
            k: 8,
            n: 8,
            a_transposed: false,
            b_transposed: true,
            factors: DType::Bf16,
            output: DType::Bf16,
            accumulate: false,
            tf32: false,
            alignments: [256; 3],
        };
        for (m, standing) in
            [(1, 1), (3, 4), (128, 128), (129, 256), (1024, 1024), (1025, 1536), (4096, 4096), (4097, 6144)]
        {
            assert_eq!(key(m).standing_for(), Some(key(standing)));
            assert_eq!(key(standing).standing_for(), Some(key(standing)), "{standing} stands for itself");
        }
        let transposed = Key { a_transposed: true, ..key(129) };
        assert_eq!(transposed.standing_for(), None);
    }
}
