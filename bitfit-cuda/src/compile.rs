//! Compilation of kernels with NVRTC, which needs no driver and no device.

use std::{
    ffi::{CString, c_char},
    fmt,
};

use cudarc::nvrtc::{result as nvrtc, sys};

use crate::{Error, Result, launch::Source, library};

/// The headers in front of every source, in this order.
const COMMON: &str = concat!(
    include_str!("common/elements.cuh"),
    "\n",
    include_str!("common/reductions.cuh"),
    "\n",
    include_str!("common/vectors.cuh"),
    "\n",
    include_str!("common/tiles.cuh"),
    "\n",
    include_str!("common/runs.cuh"),
    "\n",
    include_str!("common/gelu.cuh"),
    "\n",
    include_str!("common/dropout.cuh"),
    "\n",
    include_str!("common/tensor_cores.cuh"),
    "\n",
);

/// The target of a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Machine code for this compute capability, ten times major plus minor.
    Machine(u32),
    /// PTX for this compute capability, which the driver compiles for a device that this NVRTC does not support.
    Virtual(u32),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(capability) => write!(f, "sm_{capability}"),
            Self::Virtual(capability) => write!(f, "compute_{capability}"),
        }
    }
}

/// The oldest compute capability that the kernels support, Turing.
const OLDEST: u32 = 75;

impl Target {
    /// The target for a device of the given compute capability.
    ///
    /// # Errors
    /// [`Error::NoTarget`] if this NVRTC cannot compile for the device, or the device is too old for the kernels.
    pub(crate) fn of(capability: u32) -> Result<Self> {
        let compiler = library::compiler()?;
        let known = supported()?;
        Self::choose(capability, &known).ok_or_else(|| Error::NoTarget {
            capability,
            compiler: compiler.to_string(),
            oldest: known.iter().copied().min().unwrap_or(0),
        })
    }

    /// Machine code if NVRTC supports the device's architecture, otherwise PTX for the newest older one, which the
    /// driver compiles: the device may be newer than NVRTC, or between two architectures that it supports.
    fn choose(capability: u32, known: &[u32]) -> Option<Self> {
        let newest = known.iter().copied().filter(|known| (OLDEST..=capability).contains(known)).max()?;
        Some(if newest == capability { Self::Machine(capability) } else { Self::Virtual(newest) })
    }

    /// The compute capability whose instructions the kernels may use.
    pub(crate) fn capability(self) -> u32 {
        match self {
            Self::Machine(capability) | Self::Virtual(capability) => capability,
        }
    }
}

/// The compute capabilities that this NVRTC compiles for.
fn supported() -> Result<Vec<u32>> {
    let mut count = 0;
    // SAFETY: the library is loaded (`Target::of` checked it), and the pointer is to an int, as required.
    call("nvrtcGetNumSupportedArchs", unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) })?;
    let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: the list has `count` elements.
    call("nvrtcGetSupportedArchs", unsafe { sys::nvrtcGetSupportedArchs(known.as_mut_ptr()) })?;
    Ok(known.into_iter().filter_map(|capability| u32::try_from(capability).ok()).collect())
}

/// The options of every compilation, without the target. Line numbers are for compute-sanitizer and do not affect
/// performance.
pub(crate) const OPTIONS: [&str; 2] = ["--std=c++17", "--generate-line-info"];

/// The complete text that is compiled.
pub(crate) fn text(source: &Source) -> String {
    format!("{COMMON}\n#line 1 \"{}.cu\"\n{}", source.name, source.code)
}

