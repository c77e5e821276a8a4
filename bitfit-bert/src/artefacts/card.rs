//! A model card: the README.md of a model directory, with the front matter that the hub reads.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::header::HEADER_FILE;
use super::layout::{ANSWERS, Layout, MASKS, TAGS, TEXTS};
use crate::data::Kind;
use crate::task_file::{Best, TaskInfo};

/// The name of a model card.
pub const CARD_FILE: &str = "README.md";

/// The most labels that a card lists.
const LISTED: usize = 50;

/// What a model card says. A value that is not known, such as the language or the licence, is left out.
#[derive(Clone, Debug)]
pub struct ModelCard<'a> {
    info: &'a TaskInfo,
    /// The name of the directory.
    name: String,
    form: Form<'a>,
    scores: Option<Scores<'a>>,
}

/// What lies beside the card.
#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    Merged(&'a Layout),
    TaskFile(&'a str),
}

/// Scores, and where they are from.
#[derive(Clone, Debug)]
struct Scores<'a> {
    best: &'a Best,
    origin: String,
}

impl<'a> ModelCard<'a> {
    /// The card of a merged model in the directory `dir`.
    pub fn of_merged(info: &'a TaskInfo, layout: &'a Layout, dir: &Path) -> Self {
        Self::new(info, dir, Form::Merged(layout))
    }

    /// The card of a task file named `file` in the directory `dir`.
    pub fn of_task_file(info: &'a TaskInfo, file: &'a str, dir: &Path) -> Self {
        Self::new(info, dir, Form::TaskFile(file))
    }

    fn new(info: &'a TaskInfo, dir: &Path, form: Form<'a>) -> Self {
        let name = dir.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
        let scores = info.best.as_ref().map(|best| {
            let origin = format!("of epoch {} on the evaluation set of the run", best.epoch);
            Scores { best, origin }
        });
        Self { info, name, form, scores }
    }

    /// The file's content.
    pub fn text(&self) -> String {
        format!("---\n{}---\n\n{}", self.front_matter(), self.body())
    }

    /// The front matter: YAML, whose texts are quoted as JSON.
    fn front_matter(&self) -> String {
        let info = self.info;
        let mut yaml = String::new();
        if let Some(base) = self.hub_id() {
            _ = writeln!(yaml, "base_model: {}", quoted(base));
        }
        let library = match self.form {
            Form::Merged(layout) => layout.library(),
            Form::TaskFile(_) => "bitfit",
        };
        let task = pipeline(info.kind);
        _ = writeln!(yaml, "library_name: {library}\npipeline_tag: {task}\ntags:\n- bitfit\n- {}", info.kind);
        yaml.push_str("metrics:\n");
        info.hyperparameters.metrics.iter().for_each(|metric| _ = writeln!(yaml, "- {metric}"));
        let Some(Scores { best, .. }) = &self.scores else { return yaml };
        let dataset = info.hyperparameters.task.as_deref();
        let (kind, name) = dataset.map_or(("unknown", "evaluation set"), |task| ("nyu-mll/glue", task));
        _ = write!(
            yaml,
            "model-index:\n- name: {}\n  results:\n  - task:\n      type: {task}\n    dataset:\n      type: {kind}\n      \
             name: {}\n    metrics:\n",
            quoted(&self.name),
            quoted(name)
        );
        for (metric, value) in &best.scores {
            _ = writeln!(yaml, "    - type: {metric}\n      value: {value}");
        }
        yaml
    }

    fn body(&self) -> String {
        let info = self.info;
        // A directory's path says nothing to others; its last component is its name.
        let base = self.hub_id().map_or_else(|| last_component(&info.base), ToOwned::to_owned);
        let mut text = format!(
            "# {}\n\nA model of kind `{}`, made from {} with [bitfit](https://arxiv.org/abs/2106.10199): the method is \
             `{}`, and what it trained is {}.\n\n## Use\n\n{}",
            self.name,
            info.kind,
            quoted(&base),
            info.method,
            match self.form {
                Form::Merged(_) => "in these weights in the place of the base's",
                Form::TaskFile(_) => "in the task file, which needs the base model beside it",
            },
            self.usage()
        );
        if let Some(labels) = &info.labels {
            let names = labels.names();
            let listed: Vec<String> = names.iter().take(LISTED).map(|name| format!("- {}", quoted(name))).collect();
            _ = write!(text, "\n## Labels\n\n{}\n", listed.join("\n"));
            if names.len() > LISTED {
                let holder = match self.form {
                    Form::Merged(_) => HEADER_FILE,
                    Form::TaskFile(file) => file,
                };
                _ = writeln!(text, "- and {} more, which {holder} names", names.len() - LISTED);
            }
        }
        if let Some(Scores { best, origin }) = &self.scores {
            _ = write!(text, "\n## Scores\n\nThey are {origin}.\n\n| metric | value |\n| --- | ---: |\n");
            best.scores.iter().for_each(|(metric, value)| _ = writeln!(text, "| {metric} | {value:.4} |"));
        }
        text + "\n## Training\n\n" + &self.training()
    }

