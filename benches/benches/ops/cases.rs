//! The ops with their inputs and outputs, and what one call of each costs.

use benches::Size;
use bitfit_core::{
    Cpu, DType, Device, FrozenMatrix, HostTensor, Precision, Random, Seed, Sequences, Workspace,
    memory::Scratch,
    ops::{
        activation::{Activation, Activations},
        adamw::{AdamW, AdamWStep, Update},
        add_norm::{self, AddNorm},
        attention::{self, Attention, Projections},
        feed_forward::{self, FeedForward},
    },
    rng::Dropout,
    tape::ColumnSums,
};
use rayon::prelude::*;

/// The number of trainable biases of BERT-base.
const BIASES: usize = 102_912;

/// What an op costs, forward and backward.
#[derive(Clone, Copy)]
pub enum Cost {
    /// Multiplications and additions of products in a precision.
    Flops([f64; 2], Precision),
    /// Bytes read and written.
    Bytes([usize; 2]),
}

/// An op with its inputs and outputs.
pub trait Op {
    fn forward(&mut self);
    /// Runs the backward of the op; does nothing for ops without one.
    fn backward(&mut self) {}
}

/// One line of the table.
pub struct Case {
    pub op: &'static str,
    pub shape: String,
    pub cost: Cost,
    pub run: Box<dyn Op>,
}

/// A device in one precision, and its buffers.
struct Room {
    device: Cpu,
    workspace: Workspace<Cpu>,
}

impl Room {
    fn new(precision: Precision) -> Self {
        let device = Cpu::default().with_precision(precision);
        Self { workspace: Workspace::new(device.clone()), device }
    }

    /// Random elements, about as large as activations are.
    fn random(&self, dtype: DType, len: usize) -> Scratch<Cpu> {
        let mut random = Random::new(3, 0);
        let values: Vec<f32> = (0..len).map(|_| random.uniform() as f32 * 2.0 - 1.0).collect();
        let mut scratch = self.workspace.scratch_of(dtype, len).expect("memory");
        self.device.write(&values, scratch.as_mut()).expect("a buffer");
        scratch
    }

    /// A frozen weight of random elements.
    fn weight(&self, out_features: usize, in_features: usize) -> FrozenMatrix<Cpu> {
        let mut random = Random::new(4, 0);
        let values = (0..out_features * in_features).map(|_| (random.uniform() as f32 - 0.5) * 0.07).collect();
        let tensor = HostTensor::new([out_features, in_features], values).expect("a matrix");
        FrozenMatrix::new(&self.device, &[tensor]).expect("a weight")
    }
}

fn dropout() -> Option<Dropout> {
    Dropout::new(Seed { run: 5, step: 1 }, 0, 0.1)
}

fn bytes(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 4,
        DType::Bf16 => 2,
    }
}

/// Bias, dropout, residual and layer norm.
pub struct AddNormOp {
    room: Room,
    cols: usize,
    x: Scratch<Cpu>,
    residual: Scratch<Cpu>,
    vectors: [Scratch<Cpu>; 3],
    y: Scratch<Cpu>,
    normalized: Scratch<Cpu>,
    rstd: Scratch<Cpu>,
    sums: Scratch<Cpu>,
    dr: Scratch<Cpu>,
    dx: Scratch<Cpu>,
}

impl AddNormOp {
    pub fn case(tokens: usize, size: Size, precision: Precision) -> Case {
        let dtype = precision.activation_dtype();
        let (room, cols) = (Room::new(precision), size.hidden);
        let len = tokens * cols;
        let run = Self {
            cols,
            x: room.random(dtype, len),
            residual: room.random(DType::F32, len),
            vectors: std::array::from_fn(|_| room.random(DType::F32, cols)),
            y: room.random(DType::F32, len),
            normalized: room.random(dtype, len),
            rstd: room.random(DType::F32, tokens),
            sums: room.random(DType::F32, 3 * cols),
            dr: room.random(DType::F32, len),
            dx: room.random(dtype, len),
            room,
        };
        // x, r, y, x̂; then dy, x̂, dr, dx.
        let cost = Cost::Bytes([len * (2 * bytes(dtype) + 8); 2]);
        Case { op: "add_norm", shape: format!("{tokens}x{cols} {precision}"), cost, run: Box::new(run) }
    }
}

impl Op for AddNormOp {
    fn forward(&mut self) {
        let [linear_bias, gamma, beta] = self.vectors.each_ref().map(Scratch::as_ref);
        let input = add_norm::Input {
            cols: self.cols,
            x: self.x.as_ref(),
            linear_bias: Some(linear_bias),
            residual: Some(self.residual.as_ref()),
            gamma,
            beta,
            dropout: dropout(),
            eps: 1e-12,
        };
        let saved = add_norm::Saved { normalized: self.normalized.as_mut(), rstd: self.rstd.as_mut() };
        let output = add_norm::Output { y: self.y.as_mut(), rounded: None, saved: Some(saved) };
        self.room.device.add_norm(input, output).expect("a pass");
    }

