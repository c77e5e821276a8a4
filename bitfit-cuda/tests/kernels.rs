//! Checks that NVRTC compiles every kernel of every op, for architectures from Turing to Blackwell and as PTX, and that
//! the results contain every kernel that is launched. The test needs no driver and no GPU.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread,
};

use bitfit_cuda::{Error, Target, compile_all, source_names};

mod common;

/// The text of every Rust file below a directory, without comments.
fn rust(directory: &Path) -> Vec<String> {
    let paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let text = |path: &PathBuf| {
        let code = |line: &&str| !line.trim_start().starts_with("//");
        fs::read_to_string(path).unwrap().lines().filter(code).collect::<Vec<_>>().join("\n")
    };
    let (directories, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    let files = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.map(text).chain(directories.iter().flat_map(|directory| rust(directory))).collect()
}

/// The names of all kernels that the crate launches, collected from its sources: with the suffixes that `kernel!` adds,
/// and the names that attention's `names!` composes.
fn launched() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for text in rust(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        for (at, _) in text.match_indices("\"bitfit_") {
            let (before, rest) = text.split_at(at);
            let (stem, behind) = rest[1..].split_once('"').unwrap();
            // The text after a macro's first argument, up to its closing parenthesis.
            let mut depth = 0;
            let inside = |c: &char| {
                depth += i32::from(*c == '(') - i32::from(*c == ')');
                depth >= 0
            };
            let arguments: String = behind.chars().take_while(inside).collect();
            let types = ["f32", "bf16"];
            if before.ends_with("kernel!(") {
                match arguments.matches(", ").count() {
                    1 => names.extend(types.map(|a| format!("{stem}_{a}"))),
                    2 => names.extend(types.iter().flat_map(|a| types.map(|b| format!("{stem}_{a}_{b}")))),
                    count => panic!("{stem} with {count} types"),
                }
            } else if before.ends_with("names!(") {
                let parts = arguments.replace('"', "");
                let [_, columns, suffix] = parts.split(", ").collect::<Vec<_>>().try_into().unwrap();
                names.extend(["_", "_dq_", "_dkv_"].map(|way| format!("{stem}{way}{columns}{suffix}")));
            } else {
                names.insert(stem.to_string());
            }
        }
    }
    names
}

/// The names of kernels in an image, machine code or PTX: its words that begin with `bitfit_`, except the names of
/// parameters and of shared memory.
fn contained(image: &[u8]) -> BTreeSet<String> {
    let of_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let words = image.split(|byte| !of_word(byte)).filter(|word| word.starts_with(b"bitfit_"));
    let names = words.map(|word| String::from_utf8_lossy(word).into_owned());
    names.filter(|name| !name.contains("_param_") && name != "bitfit_dynamic_shared").collect()
}

#[test]
fn every_kernel_compiles_for_every_architecture() {
    let launched = launched();
    assert!(launched.len() > 50, "the sources name only {launched:?}");
    // Turing's tensor cores do not support bfloat16, so it uses other kernels for attention.
    let stems = ["bitfit_attention_mma", "bitfit_attention_short"];
    let (of_tensor_cores, of_all): (BTreeSet<_>, BTreeSet<_>) =
        launched.into_iter().partition(|name| stems.iter().any(|stem| name.starts_with(stem)));
    assert_eq!(of_tensor_cores.len(), 9 + 8);
    let targets = [75, 80, 90, 100].map(Target::Machine).into_iter().chain([Target::Virtual(75)]);
    // NVRTC compiles on several threads at a time.
    let compiled = thread::scope(|scope| {
        let threads: Vec<_> = targets.map(|target| (target, scope.spawn(move || compile_all(target)))).collect();
        threads.into_iter().map(|(target, thread)| (target, thread.join().unwrap())).collect::<Vec<_>>()
    });
    for (target, compiled) in compiled {
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error @ Error::NoCompiler) => return common::skip("NVRTC", &error.to_string()),
            Err(error) => panic!("{error}"),
        };
        let names: Vec<_> = compiled.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, source_names());
        let found: BTreeSet<_> = compiled.iter().flat_map(|(_, image)| contained(image)).collect();
        let mut expected = of_all.clone();
        if !matches!(target, Target::Machine(75) | Target::Virtual(75)) {
            expected.extend(of_tensor_cores.clone());
        }
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(missing.is_empty(), "{target} lacks {missing:?}");
        let unused: Vec<_> = found.difference(&expected).collect();
        assert!(unused.is_empty(), "{target} has {unused:?}, which no code launches");
    }
}
