//! Tables of the BitFit paper (arXiv 2106.10199), made again: a [`PaperTable`] says what is run and how it is shown,
//! and a [`Reproduction`] makes the runs that are not on disk yet and writes the table with the published figures
//! beside it.
//!
//! ```text
//! PaperTable ──▶ files: tasks of a data directory ─┐
//! methods, rates, seeds ───────────────────────────┴─▶ Grid of runs ──▶ result.json of each
//!                                                       Findings ◀──────┘
//!                figures: what was published ──▶ Report ◀┘    NAME.md, NAME.csv, NAME.svg
//! ```
//!
//! Tables that are about the same runs share them in one output directory: `glue`, `subsets`, `random`,
//! `generalization-gap` and `bias-change`.

mod figures;
mod files;
mod findings;
mod grid;
mod making;
mod plan;
mod prepare;
mod report;
mod reproduction;
mod scoring;
mod tables;
#[cfg(test)]
mod testing;

pub use figures::{
    Certainty, FIGURES, Figure, FigureRow, PublishedModel, SQUAD_POINTS, SQUAD_ROWS, Source, SquadPoint,
    differing_versions, figures,
};
pub use files::LeftOut;
pub use grid::Length;
pub use plan::{Estimate, GridPlan, PlannedRun, RunState};
pub use report::TableReport;
pub use reproduction::{FinishedReproduction, Reproduction};

use std::path::PathBuf;

use bitfit_core::Backend;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::model::Base;
use crate::presets::GlueTask;
use crate::run::{FinetuneOptions, MethodChoice};
use crate::{Result, UnknownName};

use report::Context;

/// The learning rates for biases and other small parts that the paper searches.
pub const BITFIT_RATES: [f32; 4] = [1e-4, 4e-4, 7e-4, 1e-3];
/// The learning rates for whole weights that the paper searches.
pub const FULL_RATES: [f32; 4] = [1e-5, 2e-5, 3e-5, 5e-5];
/// The number of passes over the training set, as in the authors' code.
pub const EPOCHS: usize = 16;
/// The least number of steps of a run of the table `squad-size`, and the least number of passes.
pub const SQUAD_LENGTH: [usize; 2] = [2_000, 5];

/// A table of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case", parse_err_ty = UnknownName, parse_err_fn = unknown)]
pub enum PaperTable {
    /// Methods on the tasks of GLUE.
    Glue,
    /// Kinds of bias on the tasks of GLUE.
    Subsets,
    /// As many scalars chosen at random on the tasks of GLUE.
    Random,
    /// The tagging of words.
    Tagging,
    /// Questions about a context by the size of the training set.
    SquadSize,
    /// Scores on the training set beside those on the development set.
    GeneralizationGap,
    /// How far the biases of each kind and layer move.
    BiasChange,
}

/// What a table is made of.
struct Description {
    /// A line for people.
    about: &'static str,
    /// The methods that it compares by default.
    methods: &'static [&'static str],
    data: Data,
    length: Length,
}

/// The data of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    /// The tasks of GLUE.
    Glue,
    /// The tasks of GLUE, scored on the texts that were trained on too.
    GlueWithTrainingScores,
    /// Words with tags.
    Tagging,
    /// SQuAD, with growing subsets of its training set.
    Squad,
}

impl PaperTable {
    /// Every table.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The table's name, as a user writes it and [`FromStr`](std::str::FromStr) reads it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What the table shows, in a line.
    pub fn about(self) -> &'static str {
        self.description().about
    }

    /// The methods that it compares by default.
    pub fn methods(self) -> Vec<MethodChoice> {
        let parse = |name: &&str| name.parse().expect("the methods of a table are methods");
        self.description().methods.iter().map(parse).collect()
    }

    fn description(self) -> &'static Description {
        match self {
            Self::Glue => &tables::glue::DESCRIPTION,
            Self::Subsets => &tables::subsets::DESCRIPTION,
            Self::Random => &tables::random::DESCRIPTION,
            Self::Tagging => &tables::tagging::DESCRIPTION,
            Self::SquadSize => &tables::squad_size::DESCRIPTION,
            Self::GeneralizationGap => &tables::generalization_gap::DESCRIPTION,
            Self::BiasChange => &tables::bias_change::DESCRIPTION,
        }
    }

    fn report<D: Backend>(self, context: &Context<'_>, base: &Base<D>) -> Result<TableReport> {
        Ok(match self {
            Self::Glue => tables::glue::report(context),
            Self::Subsets => tables::subsets::report(context),
            Self::Random => tables::random::report(context),
            Self::Tagging => tables::tagging::report(context),
            Self::SquadSize => tables::squad_size::report(context),
            Self::GeneralizationGap => tables::generalization_gap::report(context),
            Self::BiasChange => return tables::bias_change::report(context, base),
        })
    }
}

