//! Checks that the CUDA libraries are installed and recent enough. They are loaded at run time, and the crate that
//! binds them panics if a library or one of its functions is missing, so this is checked before anything else is
//! called. The functions called here exist in every version.

use std::fmt;

use cudarc::{cublaslt, driver, nvrtc};

use crate::{Error, Result};

/// A version of CUDA: of a library, or supported by a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The oldest supported version of the libraries.
const OLDEST: Version = Version { major: 12, minor: 0 };

/// The version of CUDA that the driver, libcuda, supports.
pub(crate) fn driver() -> Result<Version> {
    // SAFETY: loads the library, whose initialisers are those of the driver.
    present(unsafe { driver::sys::is_culib_present() }, Error::NoDriver)?;
    let mut version = 0;
    // SAFETY: the library is loaded, and the pointer is to an int. The function needs no initialisation.
    let result = unsafe { driver::sys::cuDriverGetVersion(&mut version) };
    if result == driver::sys::CUresult::CUDA_ERROR_STUB_LIBRARY {
        return Err(Error::StubDriver);
    }
    result.result().map_err(Error::driver("cuDriverGetVersion"))?;
    Ok(of_driver(version as u32))
}

/// The version of NVRTC, the compiler of kernels.
pub(crate) fn compiler() -> Result<Version> {
    // SAFETY: loads the library, whose initialisers are those of the toolkit.
    present(unsafe { nvrtc::sys::is_culib_present() }, Error::NoCompiler)?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is loaded, and the pointers are to ints.
    let result = unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    result.result().map_err(|error| Error::Compiler { call: "nvrtcVersion", reason: format!("{:?}", error.0) })?;
    new_enough(Version { major: major as u32, minor: minor as u32 }, |version| Error::OldCompiler { version })
}

/// The version of cuBLASLt, the library of matrix products.
pub(crate) fn products() -> Result<Version> {
    // SAFETY: loads the library, whose initialisers are those of the toolkit.
    present(unsafe { cublaslt::sys::is_culib_present() }, Error::NoProducts)?;
    // SAFETY: the library is loaded.
    let version = unsafe { cublaslt::sys::cublasLtGetVersion() };
    new_enough(of_products(version as u32), |version| Error::OldProducts { version })
}

/// Checks that a driver can run the code of the libraries: its major version of CUDA must not be older than theirs.
/// Minor versions are compatible.
pub(crate) fn fit(driver: Version, compiler: Version, products: Version) -> Result<()> {
    for (name, library) in [("NVRTC", compiler), ("cuBLASLt", products)] {
        if driver.major < library.major {
            let (driver, library) = (driver.to_string(), format!("{name} {library}"));
            return Err(Error::OldDriver { driver, library });
        }
    }
    Ok(())
}

fn present(found: bool, missing: Error) -> Result<()> {
    if found { Ok(()) } else { Err(missing) }
}

fn new_enough(found: Version, old: impl Fn(String) -> Error) -> Result<Version> {
    if found >= OLDEST { Ok(found) } else { Err(old(found.to_string())) }
}

/// Decodes a version number of the driver: 12040 is 12.4.
fn of_driver(version: u32) -> Version {
    Version { major: version / 1000, minor: version % 1000 / 10 }
}

/// Decodes a version number of cuBLASLt: 120403 is 12.4.3. Before 12 the number had one digit less: 11103 was 11.1.3,
/// and 12103 was 11.11.3.
fn of_products(version: u32) -> Version {
    if version >= 100_000 {
        return Version { major: version / 10_000, minor: version % 10_000 / 100 };
    }
    let major = (version / 1000).min(11);
    Version { major, minor: (version - major * 1000) / 100 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn version(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    #[test]
    fn versions_are_read_as_the_libraries_write_them() {
        assert_eq!([11080, 12040, 13000].map(of_driver), [version(11, 8), version(12, 4), version(13, 0)]);
        assert_eq!([10202, 11103, 12103].map(of_products), [version(10, 2), version(11, 1), version(11, 11)]);
        assert_eq!([120_103, 130_000].map(of_products), [version(12, 1), version(13, 0)]);
    }

    #[test]
    fn a_library_before_cuda_12_is_refused_by_its_version() {
        for old in [version(10, 2), version(11, 11)] {
            let error = new_enough(old, |version| Error::OldCompiler { version }).unwrap_err();
            assert_eq!(error, Error::OldCompiler { version: old.to_string() });
            assert!(error.to_string().contains(&format!("NVRTC {old} is too old")), "{error}");
        }
        for new in [version(12, 0), version(12, 9), version(13, 0)] {
            assert_eq!(new_enough(new, |version| Error::OldProducts { version }), Ok(new));
        }
    }

    #[test]
    fn a_driver_older_than_a_librarys_major_version_is_refused_and_both_are_named() {
        let (old, new) = (version(12, 9), version(13, 0));
        assert_eq!(fit(new, new, new), Ok(()));
        assert_eq!(fit(new, old, old), Ok(()));
        assert_eq!(fit(version(12, 0), old, old), Ok(()), "minor versions fit one another");
        let error = |library: &str| Error::OldDriver { driver: "12.9".to_string(), library: library.to_string() };
        assert_eq!(fit(old, new, old), Err(error("NVRTC 13.0")));
        assert_eq!(fit(old, old, new), Err(error("cuBLASLt 13.0")));
        let words = error("NVRTC 13.0").to_string();
        assert!(words.contains("12.9") && words.contains("NVRTC 13.0"), "{words}");
    }
}
