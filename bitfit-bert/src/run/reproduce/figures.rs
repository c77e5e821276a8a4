//! The published figures that stand beside those of a reproduction: the one table of them, each with how it was
//! verified.
//!
//! The figures are those of the BitFit paper (arXiv 2106.10199, the published version of ACL 2022) on the development
//! sets of GLUE, in percent. The paper's own text was not at hand. A figure is here only where a second source gives
//! the same ([`Certainty::SeenTwice`]), or where an independent run agrees within 0.4 or the paper's average, which was
//! seen twice, leaves no other value ([`Certainty::Agreed`]). Every other cell is empty, and so are the averages of
//! subsets and random choices, the tagging of the Penn Treebank, the points of the SQuAD figure and the generalization
//! gap: no figure of the paper stands beside those.
//!
//! The independent runs are of one seed each: on GLUE of BERT-base uncased over 3 epochs with batch 16 and a learning
//! rate of 5e-4 that falls linearly; on SQuAD 1.1 of BERT-base with as many steps as the table `squad-size` takes.

use std::fmt;

use crate::config::ModelConfig;

/// How sure a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// A second source gives the same figure.
    SeenTwice,
    /// An independent run agrees within 0.4, or the published average leaves no other value. Shown with `≈`.
    Agreed,
}

impl Certainty {
    /// The name in CSV.
    pub fn name(self) -> &'static str {
        match self {
            Self::SeenTwice => "seen twice",
            Self::Agreed => "agreed",
        }
    }
}

/// A published figure in percent, with as many decimals as it was printed with: one, of a share two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The figure, or the lower of two where sources differ in the last place.
    pub low: f64,
    /// The higher of the two; otherwise the figure.
    pub high: f64,
    /// How sure it is.
    pub certainty: Certainty,
}

/// `92.1`, `≈90.7`, or `87.5-87.6` where sources differ; with one decimal if no precision is given.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(1);
        let mark = if self.certainty == Certainty::Agreed { "≈" } else { "" };
        write!(f, "{mark}{:.places$}", self.low)?;
        if self.high > self.low { write!(f, "-{:.places$}", self.high) } else { Ok(()) }
    }
}

/// Where figures are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The BitFit paper.
    Paper,
    /// An independent run: see the documentation of the file.
    IndependentRun,
}

impl Source {
    /// What a row of its figures is named by.
    pub fn label(self, model: PublishedModel) -> String {
        match self {
            Self::Paper => format!("paper, {}", model.name()),
            Self::IndependentRun => format!("independent run, {}, 3 epochs", model.name()),
        }
    }
}

/// A model that there are figures of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedModel {
    /// BERT-base.
    BertBase,
    /// BERT-large.
    BertLarge,
    /// RoBERTa-base.
    RobertaBase,
}

impl PublishedModel {
    /// The model's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BertBase => "BERT-base",
            Self::BertLarge => "BERT-large",
            Self::RobertaBase => "RoBERTa-base",
        }
    }

    /// The published model that has this architecture and these extents; `None` for another.
    pub fn of(config: &ModelConfig) -> Option<Self> {
        match (config.architecture.model_type, config.num_hidden_layers, config.hidden_size) {
            ("bert", 12, 768) => Some(Self::BertBase),
            ("bert", 24, 1024) => Some(Self::BertLarge),
            ("roberta", 12, 768) => Some(Self::RobertaBase),
            _ => None,
        }
    }
}

/// The figures of a method on one model.
#[derive(Clone, Copy, Debug)]
pub struct FigureRow {
    /// Where they are from.
    pub source: Source,
    /// The model.
    pub model: PublishedModel,
    /// The method, as [`MethodChoice`](crate::run::MethodChoice) writes it.
    pub method: &'static str,
    /// The figures of development sets, by the set's name in a grid.
    pub sets: &'static [(&'static str, Figure)],
    /// The average over the eight tasks, MNLI's two sets counted as one.
    pub average: Option<Figure>,
    /// The share of the parameters that trains, the head left out.
    pub share: Option<Figure>,
}

