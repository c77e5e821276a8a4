//! The kernels of a device: each source is compiled or fetched from the cache at its first use, and loaded once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::{
    driver::{CudaContext, CudaFunction, CudaModule, sys::CUfunction_attribute},
    nvrtc::Ptx,
};

use crate::{
    Error, Result,
    cache::Cache,
    compile::{self, Target},
    launch::Source,
    library, ops,
};

/// The dynamic shared memory that every kernel may use, in bytes.
const SHARED_BY_DEFAULT: u32 = 48 * 1024;

/// The loaded kernels, and the means to compile others.
#[derive(Debug)]
pub(crate) struct Kernels {
    target: Target,
    version: String,
    cache: Cache,
    loaded: Mutex<Loaded>,
}

#[derive(Debug, Default)]
struct Loaded {
    modules: HashMap<&'static str, Arc<CudaModule>>,
    functions: HashMap<&'static str, Function>,
}

#[derive(Debug)]
struct Function {
    function: CudaFunction,
    /// The dynamic shared memory that it may use, in bytes.
    shared: u32,
}

impl Kernels {
    /// The kernels of a device of the given compute capability.
    pub fn new(capability: u32) -> Result<Self> {
        let (target, version) = (Target::of(capability)?, library::compiler()?.to_string());
        Ok(Self { target, version, cache: Cache::of_user(), loaded: Mutex::default() })
    }

    /// The compute capability that the kernels are compiled for; older than that of the device if NVRTC does not
    /// support it.
    pub fn capability(&self) -> u32 {
        self.target.capability()
    }

    /// A kernel that was loaded for at least `shared` bytes of dynamic shared memory; `None` if [`Kernels::load`] has
    /// to be called first. Names of kernels are unique over all sources.
    pub fn loaded(&self, kernel: &'static str, shared: u32) -> Option<CudaFunction> {
        // The state is consistent after every change, so a poisoned lock is harmless.
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.functions.get(kernel).filter(|found| found.shared >= shared).map(|found| found.function.clone())
    }

    /// Loads a kernel that may use `shared` bytes of dynamic shared memory, and its source before it if necessary.
    pub fn load(
        &self,
        context: &Arc<CudaContext>,
        source: &'static Source,
        kernel: &'static str,
        shared: u32,
    ) -> Result<CudaFunction> {
        // The driver looks functions up in the thread's current context, and this may be the thread's first call.
        context.bind_to_thread().map_err(Error::driver("cuCtxSetCurrent"))?;
        let loaded = &mut *self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if !loaded.functions.contains_key(kernel) {
            let module = match loaded.modules.get(source.name) {
                Some(module) => module,
                None => loaded.modules.entry(source.name).or_insert(self.module(context, source)?),
            };
            let function = module.load_function(kernel).map_err(Error::driver("cuModuleGetFunction"))?;
            loaded.functions.insert(kernel, Function { function, shared: SHARED_BY_DEFAULT });
        }
        let found = loaded.functions.get_mut(kernel).expect("the function was just put there");
        if shared > found.shared {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            found.function.set_attribute(attribute, shared as i32).map_err(Error::driver("cuFuncSetAttribute"))?;
            found.shared = shared;
        }
        Ok(found.function.clone())
    }

    fn module(&self, context: &Arc<CudaContext>, source: &'static Source) -> Result<Arc<CudaModule>> {
        let cached = self.cache.read(source, self.target, &self.version);
        if let Some(module) = cached.and_then(|code| context.load_module(Ptx::from_binary(code)).ok()) {
            return Ok(module);
        }
        let code = compile::compile(source, self.target)?;
        self.cache.write(source, self.target, &self.version, &code);
        context.load_module(Ptx::from_binary(code)).map_err(Error::driver("cuModuleLoadData"))
    }
}

/// The names of all sources of kernels, which are those of the ops.
pub fn source_names() -> Vec<&'static str> {
    ops::SOURCES.iter().map(|source| source.name).collect()
}

/// Compiles all kernels with NVRTC, without a driver or a device. Returns the name of each source and the code that a
/// driver would load.
///
/// # Errors
/// [`Error::NoCompiler`] if there is no NVRTC, [`Error::OldCompiler`] if it is too old; [`Error::Compile`] with the
/// messages of the compiler for the first source that does not compile.
pub fn compile_all(target: Target) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let compile = |source: &&'static Source| compile::compile(source, target).map(|code| (source.name, code));
    ops::SOURCES.iter().map(compile).collect()
}
