//! Tests of PyTorch's files: against PyTorch's own, against files that are written here, and against hostile ones.

use std::fs;
use std::path::{Path, PathBuf};

use bitfit_core::Random;
use safetensors::Dtype;
use tempfile::tempdir;

use super::testing::{
    FOUR, Pickler, View, ZipEntry, file_of, legacy_file, write, zip, zip_entries, zip_entry, zip_file,
};
use super::*;
use crate::checkpoint::Checkpoint;
use crate::fixture::Tiny;
use crate::{Error, config};

const QUERY: &str = "encoder.layer.0.attention.self.query.weight";

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/pytorch")
}

/// The checkpoint of the goldens' configuration and these files, each with its name in the directory.
fn open(files: &[(&str, &str)]) -> Checkpoint {
    let dir = tempdir().unwrap();
    for (from, to) in [(config::FILE_NAME, config::FILE_NAME)].iter().chain(files) {
        fs::copy(goldens().join(from), dir.path().join(to)).unwrap();
    }
    Checkpoint::open(dir.path()).unwrap()
}

fn from_bytes(tiny: &Tiny, file: &[u8]) -> Result<Checkpoint> {
    let dir = tempdir().unwrap();
    write(tiny, file, dir.path());
    Checkpoint::open(dir.path())
}

/// Why a file is refused, in one line with its name.
fn refusal(file: &[u8]) -> String {
    let error = from_bytes(&Tiny::new(), file).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("pytorch_model.bin: ") && !message.contains(char::is_control), "{message:?}");
    message
}

/// Why a state dict of one tensor, over 16 bytes of storage 0, is refused.
fn refused_view(view: View<'_>) -> String {
    refusal(&zip_file(&Pickler::state(&[("a", view)]), &[("0", &[0; 16])]))
}

#[test]
fn pytorchs_own_files_have_the_fingerprints_of_the_same_weights_as_safetensors() {
    let fingerprint =
        |dtype: &str| open(&[(&format!("{dtype}.safetensors"), "model.safetensors")]).fingerprint().unwrap();
    for dtype in ["f32", "f16", "bf16"] {
        for format in ["zip", "legacy"] {
            let base = open(&[(&format!("{format}-{dtype}.bin"), SINGLE)]);
            assert_eq!(base.fingerprint().unwrap(), fingerprint(dtype), "{format} {dtype}");
            assert!(base.has_pooler());
        }
    }
    for file in ["zip-views.bin", "legacy-views.bin", "zip-parameters.bin", "legacy-parameters.bin"] {
        assert_eq!(open(&[(file, SINGLE)]).fingerprint().unwrap(), fingerprint("f32"), "{file}");
    }
    let shards =
        ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", INDEX].map(|name| (name, name));
    assert_eq!(open(&shards).fingerprint().unwrap(), fingerprint("f32"));
}

/// The name of a tensor that is large enough not to be copied.
const WORDS: &str = "embeddings.word_embeddings.weight";

#[test]
fn tensors_come_out_as_they_went_in() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let mut tiny = Tiny::new();
        tiny.config["vocab_size"] = 3000.into();
        tiny.add(WORDS, &[3000, 8], dtype);
        // Multiples of 1/8 below 16 are exact in either type.
        for (i, tensor) in tiny.tensors.values_mut().enumerate() {
            tensor.dtype = dtype;
            tensor.data.iter_mut().enumerate().for_each(|(j, x)| *x = ((i + j) % 128) as f32 / 8.0 - 8.0);
        }
        for is_legacy in [false, true] {
            let base = from_bytes(&tiny, &file_of(&tiny, is_legacy)).unwrap();
            assert!(base.path().ends_with(SINGLE));
            for (name, tensor) in &tiny.tensors {
                let read = base.tensor(base.architecture().role(name).unwrap()).unwrap();
                assert_eq!((read.shape(), read.data()), (&tensor.shape[..], &tensor.data[..]), "{name}");
                // PyTorch aligns the storages of a zip archive. Small tensors are copied.
                assert!(read.is_shared() || is_legacy || dtype != Dtype::F32 || name != WORDS, "{name} is copied");
            }
            assert_eq!(base.fingerprint().unwrap(), tiny.open().fingerprint().unwrap());
        }
    }
}

