//! A directory with a tiny BERT and two sets of labelled texts, and the binary run in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use bitfit_bert::arch::{BERT, Module, Part, Role};
use bitfit_bert::fixture::{Tiny, TinyTensor};
use bitfit_bert::heads::Pooling;
use bitfit_core::Random;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const HIDDEN: usize = 16;
pub const LAYERS: usize = 2;
pub const POSITIONS: usize = 48;
pub const FFN: usize = 32;

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const GOOD: [&str; 12] =
    ["good", "great", "lovely", "happy", "fine", "bright", "warm", "kind", "calm", "fresh", "sweet", "brave"];
const BAD: [&str; 12] =
    ["bad", "awful", "nasty", "sad", "poor", "dark", "cold", "cruel", "loud", "stale", "bitter", "weak"];
const EITHER: [&str; 12] = ["the", "a", "day", "was", "is", "meal", "room", "and", "so", "very", "one", "film"];

/// Everything that a run needs. It is removed at the end of the test.
pub struct Fixture {
    directory: TempDir,
}

/// The result of running the binary.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Fixture {
    /// A model in `model`, 64 texts in `train.tsv` and 32 in `dev.tsv`, with the header text<TAB>label and the labels
    /// praise and blame.
    pub fn new() -> Self {
        let fixture = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(fixture.path("model")).unwrap();
        fixture.write("model/vocab.txt", vocabulary().join("\n"));
        model().write(&fixture.path("model"));
        fixture.write("train.tsv", table("text\tlabel", &texts(64, 1), |class| ["blame", "praise"][class].into()));
        fixture.write("dev.tsv", table("text\tlabel", &texts(32, 2), |class| ["blame", "praise"][class].into()));
        fixture
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names in a directory, sorted; empty if it does not exist.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Changes `config.json`.
    pub fn configure(&self, key: &str, value: Value) {
        let mut config: Value = serde_json::from_str(&self.read("model/config.json")).unwrap();
        config[key] = value;
        self.write("model/config.json", config.to_string());
    }

    /// Removes tensors from the model.
    pub fn remove_tensors(&self, is_unwanted: impl Fn(Role) -> bool) {
        let mut model = model();
        model.tensors.retain(|name, _| !BERT.role(name).is_some_and(&is_unwanted));
        self.write("model/model.safetensors", model.bytes());
    }

    /// The names and shapes of a safetensors file.
    pub fn tensors(&self, file: &str) -> BTreeMap<String, Vec<usize>> {
        let bytes = self.bytes(file);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        file.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect()
    }

    /// The metadata of a safetensors file.
    pub fn metadata(&self, file: &str) -> BTreeMap<String, String> {
        let bytes = self.bytes(file);
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        header.metadata().clone().unwrap().into_iter().collect()
    }

    /// The binary, in this directory and without the variables that could change what it does.
    pub fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bitfit-cli"));
        command.current_dir(self.directory.path()).env("HF_HUB_OFFLINE", "1").env_remove("BITFIT_ISA");
        command
            .env_remove("RAYON_NUM_THREADS")
            .env("HF_HOME", self.path("no-cache"))
            .env_remove("HF_HUB_CACHE")
            .env_remove("HUGGINGFACE_HUB_CACHE")
            .env_remove("SLURM_JOB_ID");
        for variable in ["ID", "MIN", "MAX", "STEP", "COUNT"] {
            command.env_remove(format!("SLURM_ARRAY_TASK_{variable}"));
        }
        default_signals(&mut command);
        command
    }

    /// Runs the binary with a command line, which is split at spaces.
    pub fn run(&self, line: &str) -> Run {
        self.run_with(line, "")
    }

    /// Runs the binary with a command line and with something on stdin.
    pub fn run_with(&self, line: &str, stdin: impl Into<Vec<u8>>) -> Run {
        let output =
            Command::from_std(self.command()).args(line.split_whitespace()).write_stdin(stdin).output().unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fine-tunes quietly into `out`, in the place of an earlier run, with further flags, which must succeed. Returns
    /// the result that was printed.
    pub fn finetune(&self, flags: &str) -> Value {
        let run = self.run(&format!("finetune -q --model model --train train.tsv --out out --overwrite {flags}"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{flags}");
        run.json()
    }
}

impl Run {
    /// The one line on stdout.
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Checks that the run succeeded, and returns what it printed.
    pub fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }
}

/// The keys of an object, in their order.
pub fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The objects of a JSON lines file.
pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Texts with a class each, 0 for blame and 1 for praise: four words that show the class among four others.
pub fn texts(count: usize, seed: u64) -> Vec<(String, usize)> {
    let mut random = Random::new(seed, 0);
    let text = |i: usize| {
        let class = i % 2;
        let mut words = [[BAD, GOOD][class], EITHER]
            .map(|mut words| {
                random.shuffle(&mut words);
                words[..4].to_vec()
            })
            .concat();
        random.shuffle(&mut words);
        (words.join(" "), class)
    };
    (0..count).map(text).collect()
}

/// A tab-separated table.
pub fn table(header: &str, texts: &[(String, usize)], label: impl Fn(usize) -> String) -> String {
    let rows = texts.iter().map(|(text, class)| format!("{text}\t{}\n", label(*class)));
    format!("{header}\n{}", rows.collect::<String>())
}

/// The model: every value is drawn except the scales of the LayerNorms, which are 1. The embeddings of good and bad
/// words are separated, as after pre-training.
pub fn model() -> Tiny {
    let mut model = Tiny::of(json!({
        "model_type": BERT.model_type, "vocab_size": vocabulary().len(), "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": FFN,
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
    }));
    let mut random = Random::new(5, 0);
    for (name, tensor) in &mut model.tensors {
        let (role, is_vector) = (BERT.role(name).unwrap(), tensor.shape.len() == 1);
        for (index, value) in tensor.data.iter_mut().enumerate() {
            let drawn = random.normal() as f32 * 0.3;
            *value = match (role.module, role.part) {
                (Module::WordEmbeddings, _) => drawn + side(index / HIDDEN, index % HIDDEN),
                (_, Part::Weight) if is_vector => 1.0,
                _ => drawn,
            };
        }
    }
    model
}

/// The offset of an element of the word embeddings that separates good and bad words.
fn side(word: usize, column: usize) -> f32 {
    let good = SPECIAL.len()..SPECIAL.len() + GOOD.len();
    let bad = good.end..good.end + BAD.len();
    match column < HIDDEN / 2 {
        true if good.contains(&word) => 1.0,
        true if bad.contains(&word) => -1.0,
        _ => 0.0,
    }
}

fn vocabulary() -> Vec<&'static str> {
    [&SPECIAL[..], &GOOD, &BAD, &EITHER].concat()
}

