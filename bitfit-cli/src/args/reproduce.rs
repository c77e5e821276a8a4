//! The arguments of `reproduce`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use bitfit_bert::data::{Kind, ReadOptions};
use bitfit_bert::heads::{MaskingOptions, PairEncoding};
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{
    EarlierRun, FinetuneOptions, GridRates, HeadStart, LossOptions, MethodChoice, PaperTable, ProbeUse,
    ReproduceOptions, SaveEvery,
};
use bitfit_bert::train::{BatchSize, TrainOptions};
use clap::Args;

use super::sweep::SweepArgs;
use super::values::{self, Pooling, Seeds};
use super::{MachineArgs, name_of};

const EXAMPLES: &str = "\
Examples:
  # what would run, what is done, and how long the rest may take
  bitfit-cli reproduce glue --model bert-base-uncased --data GLUE \\
      --out paper --plan

  # the small tasks, with the learning rates that the paper searches
  bitfit-cli reproduce glue --model bert-base-uncased --data GLUE \\
      --tasks rte,mrpc,cola,stsb --out paper

  # two kinds of bias, one rate, three seeds; shares what is in paper
  bitfit-cli reproduce subsets --model bert-base-uncased --data GLUE \\
      --methods bitfit,bitfit:query+intermediate --rates 1e-3 \\
      --seeds 0-2 --out paper

Tables:
  glue                GLUE by method: BitFit and full fine-tuning
  subsets             GLUE by the kinds of bias that train
  random              GLUE by biases and by scalars chosen at random
  generalization-gap  GLUE: training texts less development set
  bias-change         GLUE: how far each kind of bias moves, by layer
  tagging             tags of words: BitFit and full fine-tuning
  squad-size          SQuAD by the size of the training set

--data has the files as they are distributed: for GLUE the directories CoLA,
SST-2, MRPC, STS-B, QQP, MNLI, QNLI and RTE with train.tsv and dev.tsv
(MNLI: dev_matched.tsv, dev_mismatched.tsv), where a task whose files are
missing is left out; for tagging NAME-train.conllu and NAME-dev.conllu, or
.conll; for squad-size train-v1.1.json and dev-v1.1.json.

OUT/TABLE.md, TABLE.csv and TABLE.svg are the table with the paper's figures
beside it, its numbers, and a drawing. OUT/TASK/METHOD/lr-RATE/seed-N holds
each run. The last line on stdout is the result as one JSON object.

Ctrl-C ends it after the current step. Called again, it goes on there, skips
the runs that are finished, and refuses those that were made from other data
or settings. Started again while it runs, here or on another machine that
shares the file system, it takes part: each process makes the runs that no
other process has, and takes over those of a process that died. The files of
the table are the same, byte by byte.";

/// The flags of `reproduce`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReproduceArgs {
    /// Table of the paper
    #[arg(value_name = "TABLE", value_parser = values::table(), help_heading = "Model and data")]
    pub table: PaperTable,

    /// Base model: a directory with config.json, weights and a tokenizer, or a Hugging Face hub id
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model and data")]
    pub model: String,

    /// Directory of the data, with the files as they are distributed
    #[arg(long, value_name = "DIR", help_heading = "Model and data")]
    pub data: PathBuf,

    /// GLUE tasks to run, a list with commas [default: all whose files are there]
    #[arg(
        long, value_name = "LIST", value_delimiter = ',', value_parser = values::paper_task(),
        help_heading = "Model and data"
    )]
    pub tasks: Vec<GlueTask>,

    /// Train on N rows of each task only, drawn by the seed
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Model and data"
    )]
    pub limit: Option<usize>,

    /// Sizes of the training set for squad-size, a list of numbers of questions with commas [default: 500, 1000, 2000,
    /// 3000, 5000, 10000, 20000 and all]
    #[arg(
        long, value_name = "LIST", value_delimiter = ',', value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Model and data"
    )]
    pub sizes: Vec<usize>,

    /// Maximum length of a sequence in tokens [default: 128, for squad-size 384, or less if the model has fewer
    /// positions]
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Model and data"
    )]
    pub max_length: Option<usize>,

    /// Methods, a list with commas, as for compare, without probe [default: those of the table]
    #[arg(
        long, value_name = "LIST", value_delimiter = ',', value_parser = values::method_choice,
        help_heading = "What trains"
    )]
    pub methods: Vec<MethodChoice>,

    /// Which output of the last layer the head reads
    #[arg(long, value_name = "POOLING", value_enum, default_value_t = Pooling::Auto, help_heading = "What trains")]
    pub pooling: Pooling,

    /// Learning rates to search, a list with commas of RATE for all methods and METHOD=RATE for one [default: the
    /// paper's, 1e-4, 4e-4, 7e-4 and 1e-3, where whole weights train 1e-5, 2e-5, 3e-5 and 5e-5]
    ///
    /// For each task and method, the table shows the rate with the best mean score on the development set, as in the
    /// paper. METHOD is a name of --methods, or the part of it before the colon; it may be listed with several rates.
    #[arg(
        long, value_name = "LIST", value_parser = values::grid_rates, allow_hyphen_values = true,
        help_heading = "Training"
    )]
    pub rates: Option<GridRatesArg>,

    /// Seeds of each task, method and rate: a range, such as 0-4, or a list, such as 0,3,7
    #[arg(
        long, value_name = "SEEDS", default_value = "0-4", value_parser = values::seeds, help_heading = "Training"
    )]
    pub seeds: Seeds,

    /// Number of passes over the training set [default: 16, as in the authors' code; for squad-size at least 5]
    #[arg(
        long, value_name = "N", value_parser = values::epochs, allow_negative_numbers = true, help_heading = "Training"
    )]
    pub epochs: Option<usize>,

    /// Minimum number of steps for squad-size, so that small training sets get as many as larger ones [default: 2000]
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Training"
    )]
    pub steps: Option<usize>,

    /// Number of texts in a batch, at least 1
    #[arg(
        long, value_name = "N", default_value_t = 16, value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Training"
    )]
    pub batch_size: usize,

    /// Directory for the table and the directories of the runs; it is created if it does not exist
    ///
    /// Tables of GLUE share their runs in one directory.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: PathBuf,

    /// Only show the runs, how many are done, and how long the rest may take; nothing is written
    #[arg(long, help_heading = "Output")]
    pub plan: bool,

    /// Remove the task file of each run once it is scored
    ///
    /// Those of --method full are as large as the model. bias-change needs the task files, and so does a later call
    /// for a table that scores the runs on further sets.
    #[arg(long, help_heading = "Output")]
    pub remove_task_files: bool,

    /// Log every N steps, at least 1
    #[arg(
        long, value_name = "N", default_value_t = 50, value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Output"
    )]
    pub log_every: usize,

    /// Save the state of a run every N steps, or after a time, such as 30s, 10m or 1h; none turns it off
    #[arg(
        long, value_name = "N|TIME", default_value = "5m", value_parser = values::save_every,
        allow_hyphen_values = true, help_heading = "Output"
    )]
    pub checkpoint_every: SaveEvery,

    /// Memory for cached outputs of the frozen layers below the lowest that trains, such as 512M or 2G
    #[arg(
        long, value_name = "SIZE", default_value = "1G", value_parser = values::bytes, allow_hyphen_values = true,
        help_heading = "Machine"
    )]
    pub prefix_cache: usize,

    #[command(flatten)]
    pub sweep: SweepArgs,

    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Learning rates as they were listed.
