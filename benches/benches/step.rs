//! Whole BitFit training steps on random weights and tokens, dropout on: forward, backward, clipping and AdamW.
//!
//! Criterion's throughput is tokens per second. `benches/src/bin/step.rs` measures the same in a separate process, with
//! its peak memory. In criterion's test mode only MiniLM runs: BERT-base would write 440 MB of weights first.

use std::{path::Path, time::Duration};

use benches::{BASE, MINILM, Step, Task};
use bitfit_bert::heads::Pooling;
use bitfit_bert::{BiasSelection, Method};
use bitfit_core::{Cpu, Precision};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn steps(c: &mut Criterion) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let all = [(MINILM, 16, 66), (BASE, 16, 128)];
    for (size, sequences, tokens) in if benches::is_test() { &all[..1] } else { &all } {
        let mut group = c.benchmark_group(format!("step/{}", size.name));
        group.throughput(Throughput::Elements((sequences * tokens) as u64)).sample_size(10);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(10));
        for precision in Precision::ALL {
            let lengths = vec![*tokens; *sequences];
            // Built only if the filter selects it.
            let mut step = None;
            group.bench_function(BenchmarkId::new(precision.name(), format!("{sequences}x{tokens}")), |b| {
                let step = step.get_or_insert_with(|| {
                    let method = Method::BitFit(BiasSelection::all());
                    let task = Task::Classes(Pooling::Pooler);
                    Step::new(Cpu::default().with_precision(precision), *size, task, method, dir, &lengths)
                });
                b.iter(|| step.run());
            });
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
