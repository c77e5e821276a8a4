//! What is made of a finished task: a model directory for other programs and the way back, the contents of task files
//! beside each other, and the mean of several.
//!
//! ```text
//! task file + base --merge--> a directory for transformers or sentence-transformers --extract--> task file
//! task files --inspect--> contents, norms, heat-maps, differences       task files --average--> task file
//! ```
//!
//! A directory that [`merge`] wrote holds two files that other programs ignore, by which [`extract`] returns the same
//! task file, byte by byte: [`HEADER_FILE`], and [`MASKS_FILE`] where the method alone does not say which entries
//! trained.

mod average;
mod card;
mod contents;
mod differences;
mod extract;
mod header;
mod heat_map;
mod layout;
mod merge;
mod moved;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tuned;

pub use average::average;
pub use card::{CARD_FILE, ModelCard};
pub use contents::{Contents, TensorSummary};
pub use differences::{Differences, FieldDifference};
pub use extract::{Extracted, extract};
pub use header::{HEADER_FILE, MASKS_FILE};
pub use heat_map::{HeatMap, HeatRow, heat_maps_svg};
pub use layout::Layout;
pub use merge::{Merged, merge};
pub use moved::MovedTensor;
pub use tuned::TunedTask;
