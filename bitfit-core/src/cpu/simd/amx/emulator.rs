//! AMX for unit tests, on an x86-64 CPU with or without it: a handler of `SIGILL` that carries out the instructions
//! that the kernels use, as Intel's manual describes them, on tile registers in the memory of each thread.
//!
//! It shows that kernels compute the right values and access only what they may, and nothing of their speed. As on the
//! CPU, a use of tile registers that are not configured is an illegal instruction.
//!
//! On a CPU with AMX, Linux sends the signal too while the process has not requested permission, except for `ldtilecfg`
//! and `tilerelease`, which the CPU carries out itself. There the registers count as configured.

use std::{
    cell::RefCell,
    mem, ptr,
    sync::{LazyLock, OnceLock},
};

use half::bf16;

/// The registers, the rows of each and the bytes of a row.
const REGISTERS: usize = 8;
const ROWS: usize = 16;
const ROW_BYTES: usize = 64;

type Register = [[u8; ROW_BYTES]; ROWS];

/// The tile registers of a thread.
struct Tiles {
    is_configured: bool,
    registers: [Register; REGISTERS],
}

const EMPTY: Register = [[0; ROW_BYTES]; ROWS];

const UNCONFIGURED: Tiles = Tiles { is_configured: false, registers: [EMPTY; REGISTERS] };

thread_local! {
    static TILES: RefCell<Tiles> = const { RefCell::new(UNCONFIGURED) };
}

/// Whether the CPU has tile registers, which the emulation must not ask at each instruction: in a virtual machine
/// `cpuid` leaves it.
static HAS_TILES: LazyLock<bool> = LazyLock::new(super::has_tiles);

/// The variable that asks for emulation.
const VARIABLE: &str = "BITFIT_EMULATE_AMX";

/// Installs the handler where the environment asks for it. Whether it did.
pub(super) fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        if std::env::var_os(VARIABLE).is_none() {
            return false;
        }
        // SAFETY: a zeroed `sigaction` is an empty one, and the handler has the signature that `SA_SIGINFO` announces.
        // It runs for instructions that fault, never inside other code of a thread, so that it may do what any function
        // may; it changes memory of its thread and what the instruction writes.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = on_illegal_instruction as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGILL, &raw const action, ptr::null_mut()), 0, "sigaction");
        }
        true
    })
}

/// Carries out the instruction at which the thread stands and moves it past. If it is none of AMX, restores the default
/// action, so that its next attempt ends the process.
extern "C" fn on_illegal_instruction(_signal: libc::c_int, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system hands the handler the context of the thread, which nothing else refers to.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as *const u8;
    // SAFETY: it lies in the code of the test's binary or of a library, after which come other parts of it, so that
    // sixteen bytes are readable.
    let decoded = unsafe { Instruction::decode(at, registers) };
    let length = decoded.and_then(|(instruction, length)| {
        // SAFETY: the instruction's operands are those of the kernel, which guarantees them.
        TILES.with_borrow_mut(|tiles| unsafe { instruction.execute(tiles) })?;
        Some(length)
    });
    match length {
        Some(length) => registers[libc::REG_RIP as usize] += length as i64,
        // SAFETY: the default action is a valid one.
        None => unsafe {
            libc::signal(libc::SIGILL, libc::SIG_DFL);
        },
    }
}

/// Rows in memory: the first one, and the distance of two in bytes.
#[derive(Clone, Copy)]
struct Rows {
    first: *mut u8,
    stride: isize,
}

impl Rows {
    fn row(self, i: usize) -> *mut u8 {
        self.first.wrapping_offset(i as isize * self.stride)
    }
}

/// How the factors of a product of tile registers are read.
#[derive(Clone, Copy)]
enum Factors {
    /// Pairs of bfloat16.
    Bf16,
    /// Four bytes, signed or not: of the left operand, of the right one.
    Bytes([bool; 2]),
}

