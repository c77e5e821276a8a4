//! The tagging of words: the paper's task on the level of tokens.

use super::super::report::{Context, TableReport};
use super::super::{Data, Description, EPOCHS, Length};
use super::scores;

pub(in super::super) const DESCRIPTION: Description = Description {
    about: "part-of-speech tags of words, from CoNLL-U or CoNLL files",
    methods: &["bitfit", "full"],
    data: Data::Tagging,
    length: Length::Epochs(EPOCHS),
};

pub(in super::super) fn report(context: &Context<'_>) -> TableReport {
    let data = "The paper tags the Penn Treebank, which is licensed: here the words are those of the files in the data \
                directory, such as a treebank of Universal Dependencies. The paper's figures could not be verified and \
                would be of other words and other tags.";
    scores::report(context, vec![data.into()])
}
