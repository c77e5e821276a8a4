//! NVRTC: from the text of kernels to code for a device. Needs no driver and no device.

use std::{
    ffi::{CString, c_char},
    fmt,
};

use cudarc::nvrtc::{result as nvrtc, sys};

use crate::{Error, Result, launch::Source, library};

/// What every source begins with.
const COMMON: &str = include_str!("common.cuh");

/// What kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Machine code for this compute capability, ten times major plus minor.
    Machine(u32),
    /// PTX for this compute capability, which the driver compiles for a device that this NVRTC does not know yet.
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

/// The oldest compute capability that the kernels are written for: Turing's.
const OLDEST: u32 = 75;

impl Target {
    /// For a device of this compute capability.
    ///
    /// # Errors
    /// [`Error::NoTarget`] where this NVRTC makes nothing that runs on it, or the kernels need a newer device.
    pub(crate) fn of(capability: u32) -> Result<Self> {
        let compiler = library::compiler()?;
        let known = supported()?;
        Self::choose(capability, &known).ok_or_else(|| Error::NoTarget {
            capability,
            compiler: compiler.to_string(),
            oldest: known.iter().copied().min().unwrap_or(0),
        })
    }

    /// Machine code where NVRTC knows the device's architecture. Otherwise PTX of the newest before it, of which the driver
    /// makes machine code: the device may be newer than NVRTC, or lie between two that it knows.
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
    // SAFETY: the library is there (`Target::of` has asked), and the pointer leads to an int, as it wants.
    call("nvrtcGetNumSupportedArchs", unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) })?;
    let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: the list has room for as many as there are.
    call("nvrtcGetSupportedArchs", unsafe { sys::nvrtcGetSupportedArchs(known.as_mut_ptr()) })?;
    Ok(known.into_iter().filter_map(|capability| u32::try_from(capability).ok()).collect())
}

/// The options of every compilation, but for the target. Line numbers are for compute-sanitizer, and cost no time.
pub(crate) const OPTIONS: [&str; 2] = ["--std=c++17", "--generate-line-info"];

/// The whole text that the compiler is given.
pub(crate) fn text(source: &Source) -> String {
    format!("{COMMON}\n#line 1 \"{}.cu\"\n{}", source.name, source.code)
}

/// Compiles a source; returns what the driver loads: machine code, or PTX with a final zero.
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
            // An option that it does not know, a directory that it cannot write: it says which.
            let log = program.log().unwrap_or_default();
            Err(Error::Compiler {
                call: "nvrtcCompileProgram",
                reason: format!("{:?}\n{log}", error.0).trim_end().to_string(),
            })
        }
    }
}

/// A program of NVRTC's, given back when dropped.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(text: &CString, name: &CString) -> Result<Self> {
        let program = nvrtc::create_program(text, Some(name)).map_err(|error| failed("nvrtcCreateProgram", error))?;
        Ok(Self(program))
    }

    fn log(&self) -> Result<String> {
        // SAFETY: the program lives.
        let log = unsafe { nvrtc::get_program_log(self.0) }.map_err(|error| failed("nvrtcGetProgramLog", error))?;
        Ok(String::from_utf8_lossy(bytemuck::cast_slice::<c_char, u8>(&log)).trim_end_matches('\0').trim().to_string())
    }

    fn code(&self, target: Target) -> Result<Vec<u8>> {
        if let Target::Virtual(_) = target {
            // SAFETY: the program lives and is compiled.
            let ptx = unsafe { nvrtc::get_ptx(self.0) }.map_err(|error| failed("nvrtcGetPTX", error))?;
            return Ok(bytemuck::cast_vec(ptx));
        }
        let mut size = 0;
        // SAFETY: the program lives and is compiled; the pointer leads to a size.
        call("nvrtcGetCUBINSize", unsafe { sys::nvrtcGetCUBINSize(self.0, &mut size) })?;
        let mut code = vec![0u8; size];
        // SAFETY: there is room for as many bytes as it has.
        call("nvrtcGetCUBIN", unsafe { sys::nvrtcGetCUBIN(self.0, code.as_mut_ptr().cast()) })?;
        Ok(code)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program is given back here and nowhere else. There is nothing to do about an error.
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

    /// Of NVRTC 13.0.
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
        // Whatever the order in which it names them.
        assert_eq!(Target::choose(89, &[90, 75, 86, 80]), Some(Target::Virtual(86)));
    }

    #[test]
    fn a_device_that_is_too_old_gets_nothing() {
        for (capability, known) in [(72, &KNOWN[..]), (70, &[50, 60, 70]), (80, &[90, 100]), (90, &[])] {
            assert_eq!(Target::choose(capability, known), None, "{capability} of {known:?}");
        }
        // Kernels are not compiled for what is older than they are written for, though it would run.
        assert_eq!(Target::choose(75, &[70, 72]), None);
    }
}
