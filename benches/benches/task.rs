//! Opening a task on a base that is already laid out: the cost of every further task and seed before its first step.
//!
//! In criterion's test mode only MiniLM runs: BERT-base would write 440 MB of weights first.

use std::path::Path;

use benches::{BASE, MINILM, checkpoint, classes};
use bitfit_bert::heads::Pooling;
use bitfit_bert::model::{Base, Model};
use bitfit_core::Cpu;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn second_task(c: &mut Criterion) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut group = c.benchmark_group("second_task");
    for size in if benches::is_test() { &[MINILM][..] } else { &[MINILM, BASE] } {
        let base = Base::open(&Cpu::default(), &checkpoint(*size, dir)).expect("the bench's model");
        let options = classes(2, Pooling::Pooler);
        // The first task lays the weights out.
        Model::new(&base, &options).expect("a model");
        group.bench_function(BenchmarkId::from_parameter(size.name), |b| {
            b.iter(|| Model::new(&base, &options).expect("a model"));
        });
    }
}

criterion_group!(benches, second_task);
criterion_main!(benches);
