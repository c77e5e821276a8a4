//! What a training step allocates once its buffers exist: bookkeeping, and nothing of the size of a matrix.
//!
//! This is a separate test binary, because the counting allocator applies to the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bitfit_core::ops::add_norm::AddNormArgs;
use bitfit_core::ops::attention::{AttentionArgs, Projections};
use bitfit_core::optim::{AdamW, ArenaOptimizer};
use bitfit_core::{
    Arena, ArenaBuilder, Cpu, FrozenMatrix, Gradient, HostTensor, Indices, Mask, Param, Precision, Random, Seed,
    Sequences, Tape, Weight, Workspace,
};

/// The system's allocator, which records the largest request and the sum of all.
struct Counting {
    largest: AtomicUsize,
    total: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { largest: AtomicUsize::new(0), total: AtomicUsize::new(0) };

impl Counting {
    fn note(&self, size: usize) {
        self.largest.fetch_max(size, Relaxed);
        self.total.fetch_add(size, Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator; recording a size neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.note(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.note(size);
        // SAFETY: the caller's promise; `at` came from the system's allocator.
        unsafe { System.realloc(at, layout, size) }
    }
}

const HIDDEN: usize = 64;
const FFN: usize = 256;
const LENGTHS: [usize; 4] = [130, 7, 64, 90];
const TOKENS: usize = 130 + 7 + 64 + 90;

fn random(seed: u64, shape: &[usize]) -> HostTensor {
    let mut random = Random::new(seed, 0);
    let data = (0..shape.iter().product()).map(|_| random.normal() as f32 * 0.1).collect();
    HostTensor::new(shape, data).unwrap()
}

/// One encoder layer over an embedding, with every bias training.
struct Network {
    table: Param<Cpu>,
    weights: [Weight<Cpu>; 4],
    head: Weight<Cpu>,
    gamma: Param<Cpu>,
    biases: [Param<Cpu>; 6],
    ids: Indices<Cpu>,
    labels: Indices<Cpu>,
    sequences: Sequences<Cpu>,
    first: Indices<Cpu>,
}

impl Network {
    fn new(device: &Cpu) -> (Self, Arena<Cpu>) {
        let mut arena = ArenaBuilder::new(device.clone());
        let matrix = |seed, shape| Weight::from(FrozenMatrix::new(device, &[random(seed, shape)]).unwrap());
        let weights = [
            matrix(2, &[3 * HIDDEN, HIDDEN]),
            matrix(3, &[HIDDEN, HIDDEN]),
            matrix(4, &[FFN, HIDDEN]),
            matrix(5, &[HIDDEN, FFN]),
        ];
        let sizes = [("0", 3 * HIDDEN), ("1", HIDDEN), ("2", HIDDEN), ("3", FFN), ("4", HIDDEN), ("5", HIDDEN)];
        let biases = sizes.map(|(name, len)| arena.add(name, random(9, &[len]), Mask::All).unwrap());
        let sequences = Sequences::new(device, LENGTHS).unwrap();
        let network = Self {
            table: arena.freeze(&random(1, &[50, HIDDEN])).unwrap().into(),
            weights,
            head: arena.weight("head", random(6, &[3, HIDDEN]), Mask::All).unwrap(),
            gamma: arena.freeze(&HostTensor::new([HIDDEN], vec![1.0; HIDDEN]).unwrap()).unwrap().into(),
            biases,
            ids: Indices::new(device, &(0..TOKENS as u32).map(|i| i % 50).collect::<Vec<_>>()).unwrap(),
            labels: Indices::new(device, &[0, 2, 1, 0]).unwrap(),
            first: Indices::new(device, sequences.starts()).unwrap(),
            sequences,
        };
        (network, arena.build().unwrap())
    }

    fn backward(&self, workspace: &Workspace<Cpu>, arena: &Arena<Cpu>, gradient: &mut Gradient<Cpu>, step: u64) {
        gradient.clear(arena.device()).unwrap();
        let mut tape = Tape::train(workspace, arena, Seed { run: 1, step });
        let [qkv, projection, up, down] = &self.weights;
        let [qkv_bias, b1, beta1, b2, b3, beta2] = &self.biases;
        let norm = |bias, residual, beta| {
            let args = AddNormArgs::new(&self.gamma, beta).with_residual(residual).with_linear_bias(bias);
            args.with_dropout(0.1).with_eps(1e-12)
        };
        let x = tape.embedding_sum(&[(&self.ids, &self.table)]).unwrap();
        let qkv = tape.linear(&x, qkv, &[qkv_bias]).unwrap();
        let args = AttentionArgs::new(4, &self.sequences).with_dropout(0.1);
        let attended = tape.attention(Projections::Packed(&qkv), &args).unwrap();
        let projected = tape.linear(&attended, projection, &[]).unwrap();
        let h = tape.add_norm(&projected, &norm(b1, &x, beta1)).unwrap();
        let y = tape.feed_forward(&h, up, b2, down).unwrap();
        let y = tape.add_norm(&y, &norm(b3, &h, beta2)).unwrap();
        let first = tape.gather_rows(&y, &self.first).unwrap();
        let logits = tape.linear(&first, &self.head, &[]).unwrap();
        let loss = tape.cross_entropy(&logits, &self.labels).unwrap();
        tape.backward(&loss, gradient).unwrap();
    }
}

#[test]
fn a_step_allocates_bookkeeping_and_no_buffers() {
    // One thread, because with several it is random which of them first runs a task and allocates memory for it.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        for precision in Precision::ALL {
            let device = Cpu::default().with_precision(precision);
            let (network, mut arena) = Network::new(&device);
            let workspace = Workspace::new(device);
            let mut optimizer = ArenaOptimizer::new(&arena, AdamW::default()).unwrap();
            let mut gradient = arena.gradient().unwrap();
            let mut step = |step| {
                ALLOCATOR.largest.store(0, Relaxed);
                ALLOCATOR.total.store(0, Relaxed);
                network.backward(&workspace, &arena, &mut gradient, step);
                optimizer.step(&mut arena, &gradient, 1e-3, Some(1.0)).unwrap();
                (ALLOCATOR.largest.load(Relaxed), ALLOCATOR.total.load(Relaxed))
            };
            let (first, _) = step(0);
            assert!(first >= TOKENS * FFN * 2, "the first step makes its buffers, the largest of {first} bytes");
            (1..5).for_each(|warm| _ = step(warm));
            let (largest, total) = step(5);
            // The largest request is the buffer into which matrixmultiply packs the trainable weight of the head.
            assert!(largest <= 8192 && total <= 32768, "{precision:?}: {largest} bytes at once, {total} in all");
        }
    });
}