/// Compiles a source and returns the code that the driver loads: machine code, or PTX with a final zero.
pub(crate) fn compile(source: &Source, target: Target) -> Result<Vec<u8>> {
    library::compiler()?;
    let text = CString::new(text(source)).expect("a source without a zero byte");
    let name = CString::new(format!("{}.cu", source.name)).expect("a name without a zero byte");
    let program = Program::new(&text, &name)?;
    let mut options = vec![format!("--gpu-architecture={target}")];
    options.extend(OPTIONS.map(String::from));
    // SAFETY: the program lives until the end of this function, and so do its text and name.
    match unsafe { nvrtc::compile_program(program.0, &options) } {
        Ok(()) => program.code(target),
        Err(nvrtc::NvrtcError(sys::nvrtcResult::NVRTC_ERROR_COMPILATION)) => {
            Err(Error::Compile { source_name: source.name, target: target.to_string(), log: program.log()? })
        }
        Err(error) => {
            // Such as an unknown option; the log names it.
            let log = program.log().unwrap_or_default();
            Err(Error::Compiler {
                call: "nvrtcCompileProgram",
                reason: format!("{:?}\n{log}", error.0).trim_end().to_string(),
            })
        }
    }
}

/// A program of NVRTC, destroyed when dropped.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(text: &CString, name: &CString) -> Result<Self> {
        let program = nvrtc::create_program(text, Some(name)).map_err(|error| failed("nvrtcCreateProgram", error))?;
        Ok(Self(program))
    }

    fn log(&self) -> Result<String> {
        // SAFETY: the program has not been destroyed.
        let log = unsafe { nvrtc::get_program_log(self.0) }.map_err(|error| failed("nvrtcGetProgramLog", error))?;
        Ok(String::from_utf8_lossy(bytemuck::cast_slice::<c_char, u8>(&log)).trim_end_matches('\0').trim().to_string())
    }

    fn code(&self, target: Target) -> Result<Vec<u8>> {
        if let Target::Virtual(_) = target {
            // SAFETY: the program has not been destroyed and is compiled.
            let ptx = unsafe { nvrtc::get_ptx(self.0) }.map_err(|error| failed("nvrtcGetPTX", error))?;
            return Ok(bytemuck::cast_vec(ptx));
        }
        let mut size = 0;
        // SAFETY: the program has not been destroyed and is compiled; the pointer is to a size.
        call("nvrtcGetCUBINSize", unsafe { sys::nvrtcGetCUBINSize(self.0, &mut size) })?;
        let mut code = vec![0u8; size];
        // SAFETY: the buffer has the size that was returned.
        call("nvrtcGetCUBIN", unsafe { sys::nvrtcGetCUBIN(self.0, code.as_mut_ptr().cast()) })?;
        Ok(code)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program is destroyed only here. An error cannot be handled.
        let _ = unsafe { nvrtc::destroy_program(self.0) };
    }
}

fn call(name: &'static str, result: sys::nvrtcResult) -> Result<()> {
    result.result().map_err(|error| failed(name, error))
}

fn failed(call: &'static str, error: nvrtc::NvrtcError) -> Error {
    Error::Compiler { call, reason: format!("{:?}", error.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The architectures of NVRTC 13.0.
    const KNOWN: [u32; 12] = [75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121];

    #[test]
    fn a_device_that_the_compiler_knows_gets_machine_code() {
        for capability in KNOWN {
            assert_eq!(Target::choose(capability, &KNOWN), Some(Target::Machine(capability)));
        }
    }

    #[test]
    fn a_device_that_it_does_not_know_gets_ptx_of_the_newest_before_it() {
        for (capability, newest) in [(122, 121), (101, 100), (99, 90), (76, 75)] {
            assert_eq!(Target::choose(capability, &KNOWN), Some(Target::Virtual(newest)));
        }
        // Whatever the order of the list.
        assert_eq!(Target::choose(89, &[90, 75, 86, 80]), Some(Target::Virtual(86)));
    }

    #[test]
    fn a_device_that_is_too_old_gets_nothing() {
        for (capability, known) in [(72, &KNOWN[..]), (70, &[50, 60, 70]), (80, &[90, 100]), (90, &[])] {
            assert_eq!(Target::choose(capability, known), None, "{capability} of {known:?}");
        }
        // An architecture that is older than the kernels support is not a target, even if its code would run.
        assert_eq!(Target::choose(75, &[70, 72]), None);
    }
}
