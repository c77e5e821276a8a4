//! Other parameters than biases on GLUE: as many scalars chosen at random.

use super::super::report::{Context, TableReport};
use super::super::{Data, Description, EPOCHS, Length};
use super::scores;

pub(in super::super) const DESCRIPTION: Description = Description {
    about: "GLUE's development sets by biases and by scalars chosen at random",
    methods: &["bitfit", "random-uniform", "random-row-col"],
    data: Data::Glue,
    length: Length::Epochs(EPOCHS),
};

pub(in super::super) fn report(context: &Context<'_>) -> TableReport {
    let what = "random-uniform trains as many scalars of the matrices as there are biases, random-row-col a row or a \
                column of each matrix and the scale of every LayerNorm; each seed draws its own. The paper's averages of \
                both could not be verified.";
    scores::report(context, vec![what.into()])
}
