//! The arguments of `compare`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use bitfit_bert::run::{FinetuneOptions, MethodChoice, method_directory, seed_directory};
use clap::Args;

use super::finetune_options::options;
use super::shared::{DataArgs, RunArgs};
use super::sweep::SweepArgs;
use super::values::{self, MethodRates, Seeds};

const EXAMPLES: &str = "\
Examples:
  # a probe, BitFit, two kinds of bias, a frozen base: with five seeds each
  bitfit-cli compare --model bert-base-uncased --train train.tsv \\
      --eval dev.tsv --methods probe,bitfit,bitfit:query+intermediate,frozen \\
      --seeds 0-4 --out comparison

  # with a learning rate for each method
  bitfit-cli compare --model ./my-bert --train train.tsv --eval dev.tsv \\
      --methods bitfit,frozen --lr bitfit=1e-3,frozen=5e-3 --out comparison

  # on three machines that share a file system, at the same time
  bitfit-cli compare --model ./my-bert --train train.tsv --eval dev.tsv \\
      --methods bitfit,frozen --out /shared/comparison

OUT/comparison.md, comparison.csv and comparison.svg are the result as a
table, as numbers and as a chart, and OUT/costs.csv has time and memory.
OUT/METHOD/seed-N holds the task file of each run, its log, and result.json
with what it was made from. The last line on stdout is the result as one JSON
object.

Ctrl-C ends the comparison after the current step. Called again, it skips the
runs that were finished, and refuses those that were made from other data or
settings. Started again while it runs, here or on another machine, it takes
part: each process makes the runs that no other process has, and takes over
those of a process that died. All files but costs.csv are the same, byte by
byte, however many processes there were.";

/// The flags of `compare`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, mut_arg("eval", |eval| eval.required(true)))]
pub struct CompareArgs {
    #[command(flatten)]
    pub data: DataArgs,

    /// Methods to compare, a list with commas: probe, bitfit, bitfit:KIND+KIND, full and so on
    ///
    /// The methods are those of finetune --method. A probe depends on no seed unless --limit chooses its rows. bitfit
    /// trains all biases, or those of the kinds after a colon (see finetune --bias), and with @4-5 only those of layers
    /// 4 and 5. The head begins as in finetune.
    #[arg(
        long, value_name = "LIST", value_delimiter = ',', required = true, value_parser = values::method_choice,
        help_heading = "What trains"
    )]
    pub methods: Vec<MethodChoice>,

    /// Peak learning rate of all methods, or METHOD=RATE with commas [default: for each that of finetune]
    ///
    /// METHOD is one of --methods, or the part of its name before the colon. A method that is not named keeps the
    /// default.
    #[arg(
        long, value_name = "RATE|METHOD=RATE", value_parser = values::method_rates, allow_hyphen_values = true,
        help_heading = "Training"
    )]
    pub lr: Option<MethodRates>,

    /// Seeds of each method: a range, such as 0-4, or a list, such as 0,3,7
    #[arg(
        long, value_name = "SEEDS", default_value = "0-4", value_parser = values::seeds, help_heading = "Training"
    )]
    pub seeds: Seeds,

    /// Directory for the table, the chart and the directories of the runs; it is created if it does not exist
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: PathBuf,

    #[command(flatten)]
    pub sweep: SweepArgs,

    #[command(flatten)]
    pub run: RunArgs,
}

impl CompareArgs {
    /// The library's options that all runs have in common.
    ///
    /// # Errors
    /// For flags that contradict each other.
    pub fn options(&self) -> Result<FinetuneOptions> {
        let mut options = options(&self.data, &self.run)?;
        if let Some(rate) = self.lr.as_ref().and_then(|rates| rates.all) {
            options.training.learning_rate = rate;
        }
        options.out.clone_from(&self.out);
        Ok(options)
    }

    /// The methods with their learning rates.
    ///
    /// # Errors
    /// For a rate of a method that is not compared.
    pub fn choices(&self) -> Result<Vec<MethodChoice>> {
        let rates = self.lr.as_ref().map_or(&[][..], |rates| &rates.of);
        let names = || self.methods.iter().flat_map(|choice| [choice.name.as_str(), choice.base_name()]);
        if let Some((name, _)) = rates.iter().find(|(name, _)| names().all(|known| known != name)) {
            bail!("--lr {name}: it is none of --methods {}", self.list());
        }
        let rate = |name: &str| rates.iter().find(|(named, _)| named == name).map(|(_, rate)| *rate);
        let all = self.lr.as_ref().and_then(|rates| rates.all);
        let usual =
            |choice: &MethodChoice| choice.method.trains_whole_weights().then(|| choice.method.learning_rate(0.0));
        let with_rate = |choice: &MethodChoice| MethodChoice {
            learning_rate: rate(&choice.name).or_else(|| rate(choice.base_name())).or(all).or_else(|| usual(choice)),
            ..choice.clone()
        };
        Ok(self.methods.iter().map(with_rate).collect())
    }

    /// The directories that files are written into, the outermost first.
    pub fn directories(&self) -> Vec<PathBuf> {
        let methods: Vec<PathBuf> = self.methods.iter().map(|method| method_directory(&self.out, method)).collect();
        let seeds = methods.iter().flat_map(|dir| self.seeds.0.iter().map(|&seed| seed_directory(dir, seed)));
        let runs: Vec<PathBuf> = seeds.collect();
        std::iter::once(self.out.clone()).chain(methods).chain(runs).collect()
    }

    /// The methods as they were listed.
    fn list(&self) -> String {
        self.methods.iter().map(|choice| choice.name.as_str()).collect::<Vec<_>>().join(",")
    }
}
