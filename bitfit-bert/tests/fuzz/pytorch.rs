//! `pytorch_model.bin` in both formats: as `model.safetensors` in `weights.rs`.

use std::fs;
use std::path::Path;

use crate::runner::{Target, run};
use crate::weights;

const FILE: &str = "pytorch_model.bin";

#[test]
fn fuzz() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/pytorch");
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    let seeds =
        ["zip-f32", "zip-f16", "zip-views", "zip-parameters", "legacy-bf16", "legacy-views", "legacy-parameters"];
    run(Target {
        name: "pytorch",
        memory: 128 << 20,
        seeds: seeds.map(|name| vec![(FILE.into(), read(&format!("{name}.bin")))]).into(),
        fixed: vec![("config.json".into(), read("config.json"))],
        check: Box::new(|dir, _| weights::open(dir, &[FILE])),
    });
}
