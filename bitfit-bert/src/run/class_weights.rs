//! How classes count in the loss: all alike, balanced, or as a file says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitfit_core::ops::weighted_cross_entropy::ClassWeighting;

use crate::data::{Kind, Labels};
use crate::files::{MAX_CONFIG, parse_json, read_bounded};
use crate::settings::{Setting, check};
use crate::train::Examples;
use crate::{Error, Result};

/// The weights of classes in the loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClassWeights {
    /// All rows count alike.
    #[default]
    Equal,
    /// All classes count alike: a class with `n` of N rows has the weight `N / (C n)`, as `class_weight="balanced"` of
    /// scikit-learn.
    Balanced,
    /// By a file with a weight for each class: a line `class<TAB>weight`, or a JSON object from class to weight.
    File(PathBuf),
}

/// How rows and classes count in the loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossOptions {
    /// The weights of classes.
    pub class_weights: ClassWeights,
    /// The share of a label that is spread over all classes, at least 0 and below 1.
    pub label_smoothing: f32,
    /// The exponent of the focal loss, at least 0; 0 for none.
    pub focal_gamma: f32,
}

impl LossOptions {
    /// Whether all rows and classes count alike.
    fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses values that are invalid for every data set.
    pub(super) fn validate(&self, kind: Kind) -> Result<()> {
        let Self { class_weights, label_smoothing, focal_gamma } = self;
        let has_classes = matches!(kind, Kind::Classify | Kind::Tag);
        let reason = "only a task that chooses one class for each text or word (kind classify or tag) has such a loss";
        check(
            Setting::ClassWeights,
            class_weights.name(),
            has_classes || *class_weights == ClassWeights::Equal,
            reason,
        )?;
        check(Setting::LabelSmoothing, label_smoothing, has_classes || *label_smoothing == 0.0, reason)?;
        check(Setting::FocalGamma, focal_gamma, has_classes || *focal_gamma == 0.0, reason)?;
        let is_share = (0.0..1.0).contains(label_smoothing);
        check(Setting::LabelSmoothing, label_smoothing, is_share, "it must be at least 0 and below 1")?;
        let is_exponent = focal_gamma.is_finite() && *focal_gamma >= 0.0;
        check(Setting::FocalGamma, focal_gamma, is_exponent, "it must be a number of at least 0")?;
        let reason = "with label smoothing it has no meaning: choose one of the two";
        check(Setting::FocalGamma, focal_gamma, *focal_gamma == 0.0 || *label_smoothing == 0.0, reason)
    }

    /// The weighting for `rows` of the examples; `None` where all count alike.
    ///
    /// # Errors
    /// [`Error::DataFile`] for a file that lacks a class, has an unknown one, or a weight that is not a number above 0.
    pub(super) fn weighting(
        &self,
        labels: Option<&Labels>,
        examples: &Examples,
        rows: &[usize],
    ) -> Result<Option<Arc<ClassWeighting>>> {
        let Some(labels) = labels.filter(|_| !self.is_plain()) else { return Ok(None) };
        let weights = match &self.class_weights {
            ClassWeights::Equal => vec![1.0; labels.len()],
            ClassWeights::Balanced => balanced(&examples.classes(rows), labels.len()),
            ClassWeights::File(path) => read(path, labels)?,
        };
        let Self { label_smoothing, focal_gamma, .. } = *self;
        Ok(Some(Arc::new(ClassWeighting { weights, label_smoothing, focal_gamma })))
    }
}

