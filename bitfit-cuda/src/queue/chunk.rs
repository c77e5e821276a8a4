//! Commands that wait to be submitted together, and what tells them from others.

use std::sync::Arc;

use cudarc::driver::{CudaFunction, CudaStream, LaunchConfig, PushKernelArg};

use crate::{Error, Result};

/// Commands that are not submitted yet.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) commands: Vec<Command>,
    /// What tells the commands from others: their kernels and arguments. Equal words are equal commands.
    pub(super) words: Vec<u64>,
}

/// A command.
pub(super) enum Command {
    /// A kernel, whose arguments are words of the chunk.
    Kernel { function: CudaFunction, config: LaunchConfig, first: usize, len: usize },
    /// Any other kernels.
    Other(Work),
}

/// The kinds of other work.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Product = 1,
    Sums = 2,
}

/// Launches kernels to a stream, the same ones every time.
pub(crate) type Work = Box<dyn Fn(&Arc<CudaStream>) -> Result<()> + Send>;

/// Launches a kernel with arguments of 8 bytes, or less in the low bytes.
///
/// # Safety
/// As for [`super::Queue::kernel`].
pub(crate) unsafe fn launch_kernel(
    stream: &Arc<CudaStream>,
    function: &CudaFunction,
    config: LaunchConfig,
    arguments: &[u64],
) -> Result<()> {
    let mut launch = stream.launch_builder(function);
    arguments.iter().for_each(|argument| _ = launch.arg(argument));
    // SAFETY: guaranteed by the caller.
    unsafe { launch.launch(config) }.map(|_| ()).map_err(Error::driver("cuLaunchKernel"))
}

impl Chunk {
    /// Adds a kernel.
    ///
    /// # Safety
    /// As for [`super::Queue::kernel`].
    pub(super) unsafe fn kernel(&mut self, function: CudaFunction, config: LaunchConfig, arguments: &[u64]) {
        let ((x, y, z), (block, ..)) = (config.grid_dim, config.block_dim);
        // A loaded function has an address of its own.
        let identity = [
            function.cu_function() as u64,
            u64::from(x) << 32 | u64::from(y),
            u64::from(z) << 32 | u64::from(block),
            u64::from(config.shared_mem_bytes) << 32 | arguments.len() as u64,
        ];
        self.words.extend(identity);
        let (first, len) = (self.words.len(), arguments.len());
        self.words.extend(arguments);
        self.commands.push(Command::Kernel { function, config, first, len });
    }

    /// Adds other work of a kind, which `identity` determines among those of its kind.
    pub(super) fn other(&mut self, kind: Kind, identity: &[u64], work: Work) {
        // No address of a function is as small as the number of a kind.
        self.words.extend([kind as u64, identity.len() as u64]);
        self.words.extend(identity);
        self.commands.push(Command::Other(work));
    }

    /// Launches the commands one by one.
    pub(super) fn launch(&self, stream: &Arc<CudaStream>) -> Result<()> {
        for command in &self.commands {
            match command {
                Command::Kernel { function, config, first, len } => {
                    // SAFETY: guaranteed by the caller of `Chunk::kernel`.
                    unsafe { launch_kernel(stream, function, *config, &self.words[*first..first + len]) }?;
                }
                Command::Other(work) => work(stream)?,
            }
        }
        Ok(())
    }

    /// A number that is the same for the same commands, and rarely for others.
    pub(super) fn hash(&self) -> u64 {
        let mix = |hash: u64, word: &u64| (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.words.iter().fold(self.words.len() as u64, mix)
    }
}