/// An instruction of AMX, with the numbers of its registers.
#[derive(Clone, Copy)]
enum Instruction {
    /// `ldtilecfg`.
    Configure(*const u8),
    Release,
    Zero(usize),
    Load(usize, Rows),
    Store(usize, Rows),
    /// `to += left · right`.
    Multiply {
        factors: Factors,
        to: usize,
        left: usize,
        right: usize,
    },
}

impl Instruction {
    /// The instruction at an address, and its length; `None` if it is none of AMX.
    ///
    /// # Safety
    /// Sixteen bytes must be readable there.
    unsafe fn decode(at: *const u8, registers: &[i64; 23]) -> Option<(Self, usize)> {
        // SAFETY: the caller guarantees the bytes.
        let code: [u8; 16] = unsafe { at.cast::<[u8; 16]>().read_unaligned() };
        // The prefix VEX of three bytes, with the map 0F38, 128 bits and W = 0. The extensions R, X, B and vvvv are
        // stored inverted.
        let [0xc4, first, second, opcode, modrm, ..] = code else { return None };
        if first & 0x1f != 2 || second & 0x84 != 0 {
            return None;
        }
        let [extends_reg, extends_index, extends_base] = [0x80, 0x40, 0x20].map(|bit| first & bit == 0);
        let (prefix, vvvv) = (second & 3, usize::from(!second >> 3 & 15));
        let (mode, reg, rm) = (modrm >> 6, usize::from(modrm >> 3 & 7), usize::from(modrm & 7));
        let is_register = mode == 3;
        let is_product = matches!(opcode, 0x5c | 0x5e);
        if extends_reg || is_register && extends_base || vvvv >= if is_product { REGISTERS } else { 1 } {
            return None;
        }
        const NONE: u8 = 0;
        const P66: u8 = 1;
        const F3: u8 = 2;
        const F2: u8 = 3;
        let multiply = |factors| {
            let are_different = reg != rm && rm != vvvv && vvvv != reg;
            are_different.then_some((Self::Multiply { factors, to: reg, left: rm, right: vvvv }, 5))
        };
        if is_register {
            return match (opcode, prefix, modrm) {
                (0x49, NONE, 0xc0) => Some((Self::Release, 5)),
                (0x49, F2, _) if rm == 0 => Some((Self::Zero(reg), 5)),
                (0x5c, F3, _) => multiply(Factors::Bf16),
                (0x5e, F2, _) => multiply(Factors::Bytes([true, true])),
                (0x5e, F3, _) => multiply(Factors::Bytes([true, false])),
                (0x5e, P66, _) => multiply(Factors::Bytes([false, true])),
                (0x5e, NONE, _) => multiply(Factors::Bytes([false, false])),
                _ => None,
            };
        }
        let general = |number: usize, extends: bool| registers[GENERAL[number + 8 * usize::from(extends)] as usize];
        let mut length = 5;
        let (base, index, scale) = if rm == 4 {
            let sib = code[5];
            length += 1;
            let index = usize::from(sib >> 3 & 7);
            let has_index = index != 4 || extends_index;
            let index = if has_index { general(index, extends_index) } else { 0 };
            (usize::from(sib & 7), index, sib >> 6)
        } else {
            (rm, 0, 0)
        };
        let displacement = match mode {
            0 if base == 5 => return None, // An absolute address, which no kernel uses.
            0 => 0,
            1 => i64::from(code[length].cast_signed()),
            _ => i64::from(i32::from_le_bytes(code[length..length + 4].try_into().expect("four bytes"))),
        };
        length += [0, 1, 4][usize::from(mode)];
        let first = (general(base, extends_base) + displacement) as *mut u8;
        let rows = Rows { first, stride: (index << scale) as isize };
        match (opcode, prefix) {
            (0x49, NONE) if reg == 0 => Some((Self::Configure(first), length)),
            // `tileloadd`, and `tileloaddt1`, whose hint to the caches changes no result.
            (0x4b, F2 | P66) if rm == 4 => Some((Self::Load(reg, rows), length)),
            (0x4b, F3) if rm == 4 => Some((Self::Store(reg, rows), length)),
            _ => None,
        }
    }