    /// How the run that made the task went.
    fn training(&self) -> String {
        let (info, run) = (self.info, &self.info.hyperparameters);
        let length = format!("A sequence has at most {} tokens, special tokens included.\n", run.max_length);
        // The header of a checkpoint that another program trained does not say how.
        if run.steps == 0 {
            return length;
        }
        format!(
            "{} steps, learning rate {} ({}), {} epochs at most, seed {}. {length}",
            run.steps, run.learning_rate, run.schedule, run.epochs, info.seed
        )
    }

    /// Code that loads the model.
    fn usage(&self) -> String {
        let class = match (self.form, self.info.kind) {
            (Form::TaskFile(file), _) => {
                return format!("```sh\nbitfit-cli predict --task-file {file}\n```\n");
            }
            (Form::Merged(Layout::SentenceEncoder), kind) => {
                let meaning = match kind {
                    Kind::Classify => "the logits of the labels below: their softmax is the probabilities",
                    Kind::MultiLabel => "the logits of the labels below: the sigmoid of each is its probability",
                    _ => "the score",
                };
                let text = if self.info.pairs { "[[\"a text\", \"its second text\"]]" } else { "[\"a text\"]" };
                return format!(
                    "```python\nfrom sentence_transformers import SentenceTransformer\n\nmodel = \
                     SentenceTransformer(\"{}\")\nmodel.encode({text})  # {meaning}\n```\n",
                    self.name
                );
            }
            (Form::Merged(_), Kind::Tag) => TAGS,
            (Form::Merged(_), Kind::Span) => ANSWERS,
            (Form::Merged(_), Kind::MaskedLm) => MASKS,
            (Form::Merged(_), Kind::Classify | Kind::MultiLabel | Kind::Regress) => TEXTS,
        };
        let class = format!("AutoModel{class}");
        format!(
            "```python\nfrom transformers import {class}, AutoTokenizer\n\nmodel = {class}.from_pretrained(\"{name}\")\n\
             tokenizer = AutoTokenizer.from_pretrained(\"{name}\")\n```\n",
            name = self.name
        )
    }

    /// The base's name on the hub; `None` where it was given as a directory.
    fn hub_id(&self) -> Option<&'a str> {
        self.info.base_path.is_none().then_some(self.info.base.as_str())
    }
}

fn last_component(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The hub's name for what a kind of task does.
fn pipeline(kind: Kind) -> &'static str {
    match kind {
        Kind::Classify | Kind::MultiLabel | Kind::Regress => "text-classification",
        Kind::Tag => "token-classification",
        Kind::Span => "question-answering",
        Kind::MaskedLm => "fill-mask",
    }
}

/// A text in double quotes, which YAML and Markdown read as one line.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefacts::testing::Trained;
    use crate::data::Labels;

    #[test]
    fn a_card_says_what_is_known_and_quotes_what_came_from_a_file() {
        let mut task = Trained::new("classify", "bitfit").task;
        task.info.base = "owner/base".into();
        task.info.base_path = None;
        let layout = Layout::Class("BertForSequenceClassification".into());
        let text = ModelCard::of_merged(&task.info, &layout, "a/b".as_ref()).text();
        for part in [
            "---\nbase_model: \"owner/base\"\nlibrary_name: transformers\npipeline_tag: text-classification\n",
            "metrics:\n- accuracy\n- f1\nmodel-index:\n- name: \"b\"\n",
            "    - type: accuracy\n      value: 0.75\n---\n\n# b\n",
            "AutoModelForSequenceClassification.from_pretrained(\"b\")",
            "- \"no\"\n- \"yes\"\n",
            "| accuracy | 0.7500 |",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        task.info.base = "/home/someone/models/base".into();
        task.info.base_path = Some(task.info.base.clone().into());
        task.info.best = None;
        let text = ModelCard::of_task_file(&task.info, "task.safetensors", "a/b".as_ref()).text();
        assert!(text.starts_with("---\nlibrary_name: bitfit\n") && !text.contains("someone"), "{text}");
        assert!(!text.contains("model-index") && text.contains("predict --task-file task.safetensors"), "{text}");
        let names = (0..=LISTED).map(|number| format!("label {number}")).collect();
        task.info.labels = Labels::from_names(names);
        let text = ModelCard::of_merged(&task.info, &Layout::SentenceEncoder, "a/b".as_ref()).text();
        assert!(text.contains("the logits of the labels below") && text.contains("1 more, which bitfit.json names"));
    }
}