/// The head's tensors for `classes` classes. `value` gives each element by its index.
pub fn head(classes: usize, value: impl Fn(usize) -> f32) -> BTreeMap<String, TinyTensor> {
    let shapes = [(Part::Weight, vec![classes, HIDDEN]), (Part::Bias, vec![classes])];
    let tensor = |(part, shape): (Part, Vec<usize>)| {
        let data = (0..shape.iter().product()).map(&value).collect();
        (BERT.classifier_name(Pooling::Pooler, part), TinyTensor { dtype: Dtype::F32, shape, data })
    };
    shapes.into_iter().map(tensor).collect()
}

/// The bytes of a safetensors file.
pub fn safetensors(tensors: BTreeMap<String, TinyTensor>) -> Vec<u8> {
    Tiny { config: Value::Null, tensors }.bytes()
}

/// Gives the terminating signals their default action in a program, even if the tests run with some of them ignored, as
/// in the background of a script.
#[cfg(unix)]
fn default_signals(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;

    use nix::sys::signal::{SigHandler, Signal, signal};

    // SAFETY: between fork and exec this makes only calls that are safe in a signal handler, and it installs no
    // function that could run at the wrong moment.
    unsafe {
        command.pre_exec(|| {
            for ending in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
                signal(ending, SigHandler::SigDfl)?;
            }
            Ok(())
        });
    }
}

/// On other systems there are no signals to reset.
#[cfg(not(unix))]
fn default_signals(_: &mut std::process::Command) {}