#[test]
fn safetensors_are_preferred() {
    let tiny = Tiny::new();
    let dir = tempdir().unwrap();
    tiny.write(dir.path());
    write(&tiny, b"not read", dir.path());
    assert!(Checkpoint::open(dir.path()).unwrap().path().ends_with("model.safetensors"));
    fs::write(dir.path().join(INDEX), "not read").unwrap();
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    assert!(
        Checkpoint::open(dir.path()).unwrap_err().to_string().contains("pytorch_model.bin: not a file of torch.save")
    );
}

#[test]
fn buffers_and_heads_of_other_types_are_ignored_and_weights_of_other_types_refused() {
    let mut tiny = Tiny::new();
    tiny.add("embeddings.position_ids", &[1, 7], Dtype::I64);
    tiny.add("head.scale", &[1], Dtype::F64);
    for is_legacy in [false, true] {
        let base = from_bytes(&tiny, &file_of(&tiny, is_legacy)).unwrap();
        assert_eq!(
            base.others.iter().map(|entry| &*entry.name).collect::<Vec<_>>(),
            ["embeddings.position_ids", "head.scale"]
        );
    }
    tiny.tensors.get_mut(QUERY).unwrap().dtype = Dtype::F64;
    let error = from_bytes(&tiny, &file_of(&tiny, false)).unwrap_err();
    assert!(matches!(&error, Error::Dtype { tensor, dtype, .. } if tensor == QUERY && dtype == "F64"), "{error}");
}

#[test]
fn a_weight_that_is_not_contiguous_is_refused_by_name_and_a_buffer_is_not() {
    let mut tiny = Tiny::new();
    tiny.add("buffer", &[8, 8], Dtype::F32);
    let bytes = file_of(&tiny, false);
    let strides = |name: &str, strides: &[i64]| {
        let mut bytes = bytes.clone();
        let start = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
        let ints = |ints: &[i64]| Pickler::default().ints(ints).0;
        let shape = [ints(&[8, 8]), ints(&[8, 1])].concat();
        let start = start + bytes[start..].windows(shape.len()).position(|window| window == shape).unwrap();
        bytes[start..start + shape.len()].copy_from_slice(&[ints(&[8, 8]), ints(strides)].concat());
        from_bytes(&tiny, &bytes)
    };
    for other in [[1, 8], [0, 1], [1, 1], [7, 1]] {
        strides("buffer", &other).unwrap();
        let message = strides(QUERY, &other).unwrap_err().to_string();
        assert!(message.contains(QUERY) && message.contains("not contiguous"), "{message}");
    }
    assert!(strides(QUERY, &[9, 1]).unwrap_err().to_string().contains("not inside of its storage"));
}

#[test]
fn strides_of_extents_of_one_mean_nothing() {
    let view = |shape, strides| View { shape, strides, ..FOUR };
    let dir = tempdir().unwrap();
    for (shape, strides, is_contiguous) in [
        (&[4][..], &[1][..], true),
        (&[1, 4], &[77, 1], true),
        (&[4, 1], &[1, 77], true),
        (&[2, 2], &[2, 1], true),
        (&[2, 2], &[1, 2], false),
        (&[], &[], true),
        (&[0, 4], &[0, 0], true),
        (&[0, i64::MAX, i64::MAX], &[i64::MAX, i64::MAX, 1], true),
    ] {
        let path = dir.path().join(SINGLE);
        fs::write(&path, zip_file(&Pickler::state(&[("a", view(shape, strides))]), &[("0", &[0; 16])])).unwrap();
        let [entry] = &entries(&MappedFile::open(&path).unwrap()).unwrap()[..] else { panic!() };
        assert_eq!(entry.strides.is_none(), is_contiguous, "{shape:?} {strides:?}");
        assert_eq!(entry.range.len(), 4 * shape.iter().map(|&n| n as usize).fold(1, usize::saturating_mul));
    }
}