#[derive(Clone, Debug, PartialEq)]
pub struct GridRatesArg(pub GridRates);

impl ReproduceArgs {
    /// The library's options.
    ///
    /// # Errors
    /// For rates of a method that is not run, flags that contradict the table, and a value out of its range.
    pub fn options(&self) -> Result<ReproduceOptions> {
        let methods = if self.methods.is_empty() { self.table.methods() } else { self.methods.clone() };
        let rates = self.rates.as_ref().map(|rates| rates.0.clone()).unwrap_or_default();
        let is_run =
            |name: &str| methods.iter().any(|choice| [choice.name.as_str(), choice.base_name()].contains(&name));
        if let Some((name, _)) = rates.of.iter().find(|(name, _)| !is_run(name)) {
            let names: Vec<&str> = methods.iter().map(|choice| choice.name.as_str()).collect();
            bail!("--rates {name}: it is none of the methods {}", names.join(", "));
        }
        if self.table == PaperTable::BiasChange && self.remove_task_files {
            bail!("--remove-task-files: bias-change is made from the task files: leave it out");
        }
        let common = self.common();
        common.validate()?;
        let options = ReproduceOptions {
            common,
            data: self.data.clone(),
            tasks: self.tasks.clone(),
            methods: self.methods.clone(),
            rates,
            seeds: self.seeds.0.clone(),
            epochs: self.epochs,
            steps: self.steps,
            sizes: self.sizes.clone(),
            remove_task_files: self.remove_task_files,
        };
        options.validate(self.table)?;
        Ok(options)
    }

    /// The settings that all runs have in common. The library sets the others for each run.
    fn common(&self) -> FinetuneOptions {
        let training = TrainOptions {
            batch_size: BatchSize::Sequences(self.batch_size),
            limit: self.limit,
            prefix_cache_bytes: self.prefix_cache,
            ..TrainOptions::default()
        };
        FinetuneOptions {
            model: self.model.clone(),
            train: PathBuf::new(),
            eval: None,
            read: ReadOptions::default(),
            kind: Kind::Classify,
            metrics: Vec::new(),
            method: bitfit_bert::Method::Frozen,
            select: None,
            pair: PairEncoding::Joint,
            stride: None,
            pooling: self.pooling.chosen(),
            masking: MaskingOptions::default(),
            save_base: None,
            loss: LossOptions::default(),
            training,
            device: self.machine.device.to_string(),
            precision: name_of(self.machine.precision()),
            max_length: self.max_length,
            dropout: None,
            probe: ProbeUse::Off,
            head: HeadStart::Drawn,
            standardize_scores: false,
            log_every: self.log_every,
            tensorboard: false,
            out: self.out.clone(),
            earlier: EarlierRun::Replace,
            save_every: self.checkpoint_every,
            command: None,
        }
    }
}