impl FigureRow {
    /// The figure of a set.
    pub fn of(&self, set: &str) -> Option<Figure> {
        self.sets.iter().find(|(name, _)| *name == set).map(|(_, figure)| *figure)
    }

    /// How sure a figure of the row is, in CSV: those of an independent run are as they were measured.
    pub(super) fn certainty_name(&self, figure: Figure) -> &'static str {
        match self.source {
            Source::Paper => figure.certainty.name(),
            Source::IndependentRun => "measured",
        }
    }
}

/// A figure that was seen twice.
const fn seen(value: f64) -> Figure {
    Figure { low: value, high: value, certainty: Certainty::SeenTwice }
}

/// A figure that an independent run or the average agrees with.
const fn agreed(value: f64) -> Figure {
    Figure { low: value, high: value, certainty: Certainty::Agreed }
}

const NONE: FigureRow = FigureRow {
    source: Source::Paper,
    model: PublishedModel::BertBase,
    method: "bitfit",
    sets: &[],
    average: None,
    share: None,
};

/// Every figure.
pub static FIGURES: &[FigureRow] = &[
    FigureRow {
        sets: &[
            ("qnli", seen(90.2)),
            ("sst2", seen(92.1)),
            ("mnli", seen(81.4)),
            ("mnli-mm", agreed(82.2)),
            ("cola", seen(58.8)),
            ("mrpc", seen(90.4)),
            ("stsb", seen(89.2)),
            ("rte", seen(72.3)),
            ("qqp", seen(84.0)),
        ],
        average: Some(seen(82.4)),
        share: Some(seen(0.09)),
        ..NONE
    },
    FigureRow {
        method: "full",
        sets: &[
            ("qnli", agreed(90.7)),
            ("sst2", agreed(92.0)),
            ("mnli", agreed(83.5)),
            ("mrpc", agreed(89.0)),
            ("stsb", agreed(88.9)),
            ("qqp", agreed(87.1)),
        ],
        average: Some(seen(82.3)),
        ..NONE
    },
    FigureRow { method: "bitfit:query+intermediate", share: Some(seen(0.04)), ..NONE },
    FigureRow {
        model: PublishedModel::BertLarge,
        sets: &[
            ("qnli", seen(91.4)),
            ("sst2", seen(93.2)),
            ("mnli", seen(84.4)),
            ("mnli-mm", seen(84.8)),
            ("cola", seen(63.6)),
            ("mrpc", seen(91.7)),
            ("stsb", agreed(90.3)),
            ("rte", agreed(73.2)),
            ("qqp", seen(85.4)),
        ],
        average: Some(seen(84.2)),
        share: Some(seen(0.08)),
        ..NONE
    },
    FigureRow {
        model: PublishedModel::BertLarge,
        method: "full",
        sets: &[
            ("qnli", seen(91.7)),
            ("sst2", seen(93.4)),
            ("mnli", seen(85.5)),
            ("mnli-mm", seen(85.7)),
            ("cola", seen(62.2)),
            ("mrpc", seen(90.7)),
            ("stsb", agreed(90.0)),
            ("rte", agreed(71.9)),
            // Two sources differ in the last place.
            ("qqp", Figure { low: 87.5, high: 87.6, certainty: Certainty::SeenTwice }),
        ],
        average: Some(seen(84.1)),
        ..NONE
    },
    FigureRow {
        model: PublishedModel::RobertaBase,
        sets: &[("sst2", agreed(93.7)), ("mrpc", seen(92.0)), ("stsb", agreed(90.8))],
        ..NONE
    },
    FigureRow {
        source: Source::IndependentRun,
        sets: &[("sst2", seen(90.60)), ("mrpc", seen(88.01)), ("rte", seen(61.37))],
        ..NONE
    },
    FigureRow {
        source: Source::IndependentRun,
        method: "full",
        sets: &[("sst2", seen(92.09)), ("mrpc", seen(90.02)), ("rte", seen(67.51))],
        ..NONE
    },
    FigureRow {
        source: Source::IndependentRun,
        method: "bitfit:query+intermediate",
        sets: &[("sst2", seen(90.25)), ("mrpc", seen(81.94)), ("rte", seen(57.04))],
        ..NONE
    },
];