    fn backward(&mut self) {
        let input = add_norm::BackwardInput {
            cols: self.cols,
            dy: self.residual.as_ref(),
            gamma: self.vectors[1].as_ref(),
            saved: Some((self.normalized.as_ref(), self.rstd.as_ref())),
            dropout: dropout(),
        };
        // As in BitFit: β and b train, γ does not.
        let sums = ColumnSums { buffer: self.sums.as_mut(), at: [Some(0), Some(self.cols), None] };
        let output = add_norm::BackwardOutput { sums, residual: Some(self.dr.as_mut()), x: Some(self.dx.as_mut()) };
        self.room.device.add_norm_backward(input, output).expect("a pass");
    }
}

/// Attention over packed projections.
pub struct AttentionOp {
    room: Room,
    size: Size,
    sequences: Sequences<Cpu>,
    qkv: Scratch<Cpu>,
    o: Scratch<Cpu>,
    lse: Scratch<Cpu>,
    dy: Scratch<Cpu>,
    dqkv: Scratch<Cpu>,
}

impl AttentionOp {
    pub fn case([count, length]: [usize; 2], size: Size, precision: Precision) -> Case {
        let dtype = precision.activation_dtype();
        let (room, tokens) = (Room::new(precision), count * length);
        let run = Self {
            sequences: Sequences::new(&room.device, vec![length; count]).expect("sequences"),
            qkv: room.random(dtype, tokens * 3 * size.hidden),
            o: room.random(dtype, tokens * size.hidden),
            lse: room.random(DType::F32, tokens * size.heads),
            dy: room.random(dtype, tokens * size.hidden),
            dqkv: room.random(dtype, tokens * 3 * size.hidden),
            size,
            room,
        };
        // Two products in forward; five in backward, the first of which is recomputed.
        let product = 2.0 * (tokens * length * size.hidden) as f64;
        // In int8, attention's products are those of bf16.
        let factors = if precision == Precision::Int8 { Precision::Bf16 } else { precision };
        let cost = Cost::Flops([2.0 * product, 5.0 * product], factors);
        let shape = format!("{count}x{length}x{}h{} {precision}", size.heads, size.hidden / size.heads);
        Case { op: "attention", shape, cost, run: Box::new(run) }
    }

    fn input<'a>(size: Size, sequences: &'a Sequences<Cpu>, qkv: &'a Scratch<Cpu>) -> attention::Input<'a, Cpu> {
        attention::Input {
            projections: Projections::Packed(qkv.as_ref()),
            heads: size.heads,
            head_dim: size.hidden / size.heads,
            queries: sequences,
            keys: sequences,
            position_bias: None,
            dropout: dropout(),
        }
    }
}

impl Op for AttentionOp {
    fn forward(&mut self) {
        let input = Self::input(self.size, &self.sequences, &self.qkv);
        self.room.device.attention(&input, self.o.as_mut(), Some(self.lse.as_mut())).expect("a pass");
    }

    fn backward(&mut self) {
        let input = Self::input(self.size, &self.sequences, &self.qkv);
        let (lse, dy) = (self.lse.as_ref(), self.dy.as_ref());
        let gradient = Projections::Packed(self.dqkv.as_mut());
        self.room.device.attention_backward(&input, lse, dy, gradient, None).expect("a pass");
    }
}

/// Both products of a feed-forward, with the GELU between them.
pub struct FeedForwardOp {
    room: Room,
    up: FrozenMatrix<Cpu>,
    down: FrozenMatrix<Cpu>,
    bias: Scratch<Cpu>,
    x: Scratch<Cpu>,
    hidden: Scratch<Cpu>,
    derivative: Scratch<Cpu>,
    y: Scratch<Cpu>,
    sums: Scratch<Cpu>,
    dx: Scratch<Cpu>,
}

impl FeedForwardOp {
    pub fn case(tokens: usize, size: Size, precision: Precision) -> Case {
        let dtype = precision.activation_dtype();
        let (room, h, f) = (Room::new(precision), size.hidden, size.ffn);
        let run = Self {
            up: room.weight(f, h),
            down: room.weight(h, f),
            bias: room.random(DType::F32, f),
            x: room.random(DType::F32, tokens * h),
            hidden: room.random(dtype, tokens * f),
            derivative: room.random(dtype, tokens * f),
            y: room.random(dtype, tokens * h),
            sums: room.random(DType::F32, f),
            dx: room.random(DType::F32, tokens * h),
            room,
        };
        let cost = Cost::Flops([4.0 * (tokens * h * f) as f64; 2], precision);
        Case { op: "feed_forward", shape: format!("{tokens}x{h}x{f} {precision}"), cost, run: Box::new(run) }
    }
}