    /// Carries it out; `None` if the registers are not configured for it.
    ///
    /// # Safety
    /// The memory that it refers to must be valid as for the instruction.
    unsafe fn execute(self, tiles: &mut Tiles) -> Option<()> {
        let is_configured = tiles.is_configured || *HAS_TILES;
        if !is_configured && !matches!(self, Self::Configure(_) | Self::Release) {
            return None;
        }
        match self {
            Self::Configure(from) => {
                // SAFETY: the caller guarantees the 64 bytes of a configuration.
                let config = unsafe { from.cast::<[u8; 64]>().read_unaligned() };
                // Palette 1, and every register in its full size: the only configuration of the kernels.
                let mut full = [0; 64];
                full[0] = 1;
                full[16..16 + 2 * REGISTERS].chunks_exact_mut(2).for_each(|width| width[0] = ROW_BYTES as u8);
                full[48..48 + REGISTERS].fill(ROWS as u8);
                *tiles = Tiles { is_configured: config == full, ..UNCONFIGURED };
                tiles.is_configured.then_some(())?;
            }
            Self::Release => tiles.is_configured = false,
            Self::Zero(to) => tiles.registers[to] = EMPTY,
            Self::Load(to, from) => {
                for (i, row) in tiles.registers[to].iter_mut().enumerate() {
                    // SAFETY: the caller guarantees sixteen rows of 64 bytes.
                    *row = unsafe { from.row(i).cast::<[u8; ROW_BYTES]>().read_unaligned() };
                }
            }
            Self::Store(from, to) => {
                for (i, row) in tiles.registers[from].iter().enumerate() {
                    // SAFETY: as for a load, to be written.
                    unsafe { to.row(i).cast::<[u8; ROW_BYTES]>().write_unaligned(*row) };
                }
            }
            Self::Multiply { factors, to, left, right } => {
                let (left, right) = (tiles.registers[left], tiles.registers[right]);
                for (sums, left) in tiles.registers[to].iter_mut().zip(&left) {
                    multiply(factors, sums, left, &right);
                }
            }
        }
        Some(())
    }
}

/// Adds the product of a row and a register to a row of sums.
fn multiply(factors: Factors, sums: &mut [u8; ROW_BYTES], left: &[u8; ROW_BYTES], right: &Register) {
    let words = |row: &[u8; ROW_BYTES], i: usize| -> [u8; 4] { row[4 * i..4 * i + 4].try_into().expect("four bytes") };
    for col in 0..ROW_BYTES / 4 {
        let sum = words(sums, col);
        let pairs = right.iter().enumerate().map(|(k, right)| (words(left, k), words(right, col)));
        let sum = match factors {
            Factors::Bytes(are_signed) => {
                let byte =
                    |byte: u8, is_signed| if is_signed { i32::from(byte.cast_signed()) } else { i32::from(byte) };
                let products = pairs.flat_map(|(left, right)| {
                    left.into_iter().zip(right).map(|(l, r)| byte(l, are_signed[0]) * byte(r, are_signed[1]))
                });
                products.fold(i32::from_le_bytes(sum), i32::wrapping_add).to_le_bytes()
            }
            // Even and odd factors have a sum each; inputs and results below the normal numbers are zeros.
            Factors::Bf16 => {
                let flushed = |value: f32| if value.is_subnormal() { 0.0_f32.copysign(value) } else { value };
                let factor =
                    |word: [u8; 4], i: usize| flushed(bf16::from_le_bytes([word[2 * i], word[2 * i + 1]]).to_f32());
                let [even, odd] = pairs.fold([0.0_f32; 2], |sums, (left, right)| {
                    [0, 1].map(|i| flushed(factor(left, i).mul_add(factor(right, i), sums[i])))
                });
                let sum = flushed(f32::from_le_bytes(sum));
                flushed(sum + flushed(even + odd)).to_le_bytes()
            }
        };
        sums[4 * col..4 * col + 4].copy_from_slice(&sum);
    }
}

/// The general registers in the order of their numbers, as indices into the context of a signal.
const GENERAL: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];
