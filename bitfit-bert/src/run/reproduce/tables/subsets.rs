//! Kinds of bias on GLUE: how few of them are enough.

use super::super::report::{Context, TableReport};
use super::super::{Data, Description, EPOCHS, Length};
use super::scores;

pub(in super::super) const DESCRIPTION: Description = Description {
    about: "GLUE's development sets by the kinds of bias that train",
    methods: &["bitfit", "bitfit:query+intermediate", "bitfit:intermediate", "bitfit:query", "frozen"],
    data: Data::Glue,
    length: Length::Epochs(EPOCHS),
};

pub(in super::super) fn report(context: &Context<'_>) -> TableReport {
    let claim = "Of the kinds of bias the paper says that two, the query's and the one in the middle of the feed-forward \
                 (intermediate), come close to all of them. Its averages of the subsets could not be verified.";
    scores::report(context, vec![claim.into()])
}