impl ClassWeights {
    /// The name, as a user writes it.
    fn name(&self) -> String {
        match self {
            Self::Equal => "none".into(),
            Self::Balanced => "balanced".into(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl ClassWeights {
    /// What a run is made from: nothing where all rows count alike, and of a file its content.
    pub(super) fn origin(&self) -> Option<String> {
        match self {
            Self::Equal => None,
            Self::Balanced => Some("balanced".into()),
            Self::File(path) => {
                let content = read_bounded(path, MAX_CONFIG).unwrap_or_default();
                Some(format!("a file of the hash {}", blake3::hash(&content).to_hex()))
            }
        }
    }
}

/// The weights of classes that make all of them count alike; 0 for one without rows.
fn balanced(classes: &[usize], count: usize) -> Vec<f32> {
    let mut rows = vec![0_usize; count];
    classes.iter().for_each(|&class| rows[class] += 1);
    let weight = |&rows: &usize| if rows == 0 { 0.0 } else { classes.len() as f64 / (count * rows) as f64 };
    rows.iter().map(|rows| weight(rows) as f32).collect()
}

/// The weights of a file, in the order of the labels.
fn read(path: &Path, labels: &Labels) -> Result<Vec<f32>> {
    let refuse = |reason: String| Error::DataFile { path: path.into(), reason };
    let bytes = read_bounded(path, MAX_CONFIG)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refuse("it is not UTF-8".into()))?;
    let mut weights: BTreeMap<String, f32> = BTreeMap::new();
    if text.trim_start().starts_with('{') {
        weights = parse_json(&bytes).map_err(|error| refuse(format!("not an object from class to weight: {error}")))?;
    } else {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let found = line.rsplit_once('\t').and_then(|(class, weight)| Some((class, weight.trim().parse().ok()?)));
            let line = || format!("line {}: expected a class, a tab and a weight", number + 1);
            let (class, weight) = found.ok_or_else(|| refuse(line()))?;
            if weights.insert(class.to_owned(), weight).is_some() {
                return Err(refuse(format!("line {}: the class {class:?} is there twice", number + 1)));
            }
        }
    }
    if let Some((class, weight)) = weights.iter().find(|(_, weight)| !weight.is_finite() || **weight <= 0.0) {
        return Err(refuse(format!("the weight of {class:?} is {weight}, expected a number above 0")));
    }
    if let Some(class) = weights.keys().find(|class| labels.names().iter().all(|name| name != *class)) {
        return Err(refuse(format!("the class {class:?} is not in the training set")));
    }
    let of =
        |name: &String| weights.get(name).copied().ok_or_else(|| refuse(format!("the class {name:?} has no weight")));
    labels.names().iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::from_names(vec!["no".into(), "yes".into()]).unwrap()
    }

    #[test]
    fn balanced_weights_are_scikit_learns() {
        // compute_class_weight("balanced", classes=[0, 1, 2], y=[0, 0, 0, 1, 2, 2])
        assert_eq!(balanced(&[0, 0, 0, 1, 2, 2], 3), [6.0 / 9.0, 2.0, 1.0]);
        assert_eq!(balanced(&[1], 2), [0.0, 0.5]);
    }

    #[test]
    fn a_file_has_a_weight_for_each_class() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        let found = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path, &labels()).map_err(|error| error.to_string())
        };
        assert_eq!(found("yes\t2\nno\t0.5\n\n"), Ok(vec![0.5, 2.0]));
        assert_eq!(found(" {\"no\": 1, \"yes\": 3.5}"), Ok(vec![1.0, 3.5]));
        for (text, reason) in [
            ("yes\t2\n", "the class \"no\" has no weight"),
            ("yes\t2\nno\t1\nmaybe\t1", "the class \"maybe\" is not in the training set"),
            ("yes 2\n", "line 1: expected a class, a tab and a weight"),
            ("yes\t2\nyes\t2\n", "line 2: the class \"yes\" is there twice"),
            ("yes\t0\nno\t1", "the weight of \"yes\" is 0, expected a number above 0"),
            ("yes\tNaN\nno\t1", "the weight of \"yes\" is NaN"),
            ("{\"no\": \"a\"}", "not an object from class to weight"),
        ] {
            assert!(found(text).is_err_and(|message| message.contains(reason)), "{text:?}");
        }
    }

    #[test]
    fn what_has_no_classes_is_refused() {
        let smooth = LossOptions { label_smoothing: 0.1, ..LossOptions::default() };
        assert!(smooth.validate(Kind::Classify).is_ok() && smooth.validate(Kind::Regress).is_err());
        for bad in [
            LossOptions { label_smoothing: 1.0, ..LossOptions::default() },
            LossOptions { focal_gamma: -1.0, ..LossOptions::default() },
            LossOptions { focal_gamma: f32::NAN, ..LossOptions::default() },
            LossOptions { focal_gamma: 2.0, ..smooth },
        ] {
            assert!(bad.validate(Kind::Tag).is_err(), "{bad:?}");
        }
    }
}
