//! A directory with a random BERT of two layers and two sets of labelled texts, and the binary run in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use bitfit_core::Random;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const HIDDEN: usize = 16;
pub const LAYERS: usize = 2;
pub const POSITIONS: usize = 48;
const HEADS: usize = 2;
const FFN: usize = 32;

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const GOOD: [&str; 12] =
    ["good", "great", "lovely", "happy", "fine", "bright", "warm", "kind", "calm", "fresh", "sweet", "brave"];
const BAD: [&str; 12] =
    ["bad", "awful", "nasty", "sad", "poor", "dark", "cold", "cruel", "loud", "stale", "bitter", "weak"];
const EITHER: [&str; 12] = ["the", "a", "day", "was", "is", "meal", "room", "and", "so", "very", "one", "film"];

/// A shape by the names that stand for its extents.
type Shapes = BTreeMap<String, Vec<usize>>;

/// Everything a run needs, gone at the end of the test.
pub struct World {
    directory: TempDir,
}

/// How the binary ended.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    /// A model in `model`, 64 texts in `train.tsv` and 32 in `dev.tsv`, with the header text<TAB>label and the labels
    /// praise and blame.
    pub fn new() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(world.path("model")).unwrap();
        let vocabulary = [&SPECIAL[..], &GOOD, &BAD, &EITHER].concat();
        world.write("model/vocab.txt", vocabulary.join("\n"));
        world.write("model/config.json", config(vocabulary.len()).to_string());
        world.write_weights(&shapes(vocabulary.len()));
        world.write("train.tsv", table("text\tlabel", &texts(64, 1), |class| ["blame", "praise"][class].into()));
        world.write("dev.tsv", table("text\tlabel", &texts(32, 2), |class| ["blame", "praise"][class].into()));
        world
    }

    /// The place of a file.
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

    /// The names in a directory, sorted; empty where there is none.
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

    /// Takes tensors out of the model.
    pub fn remove_tensors(&self, unwanted: impl Fn(&str) -> bool) {
        let mut shapes = self.tensors("model/model.safetensors");
        shapes.retain(|name, _| !unwanted(name));
        self.write_weights(&shapes);
    }

    /// Names and shapes of a safetensors file.
    pub fn tensors(&self, file: &str) -> Shapes {
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

    /// The weights of the model: every value drawn anew, but LayerNorm weights of 1, and good words on another side
    /// than bad ones, as pre-training would put them.
    fn write_weights(&self, shapes: &Shapes) {
        let mut random = Random::new(5, 0);
        let words = SPECIAL.len()..SPECIAL.len() + GOOD.len() + BAD.len();
        let mut value = |name: &str, index: usize| {
            let (row, column) = (index / HIDDEN, index % HIDDEN);
            let drawn = random.normal() as f32 * 0.3;
            match name {
                "embeddings.word_embeddings.weight" if words.contains(&row) && column < HIDDEN / 2 => {
                    drawn + if row < SPECIAL.len() + GOOD.len() { 1.0 } else { -1.0 }
                }
                _ if name.ends_with("LayerNorm.weight") => 1.0,
                _ => drawn,
            }
        };
        let values: Vec<Vec<u8>> = shapes
            .iter()
            .map(|(name, shape)| (0..shape.iter().product()).flat_map(|i| value(name, i).to_le_bytes()).collect())
            .collect();
        self.write_tensors("model/model.safetensors", shapes, &values);
    }

    /// A safetensors file of given bytes.
    pub fn write_tensors(&self, file: &str, shapes: &Shapes, values: &[Vec<u8>]) {
        let views = shapes
            .iter()
            .zip(values)
            .map(|((name, shape), bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
        self.write(file, safetensors::serialize(views, None).unwrap());
    }

    /// The binary, in this directory and with nothing of the surroundings that could change what it does.
    pub fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bitfit-cli"));
        command.current_dir(self.directory.path()).env("HF_HUB_OFFLINE", "1").env_remove("BITFIT_ISA");
        command.env("HF_HOME", self.path("no-cache")).env_remove("HF_HUB_CACHE").env_remove("HUGGINGFACE_HUB_CACHE");
        default_signals(&mut command);
        command
    }

    /// Runs the binary with a command line, which is split at spaces.
    pub fn run(&self, line: &str) -> Run {
        self.run_with(line, "")
    }

    /// The same with something on stdin.
    pub fn run_with(&self, line: &str, stdin: impl Into<Vec<u8>>) -> Run {
        let output =
            Command::from_std(self.command()).args(line.split_whitespace()).write_stdin(stdin).output().unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fine-tunes quietly into `out`, with further flags, which must succeed. Returns the result that was printed.
    pub fn finetune(&self, flags: &str) -> Value {
        let run = self.run(&format!("finetune -q --model model --train train.tsv --out out {flags}"));
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

/// Texts with a class each, 0 for blame and 1 for praise: four words that tell it among others that do not.
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

fn config(vocabulary: usize) -> Value {
    json!({
        "model_type": "bert", "vocab_size": vocabulary, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "intermediate_size": FFN, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
    })
}

fn shapes(vocabulary: usize) -> Shapes {
    let mut shapes = Shapes::new();
    let mut add = |name: String, shape: &[usize]| _ = shapes.insert(name, shape.to_vec());
    for (name, rows) in [("word", vocabulary), ("position", POSITIONS), ("token_type", 2)] {
        add(format!("embeddings.{name}_embeddings.weight"), &[rows, HIDDEN]);
    }
    let mut both = |name: &str, output: usize, input: Option<usize>| {
        let weight = [Some(output), input].into_iter().flatten().collect::<Vec<_>>();
        add(format!("{name}.weight"), &weight);
        add(format!("{name}.bias"), &[output]);
    };
    both("embeddings.LayerNorm", HIDDEN, None);
    both("pooler.dense", HIDDEN, Some(HIDDEN));
    for layer in 0..LAYERS {
        for name in ["self.query", "self.key", "self.value", "output.dense"] {
            both(&format!("encoder.layer.{layer}.attention.{name}"), HIDDEN, Some(HIDDEN));
        }
        both(&format!("encoder.layer.{layer}.attention.output.LayerNorm"), HIDDEN, None);
        both(&format!("encoder.layer.{layer}.intermediate.dense"), FFN, Some(HIDDEN));
        both(&format!("encoder.layer.{layer}.output.dense"), HIDDEN, Some(FFN));
        both(&format!("encoder.layer.{layer}.output.LayerNorm"), HIDDEN, None);
    }
    shapes
}

/// Gives the ending signals their default action in a program, even where the tests run with some ignored, as in a
/// script's background.
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

/// Elsewhere there are no signals to reset.
#[cfg(not(unix))]
fn default_signals(_: &mut std::process::Command) {}
