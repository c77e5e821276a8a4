//! Products of matrices through cuBLASLt, with a cache of plans.
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
//! What cuBLASLt's heuristic finds for a product is kept with its descriptors, and is asked for once for each shape. It is
//! kept from algorithms that add parts of a sum in the order in which they come to be done, or round them to less than f32:
//! the same product has the same bits every time.

use std::{
    collections::HashMap,
    ffi::c_void,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bitfit_core::{DType, Slice, SliceMut};
use cudarc::{
    cublaslt::{
        result::{self as lt, CublasError},
        sys,
    },
    driver::CudaStream,
};

use crate::{Buffer, Cuda, Error, Precision, Result, launch::bytes_of};

/// Room for what an algorithm keeps between its parts: what NVIDIA advises for its newer devices.
const WORKSPACE_BYTES: usize = 32 << 20;

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

/// What a plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    m: usize,
    k: usize,
    n: usize,
    a_transposed: bool,
    b_transposed: bool,
    /// Of both factors.
    factors: DType,
    output: DType,
    accumulate: bool,
    tf32: bool,
    /// Powers of two of which the places of A, B and C are multiples; parts of the arena begin anywhere.
    alignments: [u32; 3],
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |transposed| if transposed { "ᵀ" } else { "" };
        let Self { m, k, n, a_transposed: a, b_transposed: b, factors, output, .. } = self;
        write!(f, "[{m}, {k}]{} · [{k}, {n}]{} of {factors:?} in {output:?}", mark(*a), mark(*b))
    }
}

/// cuBLASLt and the plans that it made.
pub(crate) struct Products {
    handle: Handle,
    workspace: Buffer,
    plans: Mutex<HashMap<Key, Plan>>,
}

impl Products {
    /// For a stream, whose context is the thread's current one.
    pub fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = lt::create_handle().map_err(failed("cublasLtCreate", &"the library"))?;
        let handle = Handle(handle);
        Ok(Self { handle, workspace: Buffer::new(stream, WORKSPACE_BYTES / 4)?, plans: Mutex::default() })
    }

    fn multiply(
        &self,
        stream: &CudaStream,
        key: Key,
        a: *const c_void,
        b: *const c_void,
        c: *mut c_void,
    ) -> Result<()> {
        // Plans are whole when they are put there, so a panic elsewhere cannot have broken one.
        let plans = &mut *self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.get(&key) {
            Some(plan) => plan,
            None => plans.entry(key).or_insert(Plan::new(&self.handle, &key)?),
        };
        let (alpha, beta) = (1.0f32, if key.accumulate { 1.0f32 } else { 0.0 });
        let workspace = self.workspace.pointer(0, WORKSPACE_BYTES / 4, DType::F32) as *mut c_void;
        // SAFETY: the descriptors live in the plan and describe matrices of the key's shape, for which `Cuda::multiply` checked
        // that the windows hold as many elements and have the alignment; the windows and the workspace are freed and lent
        // again in the order of this stream.
        let done = unsafe {
            lt::matmul(
                self.handle.0,
                plan.product.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                b,
                plan.first.0,
                a,
                plan.second.0,
                c,
                plan.output.0,
                c,
                plan.output.0,
                &plan.algorithm,
                workspace,
                WORKSPACE_BYTES,
                stream.cu_stream().cast(),
            )
        };
        done.map_err(failed("cublasLtMatmul", &key))
    }
}

impl fmt::Debug for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Products").finish_non_exhaustive()
    }
}

/// The descriptors of a product, and the algorithm for it.
struct Plan {
    product: Description,
    first: Layout,
    second: Layout,
    output: Layout,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Plan {
    fn new(handle: &Handle, key: &Key) -> Result<Self> {
        use sys::{cublasLtMatmulDescAttributes_t as D, cublasLtMatmulPreferenceAttributes_t as P};
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
            lt::get_matmul_algo_heuristic(handle.0, product.0, first.0, second.0, output.0, output.0, preference.0)
        };
        let algorithm = found.map_err(failed("cublasLtMatmulAlgoGetHeuristic", key))?.algo;
        Ok(Self { product, first, second, output, algorithm })
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

impl Cuda {
    /// Queues a product.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] when cuBLASLt has no algorithm for it or the driver refuses.
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
        let [a_at, b_at, c_at] = windows.map(|window| window.buffer.pointer(window.offset, window.len, window.dtype));
        let key = Key {
            m,
            k,
            n,
            a_transposed: a.transposed,
            b_transposed: b.transposed,
            factors: a.data.dtype,
            output: c.dtype,
            accumulate,
            tf32: self.precision() == Precision::Tf32 && a.data.dtype == DType::F32,
            // Buffers begin at multiples of 256 bytes.
            alignments: windows.map(|window| 1 << (window.offset * bytes_of(window.dtype)).trailing_zeros().min(8)),
        };
        self.context()
            .bind_to_thread()
            .map_err(Error::driver("cuCtxSetCurrent"))
            .and_then(|()| {
                self.products().multiply(self.stream(), key, a_at as *const _, b_at as *const _, c_at as *mut _)
            })
            .map_err(|error| self.error(error))
    }
}
