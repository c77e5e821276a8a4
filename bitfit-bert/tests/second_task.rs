//! Opening a second task on a base that is already laid out costs no more than the task's own parameters: no weight is
//! laid out or read again, and less than a megabyte is allocated for MiniLM.
//!
//! The part with real weights needs MiniLM: `BITFIT_MINILM` names the model's directory. If it is not set, that part is
//! skipped and prints a line that says so.

mod common;
#[path = "common/counting.rs"]
mod counting;

use bitfit_bert::data::{Kind, Labels};
use bitfit_bert::fixture::Tiny;
use bitfit_bert::heads::{PairEncoding, Pooling, TaskSpec};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::{Base, InitialValues, Model, ModelOptions};
use bitfit_bert::{BiasSelection, Method};
use bitfit_core::Cpu;
use counting::{HIDDEN, MATRIX, counted};

const FFN: usize = 256;
const LAYERS: usize = 2;

fn options(classes: usize, seed: u64) -> ModelOptions {
    let labels = Labels::from_names((0..classes).map(|class| class.to_string()).collect());
    let metrics = vec![Metric::Accuracy];
    ModelOptions {
        spec: TaskSpec {
            kind: Kind::Classify,
            labels,
            pairs: false,
            pair: PairEncoding::Joint,
            span: None,
            pooling: Pooling::Pooler,
            max_length: 16,
            metrics,
        },
        method: Method::BitFit(BiasSelection::all()),
        initial: InitialValues::Drawn { seed },
        dropout: None,
    }
}

/// There is only one test, because the counters apply to the whole process.
#[test]
fn a_second_task_lays_out_nothing_and_costs_what_its_own_numbers_cost() {
    let dir = tempfile::tempdir().unwrap();
    Tiny::of(serde_json::json!({
        "model_type": "bert", "vocab_size": 64, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "intermediate_size": FFN, "max_position_embeddings": 64, "type_vocab_size": 2,
    }))
    .write(dir.path());
    let base = Base::open(&Cpu::default(), dir.path()).unwrap();
    let (first, _, layouts) = counted(|| Model::new(&base, &options(2, 1)).unwrap());
    // Query, key and value are one matrix, or two in the last layer; each layer has three more, and the pooler one.
    assert!(layouts >= 4 * LAYERS + 2, "{layouts} requests of a matrix's size for the first task");
    let (second, bytes, layouts) = counted(|| Model::new(&base, &options(5, 2)).unwrap());
    assert_eq!(layouts, 0, "requests of a matrix's size for the second task");
    assert!(bytes < 2 * MATRIX, "{bytes} bytes for the second task");
    assert_ne!(first.arena().len(), second.arena().len(), "each task has its own head");

    let Some(minilm) = common::minilm() else { return };
    let base = Base::open(&Cpu::default(), &minilm).unwrap();
    Model::new(&base, &options(2, 1)).unwrap();
    let (_, bytes, _) = counted(|| Model::new(&base, &options(2, 2)).unwrap());
    assert!(bytes < 1_000_000, "{bytes} bytes for a second task on MiniLM");
    println!("a second task on MiniLM: {bytes} bytes");
}