/// The rows of a method on a model, the paper's first.
pub fn figures(model: PublishedModel, method: &str) -> impl Iterator<Item = &'static FigureRow> {
    FIGURES.iter().filter(move |row| row.model == model && row.method == method)
}

/// In which versions of the paper figures of a model differ.
pub fn differing_versions(model: PublishedModel) -> Option<&'static str> {
    (model == PublishedModel::RobertaBase).then_some(
        "Versions of the paper differ in RoBERTa-base: the row that other papers copy (average 85.2, MRPC 92.7, RTE \
         81.5) is that of an early version on arXiv. The figures here are those of the published one.",
    )
}

/// A point of the independent run on SQuAD 1.1, BERT-base: F1 on the development set by the number of questions that
/// were trained on.
#[derive(Clone, Copy, Debug)]
pub struct SquadPoint {
    /// The number of questions; `None` for the whole training set, which that run counts as 88,500 rows.
    pub rows: Option<usize>,
    /// F1 of full fine-tuning in percent.
    pub full: f64,
    /// F1 of BitFit in percent.
    pub bitfit: f64,
}

const fn point(rows: usize, full: f64, bitfit: f64) -> SquadPoint {
    SquadPoint { rows: Some(rows), full, bitfit }
}

/// The points of that run, by size.
pub static SQUAD_POINTS: [SquadPoint; 8] = [
    point(500, 45.5, 55.3),
    point(1_000, 54.1, 59.3),
    point(2_000, 63.0, 62.3),
    point(3_000, 67.8, 63.2),
    point(5_000, 74.0, 62.8),
    point(10_000, 79.4, 67.9),
    point(20_000, 83.0, 72.3),
    SquadPoint { rows: None, full: 88.0, bitfit: 76.8 },
];

/// The number of questions of the last point.
pub const SQUAD_ROWS: usize = 88_500;

#[cfg(test)]
mod tests {
    use super::super::findings::average;
    use super::*;
    use crate::run::MethodChoice;

    #[test]
    fn a_figure_shows_how_sure_it_is() {
        assert_eq!(seen(92.1).to_string(), "92.1");
        assert_eq!(agreed(89.0).to_string(), "≈89.0");
        assert_eq!(format!("{:.2}", seen(0.09)), "0.09");
        let qqp = figures(PublishedModel::BertLarge, "full").next().and_then(|row| row.of("qqp")).unwrap();
        assert_eq!(qqp.to_string(), "87.5-87.6");
    }

    #[test]
    fn the_average_of_each_complete_row_is_the_published_one() {
        let mut complete = 0;
        for row in FIGURES {
            let tasks: Option<Vec<Vec<f64>>> =
                [&["qnli"][..], &["sst2"], &["mnli", "mnli-mm"], &["cola"], &["mrpc"], &["stsb"], &["rte"], &["qqp"]]
                    .into_iter()
                    .map(|sets| {
                        sets.iter().map(|set| row.of(set).map(|figure| (figure.low + figure.high) / 2.0)).collect()
                    })
                    .collect();
            let (Some(tasks), Some(published)) = (tasks, row.average) else { continue };
            complete += 1;
            let computed = average(&tasks).unwrap();
            assert!((computed - published.low).abs() < 0.0501, "{} {computed}", row.method);
        }
        assert_eq!(complete, 3, "BitFit of both BERTs, and full fine-tuning of the large one");
    }

    #[test]
    fn every_method_is_one_and_every_figure_a_percentage() {
        for row in FIGURES {
            assert!(row.method.parse::<MethodChoice>().is_ok(), "{}", row.method);
            for (set, figure) in row.sets {
                assert!(figure.low <= figure.high && (50.0..100.0).contains(&figure.low), "{set} {figure}");
            }
        }
    }
}
