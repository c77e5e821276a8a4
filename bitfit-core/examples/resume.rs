//! Forty steps at once, and twenty, a file, and twenty more in new objects: the same bits, with dropout and AdamW. Run
//! it with `cargo run -p bitfit-core --features safetensors --example resume`.

use bitfit_core::{
    Arena, ArenaBuilder, Cpu, HostTensor, Indices, Mask, Random, Result, RowsOf, Seed, State, Tape, Weight, Workspace,
    optim::{AdamW, ArenaOptimizer, Optimizer},
};

fn network(head_rows: Vec<u32>) -> Result<(Arena<Cpu>, [Weight<Cpu>; 2])> {
    let (mut builder, mut random) = (ArenaBuilder::new(Cpu::default()), Random::new(3, 0));
    let mut weight = |name, shape, mask| builder.weight(name, HostTensor::normal(shape, 0.5, &mut random), mask);
    let weights =
        [weight("hidden", [16, 8], Mask::Columns(vec![1, 4, 5]))?, weight("head", [4, 16], Mask::Rows(head_rows))?];
    Ok((builder.build()?, weights))
}

/// Runs the steps `steps`. What a step does depends on its number alone: the batch and the seed of dropout.
fn run(
    arena: &mut Arena<Cpu>,
    weights: &[Weight<Cpu>; 2],
    optimizer: &mut ArenaOptimizer<Cpu>,
    steps: std::ops::Range<u64>,
) -> Result<()> {
    let workspace = Workspace::new(Cpu::default());
    let mut gradient = arena.gradient()?;
    for step in steps {
        let mut random = Random::new(step, 1);
        let input: Vec<f32> = (0..10 * 8).map(|_| random.normal() as f32).collect();
        let class = |row: &[f32]| u32::from(row[0] > 0.0) + 2 * u32::from(row[1] > 0.0);
        let classes: Vec<u32> = input.chunks(8).map(class).collect();
        let mut tape = Tape::train(&workspace, arena, Seed { run: 7, step });
        let h = tape.linear(&tape.input(10, 8, &input)?, &weights[0], &[])?;
        let h = tape.gelu(&h)?;
        let h = tape.dropout(&h, 0.2, RowsOf::Tokens)?;
        let logits = tape.linear(&h, &weights[1], &[])?;
        let loss = tape.cross_entropy(&logits, &Indices::new(arena.device(), &classes)?)?;
        gradient.clear(workspace.device())?;
        tape.backward(&loss, &mut gradient)?;
        optimizer.step(arena, &gradient, 1e-2, Some(1.0))?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let (mut whole, weights) = network(vec![0, 2, 3])?;
    let mut optimizer = ArenaOptimizer::new(&whole, AdamW::default())?;
    run(&mut whole, &weights, &mut optimizer, 0..40)?;

    let (mut first, weights) = network(vec![0, 2, 3])?;
    let mut optimizer = ArenaOptimizer::new(&first, AdamW::default())?;
    run(&mut first, &weights, &mut optimizer, 0..20)?;
    let file = first.state()?.with_optimizer(&optimizer)?.to_safetensors()?;

    let state = State::from_safetensors(&file)?;
    let (mut second, weights) = network(vec![0, 2, 3])?;
    second.load(&state)?;
    let mut optimizer = ArenaOptimizer::new(&second, AdamW::default())?;
    optimizer.load(&state.optimizer_for(&second)?)?;
    run(&mut second, &weights, &mut optimizer, 20..40)?;

    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(second.read()?), bits(whole.read()?));
    println!("{} values have the same bits, by way of a file of {} bytes", whole.len(), file.len());
    // As many values under another mask are not taken for these.
    println!("{}", network(vec![0, 1, 2])?.0.load(&state).unwrap_err());
    Ok(())
}
