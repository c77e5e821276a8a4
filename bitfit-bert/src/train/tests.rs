//! Helpers of the tests in this directory.

use super::Examples;
use crate::data::{Kind, Labels};
use crate::heads::{PairEncoding, Pooling, Targets, TaskSpec};
use crate::metrics::Metric;
use crate::tokenize::Encoding;

/// A classification of two labels.
pub(crate) fn two_classes() -> TaskSpec {
    let labels = Labels::from_names(vec!["no".into(), "yes".into()]);
    let (pooling, metrics) = (Pooling::Pooler, vec![Metric::Accuracy]);
    TaskSpec {
        kind: Kind::Classify,
        labels,
        pairs: false,
        pair: PairEncoding::Joint,
        span: None,
        pooling,
        max_length: 7,
        metrics,
    }
}

/// Texts with a class each.
pub(crate) fn classification(texts: &[&[u32]], classes: &[usize]) -> Examples {
    let encoding = |ids: &&[u32]| Encoding { ids: ids.to_vec(), type_ids: vec![0; ids.len()], ..Encoding::default() };
    Examples::new(texts.iter().map(encoding).collect(), Targets::Classes(classes.to_vec()))
}
