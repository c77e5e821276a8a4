//! How cuBLASLt multiplies matrices of one shape: its descriptors of them, and the algorithm that its heuristic finds.
//!
//! cuBLASLt takes matrices as columns one behind the other; ours lie row by row. A row-major `[r, c]` is, byte for byte, a
//! column-major `[c, r]`: its transpose. So instead of `C = op(A) · op(B)` it is asked for `Cᵀ = op(B)ᵀ · op(A)ᵀ`, B first,
//! and each operand is handed over with the transposition it has for us:
//!
//! ```text
//! ours                     its first operand (n × k)     its second operand (k × m)
//! B [k, n] as it lies      columns of n, not transposed
//! B stored [n, k]          columns of k, transposed
//! A [m, k] as it lies                                    columns of k, not transposed
//! A stored [k, m]                                        columns of m, transposed
//! ```
//!
//! It is kept from algorithms that add parts of a sum in the order in which they come to be done, or round them to less than
//! f32: the same product has the same bits every time.
//!
//! The heuristic takes about a millisecond for a product in bfloat16 on an H200, and a run meets a new number of rows with almost
//! every batch. So it is asked for some numbers of rows, and what it finds for one serves those a little below, too. Where
//! cuBLASLt does not take such an algorithm after all, the heuristic is asked for the product itself.

use std::{
    collections::HashMap,
    ffi::c_void,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bitfit_core::DType;
use cudarc::{
    cublaslt::{
        result::{self as lt, CublasError},
        sys::{self, cublasStatus_t as Status},
    },
    driver::CudaStream,
};

use crate::{Buffer, Error, Result};

/// Room for what an algorithm keeps between its parts: what NVIDIA advises for its newer devices.
const WORKSPACE_BYTES: usize = 32 << 20;

/// What a plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub a_transposed: bool,
    pub b_transposed: bool,
    /// Of both factors.
    pub factors: DType,
    pub output: DType,
    pub accumulate: bool,
    pub tf32: bool,
    /// Powers of two of which the places of A, B and C are multiples; parts of the arena begin anywhere.
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
    /// The product whose algorithm serves this one too, which may be this one: at most a quarter larger, or of 128 rows more. `None`
    /// for a transposed A, which has as many columns as there are rows of the result: what suits their alignment is its own alone.
    fn standing_for(self) -> Option<Self> {
        if self.a_transposed {
            return None;
        }
        let step = (self.m.next_power_of_two() / 8).max(128);
        let m = if self.m <= 128 { self.m.next_power_of_two() } else { self.m.next_multiple_of(step) };
        Some(Self { m, ..self })
    }
}

/// cuBLASLt, and the memory that it works in.
pub(super) struct Library {
    handle: Handle,
    workspace: Buffer,
    /// What the heuristic said of products that stand for others; few, as there are at most four to a doubling of the rows.
    algorithms: Mutex<HashMap<Key, Option<sys::cublasLtMatmulAlgo_t>>>,
}

impl Library {
    /// For a stream, whose context is the thread's current one.
    pub fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = lt::create_handle().map_err(failed("cublasLtCreate", &"the library"))?;
        let workspace = Buffer::new(stream, WORKSPACE_BYTES / 4)?;
        Ok(Self { handle: Handle(handle), workspace, algorithms: Mutex::default() })
    }

    /// What the heuristic says of a product that stands for others, asked once.
    fn of_standing(&self, standing: &Key) -> Result<Option<sys::cublasLtMatmulAlgo_t>> {
        // The map is whole after every change, so a panic elsewhere cannot have broken it.
        let algorithms = &mut *self.algorithms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = algorithms.get(standing) {
            return Ok(*found);
        }
        let found = Problem::new(standing)?.ask(&self.handle, standing)?;
        Ok(*algorithms.entry(*standing).or_insert(found))
    }

    /// Queues a product; false, and nothing queued, where the library does not take it after all.
    ///
    /// # Safety
    /// `a`, `b` and `c` are addresses on the device of matrices as the plan's key describes them, of that alignment, which
    /// live until the stream is through with the product.
    pub unsafe fn multiply(&self, stream: &CudaStream, key: &Key, plan: &Plan, [a, b, c]: [u64; 3]) -> Result<bool> {
        let (alpha, beta) = (1.0f32, if key.accumulate { 1.0f32 } else { 0.0 });
        let workspace = self.workspace.pointer(0, WORKSPACE_BYTES / 4, DType::F32) as *mut c_void;
        // SAFETY: the descriptors live in the plan and describe what the caller promises of the matrices. The workspace is
        // this library's alone, and is used in the order of the stream.
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
            // "In an impossible configuration", which an algorithm for another product may make.
            Err(CublasError(Status::CUBLAS_STATUS_INVALID_VALUE)) if plan.borrowed => Ok(false),
            Err(error) => Err(failed("cublasLtMatmul", key)(error)),
        }
    }
}

