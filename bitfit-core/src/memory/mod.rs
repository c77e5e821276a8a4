//! Memory: buffers of a device that a workspace reuses, tensors on the host, and scratch memory of a thread.
//!
//! A [`Workspace`] is a device with a pool of buffers; after the first step of a shape, a training step allocates no
//! activation. A [`Scratch`] is one buffer, with exclusive access; a [`Tensor`] is a finished matrix, shared by its
//! readers. When the last owner drops it, the buffer returns to the pool, so the memory in use is exactly what the
//! nodes of the tape hold.
//!
//! A [`HostTensor`] is f32 in host memory, owned or mapped from a file: the form in which weights enter the engine.

mod host;
mod indices;
mod line;
mod pool;
mod tensor;
mod thread_scratch;
mod workspace;

pub use host::{HostTensor, SharedBytes};
pub use indices::Indices;
pub(crate) use line::Line;
pub use tensor::Tensor;
pub(crate) use thread_scratch::{ThreadScratch, with_thread_value};
pub use workspace::{Scratch, Workspace};
