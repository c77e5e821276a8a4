//! `extract`: a task file of a fine-tuned checkpoint and its base model.

use std::process::ExitCode;
use std::{fs, io};

use anyhow::{Result, anyhow};
use bitfit_bert::artefacts::{self, Extracted, MovedTensor};
use bitfit_bert::hub;
use bitfit_bert::model::Base;
use serde_json::{Value, json};

use crate::args::ExtractArgs;
use crate::last_resort;
use crate::output::TaskTarget;
use crate::plan::grouped;
use crate::report;
use crate::setup;

/// The most tensors that are listed on stderr; the result lists all.
const LISTED: usize = 10;

/// Runs the command.
pub fn run(args: ExtractArgs) -> Result<ExitCode> {
    let device = setup::on_cpu(None)?;
    last_resort::check_stdout()?;
    let target = TaskTarget::check(&args.out)?;
    let base = Base::open(&device, &hub::resolve(&args.model, args.quiet)?)?;
    let refuse = |error| anyhow!("--checkpoint {}: {error}", args.checkpoint.display());
    if !fs::metadata(&args.checkpoint).map_err(refuse)?.is_dir() {
        return Err(refuse(io::ErrorKind::NotADirectory.into()));
    }
    let extracted = artefacts::extract(&base, &args.checkpoint, &args.task())?;
    let written = target.write(&extracted.task)?;
    if !args.quiet {
        say(&extracted);
        report::say(format_args!("wrote {}", written.display()));
    }
    let Extracted { task, moved, not_held, is_merged, has_tokenizer } = &extracted;
    let tensor = |tensor: &MovedTensor| {
        json!({
            "name": tensor.name, "scalars": tensor.scalars, "moved": tensor.moved,
            "mean_absolute_difference": tensor.mean_absolute,
        })
    };
    report::print(&json!({
        "command": "extract",
        "model": args.model,
        "checkpoint": args.checkpoint.display().to_string(),
        "task_file": written.display().to_string(),
        "kind": task.info.kind.name(),
        "method": task.info.method.to_string(),
        "labels": task.info.labels.as_ref().map(|labels| labels.names().to_vec()),
        "pairs": task.info.pairs,
        "max_length": task.info.hyperparameters.max_length,
        "was_merged": is_merged,
        "tokenizer_compared": has_tokenizer,
        "moved": moved.iter().map(tensor).collect::<Vec<Value>>(),
        "not_held": not_held,
    }))?;
    Ok(ExitCode::SUCCESS)
}

/// Says what moved.
fn say(extracted: &Extracted) {
    let Extracted { task, moved, not_held, is_merged, has_tokenizer } = extracted;
    let scalars: usize = moved.iter().map(|tensor| tensor.moved).sum();
    report::say(format_args!(
        "{} tensors of the encoder differ from the base's, in {} scalars; method {}{}",
        grouped(moved.len()),
        grouped(scalars),
        task.info.method,
        if *is_merged { ", as the merged task file says" } else { "" }
    ));
    let mut largest: Vec<&MovedTensor> = moved.iter().collect();
    largest.sort_by(|a, b| b.mean_absolute.total_cmp(&a.mean_absolute));
    for tensor in largest.iter().take(LISTED) {
        report::say(format_args!(
            "  {}: {} of {}, by {:.2e} on average",
            tensor.name,
            grouped(tensor.moved),
            grouped(tensor.scalars),
            tensor.mean_absolute
        ));
    }
    if largest.len() > LISTED {
        report::say(format_args!("  and {} more, which moved less", grouped(largest.len() - LISTED)));
    }
    if !not_held.is_empty() {
        report::say(format_args!("not held by a task file of this kind: {}", not_held.join(", ")));
    }
    if !has_tokenizer {
        report::say(format_args!(
            "the checkpoint has no tokenizer: that of the base is taken to be the one it was trained with"
        ));
    }
}