#[test]
fn what_is_not_inside_of_a_storage_is_refused() {
    for (view, expected) in [
        (View { offset: 1, ..FOUR }, "\"a\" is not inside of its storage \"0\""),
        (View { shape: &[5], ..FOUR }, "not inside"),
        (View { shape: &[2], strides: &[4], ..FOUR }, "not inside"),
        (View { shape: &[0], offset: 5, ..FOUR }, "not inside"),
        (View { offset: i64::MAX, ..FOUR }, "not inside"),
        (View { shape: &[i64::MAX, i64::MAX], strides: &[1, 1], ..FOUR }, "without bounds"),
        (View { shape: &[2], strides: &[i64::MAX], ..FOUR }, "not inside"),
        (View { shape: &[3, 3, 3], strides: &[i64::MAX, i64::MAX, i64::MAX], ..FOUR }, "without bounds"),
        (View { shape: &[-4], ..FOUR }, "-4 in a shape or its strides at byte"),
        (View { strides: &[-1], ..FOUR }, "-1 in a shape"),
        (View { offset: -1, ..FOUR }, "a tensor at offset -1"),
        (View { shape: &[2, 2], ..FOUR }, "2 extents and 1 strides"),
        (View { shape: &[1; 65], strides: &[1; 65], ..FOUR }, "65 dimensions"),
        (View { len: -4, ..FOUR }, "a storage of -4 elements"),
        (View { len: 5, ..FOUR }, "storage \"0\" of 5 elements, which has 16 bytes"),
        (View { len: i64::MAX, ..FOUR }, "elements, which has 16 bytes"),
        (View { class: "DoubleStorage", ..FOUR }, "of 4 elements, which has 16 bytes"),
        (View { key: "1", ..FOUR }, "storage \"1\", which is missing"),
        (View { key: "../byteorder", ..FOUR }, "which is missing"),
        (View { class: "QInt8Storage", ..FOUR }, "the pickle wants torch.QInt8Storage"),
    ] {
        let message = refused_view(view);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let two = Pickler::state(&[("a", FOUR), ("b", View { class: "IntStorage", ..FOUR })]);
    assert!(refusal(&zip_file(&two, &[("0", &[0; 16])])).contains("a second, different description of storage \"0\""));
}

#[test]
fn what_is_not_a_state_dict_is_refused_by_what_it_is() {
    let dict = || Pickler::new().op(b"}");
    for (pickle, expected) in [
        (Pickler::new().op(b"].").0, "expected a state dict, a dict of tensors, found a list"),
        (Pickler::new().tensor(&FOUR).op(b".").0, "found a tensor"),
        (
            dict().str("epoch").op(b"K\x03s").str("state_dict").op(b"}s.").0,
            "found an int as \"epoch\" (it holds \"epoch\", \"state_dict\", …)",
        ),
        (dict().str("model").op(b"}s.").0, "found a dict as \"model\""),
        (dict().op(b"K\x01").tensor(&FOUR).op(b"s.").0, "as key of the state dict, found an int"),
        (dict().str("a").tensor(&FOUR).op(b"s").str("a").tensor(&FOUR).op(b"s.").0, "the tensor \"a\" is there twice"),
        (dict().str("a\nb").tensor(&FOUR).op(b"s.").0, "a tensor called \"a\\nb\", with control characters"),
        (dict().op(b".").0, "the file holds no tensor of a BERT"),
    ] {
        let message = refusal(&zip_file(&pickle, &[("0", &[0; 16])]));
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn nothing_is_imported_or_called_that_is_not_a_tensors() {
    let start = Pickler::new;
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("torch", "load"),
        ("torch", "Storage"),
        ("torch.storage", "UntypedStorage"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("évil\u{7}", "\u{1b}[31m"),
    ] {
        let pickle = start().global(module, name).str("echo hello").op(b"\x85R.").0;
        let message = refusal(&zip_file(&pickle, &[]));
        // Behind the entry's header and the opcode of the protocol.
        let place = 64 + 2;
        let escaped = format!("{}.{}", module.as_bytes().escape_ascii(), name.as_bytes().escape_ascii());
        assert!(message.contains(&format!("the pickle wants {escaped}, which")), "{message}");
        assert!(message.ends_with(&format!("at byte {place}")), "{message}");
        assert!(refusal(&legacy_file(&pickle, &[])).contains(&format!("wants {escaped}")));
    }
    let dict = || start().global("collections", "OrderedDict");
    for (pickle, expected) in [
        (start().op(b"(ios\nsystem\n"), "unexpected opcode INST"),
        (start().op(b"(N)o."), "unexpected opcode OBJ"),
        (dict().op(b")\x81."), "unexpected opcode NEWOBJ"),
        (start().op(b"\x82\x01."), "unexpected opcode EXT"),
        (start().str("os").str("system").op(b"\x93."), "unexpected opcode STACK_GLOBAL"),
        (start().op(b"P1\n."), "unexpected opcode PERSID"),
        (start().op(b"\xff."), "unexpected opcode 0xff"),
        (start().op(b"\x80\x04."), "pickle protocol 4"),
        (start().op(b"N)R."), "a call of None"),
        (start().str("f").op(b")R."), "a call of a string"),
        (dict().op(b")R)R."), "a call of a dict"),
        (dict().op(b"K\x01\x85R."), "a call of collections.OrderedDict with unexpected arguments"),
        (dict().op(b"NR."), "None in a tuple's place"),
        (start().global("torch", "FloatStorage").op(b")R."), "a call of a storage of F32"),
        (start().global("torch._utils", "_rebuild_tensor_v2").op(b")R."), "_rebuild_tensor_v2 with unexpected"),
        (
            start().global("torch._utils", "_rebuild_parameter").op(b"N\x88N\x87R."),
            "_rebuild_parameter with unexpected",
        ),
        (start().op(b"NNb."), "None in a dict's place"),
        (start().op(b"K\x01Q."), "an int in a tuple's place"),
        (start().op(b")Q."), "a persistent id"),
        (start().str("module").op(b"NNN(tQ."), "a persistent id"),
        (start().op(b"N(KKs."), "an empty stack"),
        (start().op(b"."), "an empty stack"),
        (start().op(b"t."), "a stack without a mark"),
        (start().op(b"}(Nu."), "a key without a value"),
        (start().op(b"N(NNu."), "None in a dict's place"),
        (start().op(b"NNa."), "None in a list's place"),
        (start().op(b"q\0."), "an empty stack"),
        (start().op(b"h\x07."), "nothing in the memo's place 7"),
        (start().op(b"j\xff\xff\xff\xff."), "nothing in the memo's place 4294967295"),
        (start().op(b"X\xff\xff\xff\xff."), "a string of 4294967295 bytes"),
        (start().op(b"X\x01\0\0\0\xff."), "a string that is not UTF-8"),
        (start().op(b"\x8a\x09123456789."), "an integer of 9 bytes"),
        (start().op(b"c").op(&[b'x'; 1000]).op(b"\n."), "a global without an end of its name"),
        (start().op(b"N"), "the file ends inside of the pickle"),
    ] {
        let message = refusal(&zip_file(&pickle.0, &[]));
        assert!(message.contains(expected) && message.contains("at byte "), "{expected}: {message}");
    }
}

#[test]
fn bombs_are_refused_in_bounded_time_and_memory() {
    const MANY: usize = 1 << 21;
    let start = Pickler::new;
    for (pickle, expected) in [
        (start().op(&vec![b'('; MANY]), "more than 1048576 opcodes"),
        (start().op(&vec![b'N'; MANY]), "more than 1048576 opcodes"),
        (start().op(&vec![b']'; MANY]), "more than 1048576 opcodes"),
        // Deep nesting, of tuples and of lists.
        (start().op(b")").op(&vec![0x85; MANY]), "more than 1048576 opcodes"),
        (start().op(&b"]".repeat(500_000)).op(&b"a".repeat(499_999)).op(b"."), "found a list"),
        (start().op(b")").op(&vec![0x85; 500_000]).op(b"."), "found a tuple"),
        // Many small tuples from the bottom of a stack that was large.
        (start().op(&vec![b'('; 300_000]).op(&vec![b'N'; 300_000]).op(&vec![b't'; 300_000]).op(b"."), "found a tuple"),
        // Each tuple holds the one before twice.
        (start().op(b")").op(&b"q\0h\0\x86".repeat(200_000)).op(b"."), "found a tuple"),
        // A dict that holds itself.
        (start().op(b"}q\0").str("a").op(b"h\0s."), "found a dict as \"a\""),
        // One long tuple, as the shape of many tensors.
        (
            start().op(b"(").op(&vec![b'N'; 100_000]).op(b"tq\0").op(&b"h\0h\0\x86q\x01".repeat(100_000)).op(b"."),
            "found a tuple",
        ),
    ] {
        let message = refusal(&zip_file(&pickle.0, &[]));
        assert!(message.contains(expected), "{expected}: {message}");
    }
    // One tensor under very many names.
    let start = Pickler::new().op(b"}(").str("a").tensor(&FOUR).op(b"q\0");
    let many = (0..70_000).fold(start, |pickler, i| pickler.str(&i.to_string()).op(b"h\0"));
    let message = refusal(&zip_file(&many.op(b"u.").0, &[("0", &[0; 16])]));
    assert!(message.contains("a state dict of more than 65536 tensors"), "{message}");
    // Very many tensors: the function and its arguments, with a shape of 64 extents, come from the memo.
    let storage = Pickler::new().op(b"((").str("storage").global("torch", "FloatStorage").str("0").str("cpu").int(4);
    let arguments = storage.op(b"tQ").int(0).ints(&[1; 64]).ints(&[1; 64]).op(b"tq\0");
    let calls = arguments.global("torch._utils", "_rebuild_tensor").op(b"q\x01").op(&b"h\x01h\0R".repeat(70_000));
    let message = refusal(&zip_file(&calls.op(b".").0, &[]));
    assert!(message.contains("more than 65536 tensors at byte"), "{message}");
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    for name in ["zip-views.bin", "legacy-bf16.bin"] {
        let whole = fs::read(goldens().join(name)).unwrap();
        let dir = tempdir().unwrap();
        fs::copy(goldens().join(config::FILE_NAME), dir.path().join(config::FILE_NAME)).unwrap();
        fs::write(dir.path().join(SINGLE), &whole).unwrap();
        let file = fs::File::options().write(true).open(dir.path().join(SINGLE)).unwrap();
        for len in (0..whole.len()).rev() {
            file.set_len(len as u64).unwrap();
            let message = Checkpoint::open(dir.path()).unwrap_err().to_string();
            assert!(message.contains(SINGLE) && !message.contains('\n'), "{len}: {message}");
        }
        fs::write(dir.path().join(SINGLE), &whole).unwrap();
        Checkpoint::open(dir.path()).unwrap();
    }
    let tiny = Tiny::new();
    let zip = file_of(&tiny, false);
    assert!(refusal(&zip[..zip.len() - 1]).contains("not a complete zip archive"));
    let legacy = file_of(&tiny, true);
    assert!(refusal(&legacy[..legacy.len() - 1]).contains("the file ends inside of storage"));
}

#[test]
fn damage_anywhere_is_an_error_or_a_checkpoint_and_never_a_panic() {
    const CASES: usize = 4000;
    // What the pickles and headers are made of, which random bytes seldom are.
    let words: [&[u8]; 12] = [
        b"(",
        b"t",
        b"R",
        b"Q",
        b"h\0",
        b"\x85",
        b".",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0\0\0\0\x80",
        b"PK\x05\x06",
        b"cos\nsystem\n",
        b"",
    ];
    let seeds = ["zip-views.bin", "legacy-bf16.bin"].map(|name| fs::read(goldens().join(name)).unwrap());
    let dir = tempdir().unwrap();
    fs::copy(goldens().join(config::FILE_NAME), dir.path().join(config::FILE_NAME)).unwrap();
    let mut random = Random::new(7, 0);
    let mut opened = 0;
    for case in 0..CASES {
        let mut bytes = seeds[case % seeds.len()].clone();
        for _ in 0..=random.below(3) {
            let place = random.below(bytes.len() as u32) as usize;
            let end = (place + random.below(8) as usize).min(bytes.len());
            match random.below(4) {
                0 => bytes[place] ^= 1 << random.below(8),
                1 => bytes[place] = random.bits() as u8,
                2 => drop(bytes.splice(place..end, words[random.below(words.len() as u32) as usize].iter().copied())),
                _ => {
                    let part = bytes[place..end].to_vec();
                    let to = random.below(bytes.len() as u32 + 1) as usize;
                    bytes.splice(to..to, part);
                }
            }
        }
        // A new file each time: to write an old one again, some file systems wait for the disk.
        _ = fs::remove_file(dir.path().join(SINGLE));
        fs::write(dir.path().join(SINGLE), bytes).unwrap();
        match Checkpoint::open(dir.path()) {
            Ok(base) => {
                _ = base.fingerprint();
                opened += 1;
            }
            Err(error) => assert!(!error.to_string().contains(char::is_control), "{case}: {error}"),
        }
    }
    assert!(opened > 0 && opened < CASES, "{opened}");
}

#[test]
fn a_zip_archive_that_is_not_torch_saves_is_refused() {
    let entries = zip_entries(&Pickler::state(&[("a", FOUR)]), &[("0", &[0; 16])]);
    let changed = |change: &dyn Fn(&mut Vec<ZipEntry>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        refusal(&zip(&entries))
    };
    assert!(changed(&|_| ()).contains("the file holds no tensor of a BERT"), "the archive is sound");
    type Change<'a> = &'a dyn Fn(&mut Vec<ZipEntry>);
    let cases: [(Change<'_>, &str); 15] = [
        (&|entries| entries[2].method = 8, "\"archive/data/0\" of the zip archive is compressed (method 8)"),
        (&|entries| entries[0].method = 93, "\"archive/data.pkl\" of the zip archive is compressed (method 93)"),
        (&|entries| entries[2].flags = 1, "\"archive/data/0\" of the zip archive is encrypted"),
        (&|entries| entries[2].stored = 15, "of 16 bytes is stored in 15"),
        (&|entries| (entries[2].stored, entries[2].full) = (15, 15), "of 4 elements, which has 15 bytes"),
        (&|entries| (entries[2].stored, entries[2].full) = (17, 17), "which has 17 bytes"),
        (&|entries| (entries[2].stored, entries[2].full) = (200, 200), "whose entries overlap"),
        (&|entries| (entries[2].stored, entries[2].full) = (1 << 30, 1 << 30), "not a complete zip archive"),
        (&|entries| (entries[2].stored, entries[2].full) = (u32::MAX, u32::MAX), "not a complete zip archive"),
        (&|entries| entries[2].shift = 1, "not a complete zip archive"),
        (&|entries| entries[2].shift = 1 << 30, "not a complete zip archive"),
        (&|entries| entries[2].local_name = "archive/data/1".into(), "has another name in its place"),
        (&|entries| entries.push(entries[2].clone()), "two entries called \"archive/data/0\""),
        (&|entries| entries[1].data = b"bigger".to_vec(), "the byte order is \"bigger\", and only little is read"),
        (&|entries| drop(entries.remove(0)), "a zip archive without data.pkl"),
    ];
    for (change, expected) in cases {
        let message = changed(change);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let long = zip_entry(&format!("archive/{}", "x".repeat(600)), b"");
    assert!(changed(&|entries| entries.push(long.clone())).contains("a name of 608 bytes"));
    let elsewhere =
        entries.iter().map(|entry| zip_entry(&format!("x/{}", entry.name), &entry.data)).collect::<Vec<_>>();
    assert!(refusal(&zip(&elsewhere)).contains("without data.pkl"));
    assert!(refusal(b"PK\x03\x04").contains("not a complete zip archive"));
    let miscounted = {
        let mut file = zip(&entries);
        let count = file.len() - 12;
        file[count] += 1;
        file
    };
    assert!(refusal(&miscounted).contains("4 entries instead of 5"));
}

#[test]
fn a_legacy_file_that_is_not_torch_saves_is_refused() {
    let pickle = Pickler::state(&[("a", View { is_legacy: true, ..FOUR })]);
    let with = |storages: &[(&str, i64, &[u8])]| refusal(&legacy_file(&pickle, storages));
    assert!(with(&[("0", 4, &[0; 16])]).contains("the file holds no tensor of a BERT"), "the file is sound");
    assert!(with(&[]).contains("storage \"0\", which is missing"));
    assert!(with(&[("0", 4, &[0; 15])]).contains("the file ends inside of storage \"0\""));
    assert!(with(&[("0", -1, &[0; 16])]).contains("the file ends inside of storage"));
    assert!(with(&[("0", i64::MAX, &[0; 16])]).contains("the file ends inside of storage"));
    assert!(with(&[("0", i64::MAX / 4, &[0; 16])]).contains("the file ends inside of storage"));
    assert!(with(&[("0", 3, &[0; 12])]).contains("of 4 elements, which has 12 bytes"));
    assert!(with(&[("0", 4, &[0; 16]), ("0", 4, &[0; 16])]).contains("the storage \"0\" is there twice"));
    assert!(with(&[("1", 4, &[0; 16])]).contains("the storage \"1\" is not part of the pickle"));
    let view = Pickler::new().op(b"(").str("storage").global("torch", "FloatStorage").str("0").str("cpu").int(4);
    let view = view.op(b"(").str("1").int(0).int(4).op(b"ttQ.").0;
    assert!(refusal(&legacy_file(&view, &[])).contains("a persistent id that is not a storage's"));
    let sound = legacy_file(&pickle, &[("0", 4, &[0; 16])]);
    let replaced = |from: &[u8], to: &[u8]| {
        let place = sound.windows(from.len()).position(|window| window == from).unwrap();
        refusal(&[&sound[..place], to, &sound[place + from.len()..]].concat())
    };
    assert!(replaced(b"\xe9\x03\0\0", b"\xea\x03\0\0").contains("in another version than 1001"));
    assert!(replaced(b"endian\x88", b"endian\x89").contains("the byte order is big, and only little is read"));
    assert!(replaced(b"endian", b"indian").contains("does not say its byte order"));
    assert!(replaced(b"](", b"}(").contains("in a list's place"));
    assert!(replaced(b"\x8a\x0a\x6c", b"\x8a\x0a\x6d").contains("not a file of torch.save"));
    assert!(refusal(&pickle).contains("not a file of torch.save"), "a pickle alone");
}

#[test]
fn shards_are_checked_like_those_of_safetensors() {
    let tiny = Tiny::new();
    for (index, expected) in [
        (r#"{"weight_map": {"a": "gone.bin"}}"#, "gone.bin"),
        (r#"{"weight_map": {"a": "../secret.bin"}}"#, "not a file name"),
        (r#"{"weight_map": {"embeddings.lost": "one.bin"}}"#, "one.bin: the tensor embeddings.lost is missing"),
    ] {
        let dir = tempdir().unwrap();
        write(&tiny, &file_of(&tiny, false), dir.path());
        fs::rename(dir.path().join(SINGLE), dir.path().join("one.bin")).unwrap();
        fs::write(dir.path().join(INDEX), index).unwrap();
        let message = Checkpoint::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_file_that_changes_in_place_is_noticed() {
    let tiny = Tiny::new();
    for is_legacy in [false, true] {
        let dir = tempdir().unwrap();
        write(&tiny, &file_of(&tiny, is_legacy), dir.path());
        let base = Checkpoint::open(dir.path()).unwrap();
        base.check_unchanged().unwrap();
        fs::File::options().write(true).open(dir.path().join(SINGLE)).unwrap().set_len(100).unwrap();
        assert!(base.check_unchanged().unwrap_err().to_string().contains("pytorch_model.bin: the file was changed"));
    }
}

#[test]
fn what_lies_in_the_place_of_a_file_is_named() {
    assert!(refusal(b"").ends_with("the file is empty"));
    assert!(refusal(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n").contains("git lfs pull"));
    assert!(refusal(&Tiny::new().bytes()).contains("neither a zip archive nor its legacy format"));
}
