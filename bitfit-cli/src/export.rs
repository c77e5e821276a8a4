//! `export`: the model of a task file as an ONNX file.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use bitfit_bert::model::Base;
use bitfit_bert::onnx::{self, Tensor};
use serde_json::{Value, json};

use crate::args::ExportArgs;
use crate::plan::grouped;
use crate::report::{self, ExportReport};
use crate::setup::{self, FoundTask};
use crate::{last_resort, output};

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<ExitCode> {
    let device = setup::on_cpu(args.threads)?;
    last_resort::check_stdout()?;
    setup::check_task_file(&args.task_file)?;
    refuse_existing(args)?;
    let task = FoundTask::find(args.model.as_deref(), &args.task_file, args.quiet)?;
    for out in [args.out.clone(), onnx::weights_file(&args.out)] {
        output::check_target("--out", &out, &[("the task file", &args.task_file)])?;
        output::spare_model("--out", &out, &task.dir)?;
    }
    let base = Base::open(&device, &task.dir)?;
    let exported = onnx::export(&base, &args.task_file, &task.file, &args.out).map_err(|error| match error {
        bitfit_bert::Error::Io { path, source } if path == args.out || path == onnx::weights_file(&args.out) => {
            anyhow!("--out {}: {source}", path.display())
        }
        error => error.into(),
    })?;
    if !args.quiet {
        report::say(format_args!(
            "{}: {} to {}, operator set {}, {} bytes",
            args.out.display(),
            names(&exported.inputs),
            names(&exported.outputs),
            onnx::OPSET,
            grouped(exported.bytes as usize)
        ));
        if let Some((path, bytes)) = &exported.weights {
            report::say(format_args!("{}: the weights, {} bytes", path.display(), grouped(*bytes as usize)));
        }
    }
    let (weights, weights_bytes) = exported.weights.as_ref().map(|(path, bytes)| (path.display(), *bytes)).unzip();
    report::print(&ExportReport {
        command: "export",
        model: &task.model,
        task_file: args.task_file.display().to_string(),
        kind: task.file.info.kind.name(),
        opset: onnx::OPSET,
        inputs: tensors(&exported.inputs),
        outputs: tensors(&exported.outputs),
        nodes: exported.nodes,
        out: args.out.display().to_string(),
        bytes: exported.bytes,
        weights: weights.map(|path| path.to_string()),
        weights_bytes,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses to replace a file, unless that was asked for.
fn refuse_existing(args: &ExportArgs) -> Result<()> {
    let files = [args.out.clone(), onnx::weights_file(&args.out)];
    match files.iter().find(|path| path.is_file() && !args.overwrite) {
        Some(path) => {
            bail!("--out {}: it is there already; choose another file, or replace it with --overwrite", path.display())
        }
        None => Ok(()),
    }
}

/// Names with extents, for a line.
fn names(tensors: &[Tensor]) -> String {
    let name = |tensor: &Tensor| format!("{} [{}]", tensor.name, tensor.shape.join(", "));
    tensors.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Names with extents, for the report.
fn tensors(tensors: &[Tensor]) -> Value {
    tensors.iter().map(|tensor| json!({"name": tensor.name, "shape": tensor.shape})).collect()
}