fn unknown(name: &str) -> UnknownName {
    UnknownName { what: "table", name: name.into(), known: PaperTable::ALL.iter().map(|table| table.name()).collect() }
}

/// The options of a reproduction. What is not given is as the table has it.
#[derive(Clone, Debug)]
pub struct ReproduceOptions {
    /// The settings that all runs have in common: model, batch, read-out, maximum length, limit of rows, device, the
    /// output directory. Data, method, rate, epochs, seed and head are set for each run.
    pub common: FinetuneOptions,
    /// The directory of the data.
    pub data: PathBuf,
    /// The tasks of GLUE to run; all whose files are there if none is listed.
    pub tasks: Vec<GlueTask>,
    /// The methods; those of the table if none is listed.
    pub methods: Vec<MethodChoice>,
    /// The learning rates to search.
    pub rates: GridRates,
    /// The seeds of each combination.
    pub seeds: Vec<u64>,
    /// The number of passes over the training set.
    pub epochs: Option<usize>,
    /// The least number of steps, for tables of training sets of several sizes.
    pub steps: Option<usize>,
    /// The sizes of the training set in texts, for those tables.
    pub sizes: Vec<usize>,
    /// Whether the task file of a run is removed once it is scored.
    pub remove_task_files: bool,
}

/// The learning rates that a grid searches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GridRates {
    /// Those of the methods that have none of their own; if there are none, the paper's: [`FULL_RATES`] where whole
    /// weights train, otherwise [`BITFIT_RATES`].
    pub all: Vec<f32>,
    /// Those of some methods, by the method's name or by what stands before its colon.
    pub of: Vec<(String, Vec<f32>)>,
}

impl GridRates {
    /// The rates of a method.
    pub fn of(&self, choice: &MethodChoice) -> Vec<f32> {
        let named = |name: &str| self.of.iter().find(|(of, _)| of == name).map(|(_, rates)| rates.clone());
        let usual = || match (&self.all[..], choice.method.trains_whole_weights()) {
            ([], true) => FULL_RATES.to_vec(),
            ([], false) => BITFIT_RATES.to_vec(),
            (all, _) => all.to_vec(),
        };
        named(&choice.name).or_else(|| named(choice.base_name())).unwrap_or_else(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_by_its_name_and_an_unknown_one_lists_all() {
        for table in PaperTable::ALL {
            assert_eq!(table.name().parse::<PaperTable>().unwrap(), *table);
            assert!(!table.methods().is_empty() && !table.about().is_empty());
        }
        let message = "table-1".parse::<PaperTable>().unwrap_err().to_string();
        assert_eq!(
            message,
            "there is no table \"table-1\"; expected glue, subsets, random, tagging, squad-size, generalization-gap or \
             bias-change"
        );
    }

    #[test]
    fn a_method_has_the_papers_rates_unless_it_has_its_own() {
        let rates = |rates: &GridRates, name: &str| rates.of(&name.parse().unwrap());
        let papers = GridRates::default();
        assert_eq!(rates(&papers, "bitfit:query"), BITFIT_RATES);
        assert_eq!(rates(&papers, "full"), FULL_RATES);
        let own = GridRates { all: vec![1e-2], of: vec![("full".into(), vec![2e-5]), ("bitfit".into(), vec![1e-3])] };
        assert_eq!(rates(&own, "frozen"), [1e-2]);
        assert_eq!((rates(&own, "full"), rates(&own, "bitfit:query+value")), (vec![2e-5], vec![1e-3]));
    }
}