impl Op for FeedForwardOp {
    fn forward(&mut self) {
        let input = feed_forward::Input {
            x: self.x.as_ref(),
            up: self.up.matrix(),
            bias: self.bias.as_ref(),
            down: self.down.matrix(),
        };
        let derivative = Some(self.derivative.as_mut());
        self.room.device.feed_forward(input, self.hidden.as_mut(), derivative, self.y.as_mut()).expect("a pass");
    }

    fn backward(&mut self) {
        let input = feed_forward::BackwardInput {
            dy: self.y.as_ref(),
            derivative: self.derivative.as_ref(),
            up: self.up.matrix(),
            down: self.down.matrix(),
        };
        let sums = ColumnSums { buffer: self.sums.as_mut(), at: [Some(0)] };
        // The gradient of the residual stream already exists, and is added to.
        let dx = Some((self.dx.as_mut(), true));
        self.room.device.feed_forward_backward(input, self.hidden.as_mut(), sums, dx).expect("a pass");
    }
}

/// The GELU by itself.
pub struct Gelu {
    room: Room,
    x: Scratch<Cpu>,
    y: Scratch<Cpu>,
    slope: Scratch<Cpu>,
}

impl Gelu {
    pub fn case(tokens: usize, size: Size) -> Case {
        let (room, len) = (Room::new(Precision::F32), tokens * size.ffn);
        let [x, y, slope] = std::array::from_fn(|_| room.random(DType::F32, len));
        let shape = format!("{tokens}x{} f32", size.ffn);
        // x, y, the derivative; then dy, the derivative, dx.
        Case { op: "gelu", shape, cost: Cost::Bytes([12 * len; 2]), run: Box::new(Self { room, x, y, slope }) }
    }
}

impl Op for Gelu {
    fn forward(&mut self) {
        let slope = Some(self.slope.as_mut());
        self.room.device.activate(Activation::Gelu, self.x.as_ref(), self.y.as_mut(), slope).expect("a pass");
    }

    fn backward(&mut self) {
        let (dy, saved, dx) = (self.x.as_ref(), self.slope.as_ref(), self.y.as_mut());
        self.room.device.activate_backward(Activation::Gelu, dy, saved, dx, false).expect("a pass");
    }
}

/// The generation of a dropout mask, which is a part of add_norm and attention.
pub struct Factors {
    device: Cpu,
    out: Vec<f32>,
}

impl Factors {
    /// The number of elements that are drawn at once.
    const BLOCK: usize = 1 << 13;

    pub fn case(tokens: usize, size: Size) -> Case {
        let len = tokens * size.hidden;
        let run = Self { device: Cpu::default(), out: vec![0.0; len] };
        let shape = format!("{tokens}x{} f32", size.hidden);
        Case { op: "dropout_factors", shape, cost: Cost::Bytes([4 * len, 0]), run: Box::new(run) }
    }
}

impl Op for Factors {
    fn forward(&mut self) {
        let (isa, dropout) = (self.device.isa(), dropout().expect("a tenth is dropped"));
        self.out
            .par_chunks_mut(Self::BLOCK)
            .enumerate()
            .for_each(|(block, out)| dropout.factors(isa, (block * Self::BLOCK) as u64, out));
    }
}

/// The optimizer's step over everything that trains, with clipping.
pub struct AdamWOp {
    room: Room,
    windows: [Scratch<Cpu>; 4],
    norm: Scratch<Cpu>,
    step: u64,
}

impl AdamWOp {
    pub fn case() -> Case {
        let room = Room::new(Precision::F32);
        let zeros = |len| {
            let mut scratch = room.random(DType::F32, len);
            room.device.fill(0.0, scratch.as_mut()).expect("a buffer");
            scratch
        };
        let windows = [zeros(BIASES), room.random(DType::F32, BIASES), zeros(BIASES), zeros(BIASES)];
        let norm = zeros(1);
        let run = Self { windows, norm, room, step: 0 };
        // g for its norm; then p, g, m, v, and p, m, v again.
        let cost = Cost::Bytes([32 * BIASES, 0]);
        Case { op: "adamw", shape: format!("{BIASES} f32"), cost, run: Box::new(run) }
    }
}

impl Op for AdamWOp {
    fn forward(&mut self) {
        self.step += 1;
        let [params, grads, m, v] = &mut self.windows;
        let update = Update {
            params: params.as_mut(),
            grads: grads.as_ref(),
            m: m.as_mut(),
            v: v.as_mut(),
            hyper: AdamW::default(),
            lr: 1e-3,
            step: self.step,
            max_norm: Some(1.0),
            norm: self.norm.as_mut(),
        };
        self.room.device.adamw(update).expect("a step");
    }
}
