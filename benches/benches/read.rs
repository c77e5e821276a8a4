//! Reading a training set of a million rows, as CSV of which every tenth row has quotes, as TSV and as JSON lines:
//! seconds, and the memory of the examples beside the size of the file.
//!
//! `cargo bench -p benches --bench read -- [ROUNDS]`, 3 by default. As a test, a thousand rows. Memory is what the
//! process has more at its peak than before it read, as Linux reports it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use benches::{median, rounds, seconds};
use bitfit_bert::data::{Dataset, ReadOptions};
use bitfit_core::rng::Random;

const WORDS: [&str; 16] = [
    "the", "order", "parcel", "was", "late", "again", "and", "no", "one", "answered", "my", "letters", "about", "it",
    "last", "week",
];
const MIB: f64 = (1 << 20) as f64;

fn main() -> std::io::Result<()> {
    let (rows, rounds) = if benches::is_test() { (1_000, 1) } else { (1_000_000, rounds(3)) };
    for name in ["rows.csv", "rows.tsv", "rows.jsonl"] {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        write(&path, rows)?;
        let size = fs::metadata(&path)?.len() as f64 / MIB;
        // Writing 5 there makes the peak begin anew.
        _ = fs::write("/proc/self/clear_refs", "5");
        let before = memory("VmRSS");
        let read = || Dataset::read(&path, &ReadOptions::default()).map(|set| set.examples.len());
        let time = median((0..rounds).map(|_| seconds(|| assert_eq!(read().ok(), Some(rows)))));
        let more = memory("VmHWM").zip(before).map(|(peak, before)| peak.saturating_sub(before) as f64 / 1024.0);
        let more = more.map_or("unknown".into(), |more| format!("{more:.0} MiB"));
        println!("{name}: {rows} rows, {size:.0} MiB: {time:.2} s, memory {more}");
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Writes rows in the format of the extension.
fn write(path: &Path, rows: usize) -> std::io::Result<()> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let mut file = BufWriter::new(File::create(path)?);
    let mut random = Random::new(11, 0);
    match &*extension {
        "csv" => writeln!(file, "id,text,label")?,
        "tsv" => writeln!(file, "id\ttext\tlabel")?,
        _ => {}
    }
    for row in 0..rows {
        let count = 8 + random.below(16);
        let words: Vec<&str> = (0..count).map(|_| WORDS[random.below(16) as usize]).collect();
        let (text, label) = (words.join(" "), random.below(20));
        match &*extension {
            "csv" if row % 10 == 0 => writeln!(file, "{row},\"{text}, \"\"so\"\" it is\",class {label}")?,
            "csv" => writeln!(file, "{row},{text},class {label}")?,
            "tsv" => writeln!(file, "{row}\t{text}\tclass {label}")?,
            _ => writeln!(file, "{{\"id\": {row}, \"text\": \"{text}\", \"label\": \"class {label}\"}}")?,
        }
    }
    file.flush()
}

/// A line of the process's status, in KiB; `None` where the system does not report it.
fn memory(what: &str) -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(what))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
