//! Whether this process may use AMX's tile registers: the CPU must have them, and the system must save them for each thread.
//!
//! Linux (from 5.16 on) does so for a process that asks, since eight kilobytes are much to save for the many that do not. Elsewhere
//! they count as not there. It is asked whatever `BITFIT_ISA` says, for what the CPU has is found before; from then on the system refuses
//! threads a stack for signals that would not hold the registers.

/// Asks the CPU, then the system.
pub(super) fn available() -> bool {
    has_bfloat16_tiles() && permitted()
}

/// AMX-TILE and AMX-BF16, bits 24 and 22 of edx in leaf 7 of `cpuid`.
fn has_bfloat16_tiles() -> bool {
    const NEEDED: u32 = 1 << 24 | 1 << 22;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & NEEDED == NEEDED
}

/// Asks the system for the registers, for all threads of this process.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` of `asm/prctl.h`.
    const REQUEST_PERMISSION: libc::c_long = 0x1023;
    /// `XFEATURE_XTILEDATA`: the number of the tiles' state component.
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: a request that takes two numbers and touches no memory of this process. It fails where the kernel does not know it, or
    // where the state of some thread would not fit that thread's stack for signals.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}
