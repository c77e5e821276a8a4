//! The plan of a run as text, shown before the run starts.

use bitfit_bert::arch::Module;
use bitfit_bert::data::Kind;
use bitfit_bert::heads::{PairEncoding, Pooling, PoolingSource};
use bitfit_bert::model::TrainableKind;
use bitfit_bert::run::{CachedPrefix, InitialHead, Plan, PlanNote, PlanPart};
use bitfit_bert::train::{BatchSize, RateSummary};
use bitfit_bert::{BiasKind, Method};
use indicatif::{BinaryBytes, HumanCount};

use crate::args::{DataArgs, MachineArgs};
use crate::report::{self, SKIPPED, lines_text};

mod labels;
mod loss;
mod notes;

pub use notes::{cut_text, header_text, rows_text};

/// Shows the plan of a run, or of runs of several seeds, over the data and on the machine that were asked for.
pub fn say(plan: &Plan, data: &DataArgs, machine: &MachineArgs, seeds: Option<&[u64]>) {
    let mut plan = plan.clone();
    plan.device = machine.device_in_plan(&plan.device);
    if data.has_chosen_kind() {
        plan.notes.retain(|note| !matches!(note, PlanNote::MayBeScores(_)));
    }
    plan_lines(&plan, seeds).iter().for_each(|line| report::say(format_args!("{line}")));
}

/// Adds a line to a plan that was printed.
pub fn say_line(name: &str, text: &str) {
    report::say(format_args!("{}", line(name, text)));
}

/// A line of a plan.
fn line(name: &str, text: &str) -> String {
    format!("{name:<9} {text}")
}

/// The plan of a run, or of runs of several seeds, in a few lines. Each begins with a title, or continues the line
/// before it.
fn plan_lines(plan: &Plan, seeds: Option<&[u64]>) -> Vec<String> {
    let config = &plan.config;
    let mut lines = Lines(Vec::new());
    lines.add(
        "model",
        format!(
            "{} ({}, {} layers, hidden size {}, {} heads)",
            plan.model, config.architecture, config.num_hidden_layers, config.hidden_size, config.num_attention_heads
        ),
    );
    lines.add("data", data(plan));
    for (file, found) in &plan.found {
        lines.add("", format!("{file}: {}", found.join(", ")));
    }
    for (file, skipped) in &plan.skipped {
        lines.add("", format!("{file}: skipped {}, {SKIPPED}", lines_text(*skipped)));
    }
    let percent = 100.0 * plan.trainable as f64 / plan.total as f64;
    let (trainable, total) = (grouped(plan.trainable), grouped(plan.total));
    let biases = plan.method.biases();
    let layers = biases.layers().map_or_else(String::new, |layers| {
        let (first, last) = (layers.start(), layers.end());
        if first == last { format!("; in layer {first} only") } else { format!("; in layers {first}-{last} only") }
    });
    lines.add("trains", format!("{trainable} of {total} parameters ({percent:.3} %){layers}"));
    plan.parts.iter().for_each(|part| lines.add("", part_text(part, plan.kind)));
    lines.add("head", pooling(plan));
    if let Some(text) = initial_head(&plan.initial_head, plan.labels.as_deref()) {
        lines.add("", text);
    }
    match plan.method {
        Method::Probe => lines.add("training", probe(plan, seeds)),
        _ => {
            lines.add("training", training(plan));
            lines.add("", settings(plan, seeds));
        }
    }
    plan.rates.iter().for_each(|rates| lines.add("", rates_text(rates)));
    if let Some(weighting) = &plan.training.weighting {
        lines.add("loss", loss::weighted(weighting, plan.labels.as_deref().unwrap_or_default()));
    }
    if let Some(text) = loss::evaluations(&plan.training) {
        lines.add("", text);
    }
    if let Some(prefix) = &plan.cached_prefix {
        lines.add("cache", cache(prefix));
    }
    lines.add("device", plan.device.clone());
    plan.notes.iter().for_each(|note| lines.add("note", notes::text(note, plan)));
    lines.0
}

