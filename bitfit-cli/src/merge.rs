//! `merge`: a task file and its base model as one directory for transformers or sentence-transformers.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use bitfit_bert::Error;
use bitfit_bert::artefacts::{self, Layout};
use bitfit_bert::model::Base;
use serde_json::json;

use crate::args::MergeArgs;
use crate::last_resort;
use crate::plan::grouped;
use crate::report;
use crate::setup::{self, FoundTask};

/// Runs the command.
pub fn run(args: MergeArgs) -> Result<ExitCode> {
    let device = setup::on_cpu(None)?;
    last_resort::check_stdout()?;
    setup::check_task_file(&args.trained.task_file)?;
    let FoundTask { file, model, dir } =
        FoundTask::find(args.trained.model.as_deref(), &args.trained.task_file, args.quiet)?;
    let base = Base::open(&device, &dir)?;
    let merged = artefacts::merge(&base, &file, &args.trained.task_file, &args.out).map_err(|error| match error {
        Error::Io { path, source } if path.starts_with(&args.out) => anyhow!("--out {}: {source}", path.display()),
        error => error.into(),
    })?;
    if !args.quiet {
        let use_it = match merged.layout {
            Layout::Class(_) => "from_pretrained and pipeline open it",
            Layout::SentenceEncoder => "SentenceTransformer opens it; transformers alone leaves the head out",
        };
        report::say(format_args!(
            "wrote {}: {} of {}, {} parameters; {use_it}",
            args.out.display(),
            merged.class,
            merged.layout.library(),
            grouped(merged.parameters)
        ));
    }
    report::print(&json!({
        "command": "merge",
        "model": model,
        "task_file": args.trained.task_file.display().to_string(),
        "out": args.out.display().to_string(),
        "kind": file.info.kind.name(),
        "library": merged.layout.library(),
        "class": merged.class,
        "parameters": merged.parameters,
        "weights_bytes": merged.bytes,
    }))?;
    Ok(ExitCode::SUCCESS)
}
