//! Detection of AMX: the CPU must have tile registers, and the operating system must save them for each thread.
//!
//! Linux from 5.16 on saves them, eight kilobytes per thread, for a process that requests permission. On other systems
//! AMX counts as unavailable. The unit tests can emulate it (`emulator`); then permission is not requested. Otherwise
//! it is, whatever the value of `BITFIT_ISA`, because detection comes first; from then on the system rejects signal
//! stacks that are too small for the registers.

#[cfg(all(test, target_os = "linux"))]
mod emulator;

/// Whether AMX is available to this process.
pub(super) fn available() -> bool {
    // First, because a process that has permission raises no signal.
    #[cfg(all(test, target_os = "linux"))]
    if emulator::install() {
        return true;
    }
    has_tiles() && permitted()
}

/// Whether the CPU has AMX-TILE, AMX-INT8 and AMX-BF16: bits 24, 25 and 22 of edx in leaf 7 of `cpuid`.
fn has_tiles() -> bool {
    const NEEDED: u32 = 1 << 24 | 1 << 25 | 1 << 22;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & NEEDED == NEEDED
}

/// Requests permission to use the registers for all threads of this process.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` of `asm/prctl.h`.
    const REQUEST_PERMISSION: libc::c_long = 0x1023;
    /// `XFEATURE_XTILEDATA`: the number of the tiles' state component.
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the system call takes two numbers and accesses no memory of this process. It fails if the kernel does not
    // support it, or if the signal stack of some thread is too small for the registers.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}