/// A number with thousands separators: 109482240 as 109,482,240.
pub fn grouped(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

/// The lines of a plan.
struct Lines(Vec<String>);

impl Lines {
    /// Adds a line; `name` is empty for one that continues the line before it.
    fn add(&mut self, name: &str, text: String) {
        self.0.push(line(name, &text));
    }
}

/// The rows, and what is predicted for them.
fn data(plan: &Plan) -> String {
    let (rows, tokens) = (rows_text(plan.rows), grouped(plan.tokens));
    let eval = plan.eval_rows.map_or("no evaluation set".into(), |rows| format!("{} to evaluate", grouped(rows)));
    format!("{rows} ({tokens} tokens) to train on, {eval}; {}", labels::text(plan))
}

/// The tensors of one kind, in a task of this kind.
fn part_text(part: &PlanPart, kind: Kind) -> String {
    let (name, note) = match part.kind {
        TrainableKind::Bias(BiasKind::Key) => {
            ("key bias".into(), "  (counted, but never changes: its gradient is exactly zero)")
        }
        TrainableKind::Bias(bias) => (format!("{bias} bias"), ""),
        TrainableKind::Weight(module) => (weight(module), ""),
        TrainableKind::FreshPooler => ("new pooler".into(), "  (the checkpoint has none: weight and bias train)"),
        TrainableKind::HeadDense => ("dense layer of the head".into(), ""),
        TrainableKind::Head if kind == Kind::MaskedLm => ("biases of the head".into(), ""),
        TrainableKind::Head => ("head".into(), ""),
    };
    let tensors = if part.tensors == 1 { "tensor" } else { "tensors" };
    format!("{name:<25} {:>4} {tensors:<7} {:>11} values{note}", part.tensors, grouped(part.scalars))
}

/// The name of a module's weight.
fn weight(module: Module) -> String {
    let name = match module {
        Module::EmbeddingsLayerNorm => "embeddings-layernorm",
        Module::AttentionLayerNorm => "attention-layernorm",
        Module::OutputLayerNorm => "output-layernorm",
        module => return module.to_string().replace('-', " "),
    };
    format!("{name} scale")
}

/// What the head reads, and why.
fn pooling(plan: &Plan) -> String {
    let what = match (plan.pooling, plan.config.architecture.head.dense) {
        (Pooling::Pooler, None) => "the first token through the pooler",
        (Pooling::Pooler, Some(_)) => "the first token through a dense layer of its own",
        (Pooling::Cls, _) => "the first token",
        (Pooling::Mean, _) => "the mean over all tokens",
        (Pooling::ClsNormalized, _) => "the first token, divided by its length",
        (Pooling::MeanNormalized, _) => "the mean over all tokens, divided by its length",
        (Pooling::Tokens, _) if plan.kind == Kind::MaskedLm => "the masked tokens",
        (Pooling::Tokens, _) => "the first token of each word",
        (Pooling::EveryToken, _) => "every token",
    };
    let why = match &plan.pooling_source {
        _ if plan.kind == Kind::MaskedLm => "and is the checkpoint's own, of which the biases train".into(),
        _ if plan.pooling == Pooling::Tokens => "as every tagging of words does".into(),
        _ if plan.pooling == Pooling::EveryToken => "as every search for an answer does".into(),
        PoolingSource::Chosen => "by --pooling".to_owned(),
        PoolingSource::File(path) => format!("as {} says", path.display()),
        PoolingSource::Default => format!("as {}'s own class for classification does", plan.config.architecture),
    };
    let pair = match plan.pair {
        Some(PairEncoding::Separate) => "; of each text of a pair, and their difference and product",
        Some(PairEncoding::Joint) | None => "",
    };
    format!("reads {what}, {why}{pair}")
}

/// Where the head's first values come from, and for which classes they are taken; `None` where they are drawn.
fn initial_head(head: &InitialHead, labels: Option<&[String]>) -> Option<String> {
    let (path, has_labels) = match head {
        InitialHead::Drawn => return None,
        InitialHead::Probe => return Some("begins with the values of a probe".into()),
        InitialHead::File { path, has_labels } => (path, *has_labels),
    };
    let order = match (has_labels, labels) {
        (false, Some(labels)) => {
            let classes = labels.join(", ");
            format!("; neither it nor a config.json beside it names the classes, so its rows are taken for {classes}")
        }
        _ => String::new(),
    };
    Some(format!("begins with the values of {}{order}", path.display()))
}

/// How a probe is made that is the result.
fn probe(plan: &Plan, seeds: Option<&[u64]>) -> String {
    let length = plan.max_length;
    format!(
        "the head is fitted to its optimum in one pass over texts of at most {length} tokens; {}",
        seed(plan, seeds)
    )
}

/// The length of the run.
fn training(plan: &Plan) -> String {
    let training = &plan.training;
    let epochs = if training.epochs == 1 { "1 epoch".into() } else { format!("{} epochs", grouped(training.epochs)) };
    let steps = if plan.steps == 1 { "1 step".into() } else { format!("{} steps", grouped(plan.steps)) };
    let similar = if training.group_by_length { " of similar lengths" } else { "" };
    let batch = match training.batch_size {
        BatchSize::Sequences(1) => "1 text".into(),
        BatchSize::Sequences(size) => format!("{size} texts{similar}"),
        BatchSize::Tokens(size) => format!("up to {size} tokens, in texts{similar}"),
    };
    let parts = match (training.micro_batch, training.batch_size) {
        (None, _) => training.shards.map_or_else(String::new, |shards| format!(", in {shards} logical shards")),
        (Some(size), BatchSize::Sequences(batch)) if size >= batch => String::new(),
        (Some(size), _) => format!(", computed {size} at a time"),
    };
    format!("{epochs}, {steps}; a batch is {batch}, of at most {} tokens each{parts}", plan.max_length)
}

/// The learning rate and the other settings.
fn settings(plan: &Plan, seeds: Option<&[u64]>) -> String {
    let training = &plan.training;
    let warmup = match training.warmup {
        warmup if warmup > 0.0 => format!(" after warm-up over {} % of the steps", warmup * 100.0),
        _ => String::new(),
    };
    let (rate, schedule, seed) = (training.learning_rate, training.schedule, seed(plan, seeds));
    format!("learning rate {rate}, {schedule}{warmup}; dropout {}, {seed}", plan.dropout)
}

/// The seed of the run, or those of several.
fn seed(plan: &Plan, seeds: Option<&[u64]>) -> String {
    match seeds {
        Some(seeds @ [_, _, ..]) => format!("a run each of the {}", seeds_text(seeds)),
        Some(seeds) => seeds_text(seeds),
        None => format!("seed {}", plan.training.seed),
    }
}

/// The rates of a group of tensors.
fn rates_text(rates: &RateSummary) -> String {
    let RateSummary { group, scalars, lowest, highest } = rates;
    let range = match lowest == highest {
        true => format!("{highest}"),
        false => format!("{highest:.3e} in the highest layer, {lowest:.3e} in the lowest"),
    };
    format!("learning rate of {group:<10} {range}  ({} values)", grouped(*scalars))
}

/// Seeds with commas and their noun.
pub fn seeds_text(seeds: &[u64]) -> String {
    let noun = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("{noun} {}", seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
}

/// The stages that are computed once for each row, and the memory of their outputs.
fn cache(prefix: &CachedPrefix) -> String {
    let what = match prefix.layers {
        0 => "the embeddings".into(),
        1 => "the embeddings and layer 0".into(),
        layers => format!("the embeddings and layers 0-{}", layers - 1),
    };
    let (needed, budget) = (BinaryBytes(prefix.needed as u64), BinaryBytes(prefix.budget as u64));
    let memory = match prefix.needed > prefix.budget {
        true => format!("{budget} of {needed} fit, the rest is computed in every epoch"),
        false => needed.to_string(),
    };
    format!("{what} (frozen, without dropout) are computed once for each row and kept: {memory}")
}

#[cfg(test)]
mod tests {
    use bitfit_bert::train::RateGroup;

    use super::*;

    #[test]
    fn the_rates_of_a_group_are_one_or_a_range() {
        let rates = |lowest| RateSummary { group: RateGroup::Head, scalars: 1026, lowest, highest: 1e-3 };
        assert_eq!(rates_text(&rates(1e-3)), "learning rate of head       0.001  (1,026 values)");
        let text = rates_text(&rates(9e-4));
        assert!(text.contains("1.000e-3 in the highest layer, 9.000e-4 in the lowest  ("), "{text}");
    }

    #[test]
    fn one_seed_is_no_seeds() {
        assert_eq!([seeds_text(&[7]), seeds_text(&[0, 3])], ["seed 7", "seeds 0, 3"]);
    }

    #[test]
    fn the_thousands_of_a_number_are_apart() {
        assert_eq!([0, 999, 109_482_240].map(grouped), ["0", "999", "109,482,240"]);
    }

    #[test]
    fn a_cache_that_does_not_fit_says_how_much_does() {
        let prefix = CachedPrefix { layers: 3, needed: 3 << 20, budget: 1 << 20 };
        let text = cache(&prefix);
        assert!(text.starts_with("the embeddings and layers 0-2 (frozen,"), "{text}");
        assert!(text.contains("1.00 MiB of 3.00 MiB fit"), "{text}");
        assert!(cache(&CachedPrefix { budget: 4 << 20, ..prefix }).ends_with("kept: 3.00 MiB"));
    }

    #[test]
    fn a_head_without_class_names_is_pointed_out() {
        let head = |has_labels| InitialHead::File { path: "head.safetensors".into(), has_labels };
        let text = |head, labels| initial_head(&head, labels).unwrap();
        let labels = ["blame".to_owned(), "praise".to_owned()];
        assert!(text(head(false), Some(&labels[..])).ends_with("its rows are taken for blame, praise"));
        assert_eq!(text(head(true), Some(&labels[..])), "begins with the values of head.safetensors");
    }
}
