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

/// Launches kernels to a stream, the same ones every time.
pub(crate) type Work = Box<dyn Fn(&Arc<CudaStream>) -> Result<()> + Send>;

impl Chunk {
    /// Launches the commands one by one.
    pub(super) fn launch(&self, stream: &Arc<CudaStream>) -> Result<()> {
        for command in &self.commands {
            match command {
                Command::Kernel { function, config, first, len } => {
                    let mut launch = stream.launch_builder(function);
                    for argument in &self.words[*first..first + len] {
                        launch.arg(argument);
                    }
                    // SAFETY: guaranteed by the caller of `super::Queue::kernel`.
                    unsafe { launch.launch(*config) }.map_err(Error::driver("cuLaunchKernel"))?;
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
