//! GLUE by method, development sets: table 1 of the paper, and its comparison with full fine-tuning.

use super::super::report::{Context, TableReport};
use super::super::{Data, Description, EPOCHS, Length};
use super::scores;

pub(in super::super) const DESCRIPTION: Description = Description {
    about: "GLUE's development sets by method",
    methods: &["bitfit", "full"],
    data: Data::Glue,
    length: Length::Epochs(EPOCHS),
};

pub(in super::super) fn report(context: &Context<'_>) -> TableReport {
    scores::report(context, Vec::new())
}