/// A product's description, and the algorithm for it.
pub(super) struct Plan {
    problem: Problem,
    algorithm: sys::cublasLtMatmulAlgo_t,
    /// Whether the algorithm was found for another product.
    pub borrowed: bool,
}

impl Plan {
    /// `None` where the heuristic has no algorithm: the library may lack the types on this architecture, or the alignment.
    pub fn new(library: &Library, key: &Key) -> Result<Option<Self>> {
        let Some(standing) = key.standing_for() else { return Self::own(library, key) };
        let borrowed = standing != *key;
        match library.of_standing(&standing)? {
            Some(algorithm) => Ok(Some(Self { problem: Problem::new(key)?, algorithm, borrowed })),
            None if borrowed => Self::own(library, key),
            None => Ok(None),
        }
    }

    /// With an algorithm that was found for this very product.
    pub fn own(library: &Library, key: &Key) -> Result<Option<Self>> {
        let problem = Problem::new(key)?;
        let found = problem.ask(&library.handle, key)?;
        Ok(found.map(|algorithm| Self { problem, algorithm, borrowed: false }))
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
        // Our rows are its columns.
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

    /// What the heuristic finds.
    fn ask(&self, handle: &Handle, key: &Key) -> Result<Option<sys::cublasLtMatmulAlgo_t>> {
        use sys::cublasLtMatmulPreferenceAttributes_t as P;
        let preference = Preference(lt::create_matmul_pref().map_err(failed("cublasLtMatmulPreferenceCreate", key))?);
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE_BYTES as u64)?;
        // Split sums are added in f32, from the workspace: not in place, and not in the output's type.
        let reductions = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions)?;
        let [a, b, c] = key.alignments;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b)?;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a)?;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c)?;
        preference.set(key, P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c)?;
        // SAFETY: all of them live until the end of this function.
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
        // Its other errors too: whatever is wrong with the question, there is no algorithm, and there is another way.
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

/// An object of cuBLASLt's, given back when dropped.
macro_rules! owned {
    ($(#[$doc:meta])* $name:ident($kind:ty), $destroy:path) => {
        $(#[$doc])*
        struct $name($kind);

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: it is given back here and nowhere else. There is nothing to do about an error.
                let _ = unsafe { $destroy(self.0) };
            }
        }

        // SAFETY: cuBLASLt's objects belong to no thread; these are only read once a plan is made.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {}
    };
}

owned!(Handle(sys::cublasLtHandle_t), lt::destroy_handle);
owned!(Description(sys::cublasLtMatmulDesc_t), lt::destroy_matmul_desc);
owned!(Layout(sys::cublasLtMatrixLayout_t), lt::destroy_matrix_layout);
owned!(Preference(sys::cublasLtMatmulPreference_t), lt::destroy_matmul_pref);

impl Description {
    fn set(&self, key: &Key, attribute: sys::cublasLtMatmulDescAttributes_t, value: i32) -> Result<()> {
        // SAFETY: it lives, and the value is of the size that is said.
        unsafe { lt::set_matmul_desc_attribute(self.0, attribute, (&raw const value).cast(), size_of::<i32>()) }
            .map_err(failed("cublasLtMatmulDescSetAttribute", key))
    }
}

impl Preference {
    fn set<T: Copy>(&self, key: &Key, attribute: sys::cublasLtMatmulPreferenceAttributes_t, value: T) -> Result<()> {
        // SAFETY: it lives, and the value is of the size that is said.
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
            [(1, 1), (3, 4), (128, 128), (129, 256), (1024, 1024), (1025, 1280), (4096, 4096), (4097, 5120)]
        {
            assert_eq!(key(m).standing_for(), Some(key(standing)));
            assert_eq!(key(standing).standing_for(), Some(key(standing)), "{standing} stands for itself");
        }
        let transposed = Key { a_transposed: true, ..key(129) };
        assert_eq!(transposed.standing_for(), None);
    }
}
