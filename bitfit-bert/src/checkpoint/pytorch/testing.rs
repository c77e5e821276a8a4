//! Files of `torch.save` for tests, written here: pickles opcode by opcode, zip archives and legacy files around them.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;

use crate::fixture::Tiny;

/// A pickle under construction.
#[derive(Clone, Default)]
pub struct Pickler(pub Vec<u8>);

impl Pickler {
    /// With the opcode of protocol 2.
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn op(mut self, opcodes: &[u8]) -> Self {
        self.0.extend(opcodes);
        self
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn str(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    pub fn int(self, value: i64) -> Self {
        self.op(&[0x8a, 8]).op(&value.to_le_bytes())
    }

    pub fn ints(self, values: &[i64]) -> Self {
        values.iter().fold(self.op(b"("), |pickler, &value| pickler.int(value)).op(b"t")
    }

    /// A call of a tensor's function with a storage, an offset, a shape and strides.
    pub fn tensor(self, tensor: &View<'_>) -> Self {
        let id =
            self.global("torch._utils", "_rebuild_tensor_v2").op(b"((").str("storage").global("torch", tensor.class);
        let id = id.str(tensor.key).str("cpu").int(tensor.len);
        let id = if tensor.is_legacy { id.op(b"N") } else { id };
        let storage = id.op(b"tQ").int(tensor.offset).ints(tensor.shape).ints(tensor.strides);
        storage.op(b"\x89").global("collections", "OrderedDict").op(b")RtR")
    }

    /// A state dict of these tensors.
    pub fn state(tensors: &[(&str, View<'_>)]) -> Vec<u8> {
        let start = Self::new().global("collections", "OrderedDict").op(b")R(");
        tensors.iter().fold(start, |pickler, (name, view)| pickler.str(name).tensor(view)).op(b"u.").0
    }
}

/// What a pickle says of a tensor.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub class: &'a str,
    pub key: &'a str,
    /// The number of elements of its storage.
    pub len: i64,
    pub offset: i64,
    pub shape: &'a [i64],
    pub strides: &'a [i64],
    pub is_legacy: bool,
}

/// Four floats of storage 0.
pub const FOUR: View<'static> =
    View { class: "FloatStorage", key: "0", len: 4, offset: 0, shape: &[4], strides: &[1], is_legacy: false };

/// An entry of a zip archive, and what its headers say of it.
#[derive(Clone)]
pub struct ZipEntry {
    pub name: String,
    pub data: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    /// The name at the entry itself.
    pub local_name: String,
    /// The size that the directory says.
    pub stored: u32,
    pub full: u32,
    /// What is added to the place that the directory says.
    pub shift: u32,
}

pub fn zip_entry(name: &str, data: &[u8]) -> ZipEntry {
    let len = data.len() as u32;
    let (local_name, data) = (name.into(), data.to_vec());
    ZipEntry { name: name.into(), data, flags: 0, method: 0, local_name, stored: len, full: len, shift: 0 }
}

/// A zip archive, with every entry's data at a multiple of 64.
pub fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    let numbers = |signature: &[u8; 4], numbers: &[u16]| {
        [&signature[..], &numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>()].concat()
    };
    let halves = |n: u32| [n as u16, (n >> 16) as u16];
    for entry in entries {
        let place = file.len() as u32;
        let [s0, s1] = halves(entry.stored);
        let [f0, f1] = halves(entry.full);
        // Version, flags, method, time, date, checksum, sizes, length of the name, length of the extra field.
        let about = [20, entry.flags, entry.method, 0, 0, 0, 0, s0, s1, f0, f1];
        let end = place as usize + 30 + entry.local_name.len();
        let extra = (64 - end % 64) % 64;
        file.extend(numbers(b"PK\x03\x04", &[&about[..], &[entry.local_name.len() as u16, extra as u16]].concat()));
        file.extend(entry.local_name.as_bytes());
        file.resize(end + extra, b'Z');
        file.extend(&entry.data);
        let [p0, p1] = halves(place + entry.shift);
        let rest = [entry.name.len() as u16, 0, 0, 0, 0, 0, 0, p0, p1];
        directory.extend(numbers(b"PK\x01\x02", &[&[20][..], &about, &rest].concat()));
        directory.extend(entry.name.as_bytes());
    }
    let (count, place, size) = (entries.len() as u16, halves(file.len() as u32), halves(directory.len() as u32));
    file.extend(directory);
    file.extend(numbers(b"PK\x05\x06", &[0, 0, count, count, size[0], size[1], place[0], place[1], 0]));
    file
}

/// A file in the zip format.
pub fn zip_file(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    zip(&zip_entries(pickle, storages))
}

pub fn zip_entries(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<ZipEntry> {
    let mut entries = vec![zip_entry("archive/data.pkl", pickle), zip_entry("archive/byteorder", b"little")];
    entries.extend(storages.iter().map(|(key, data)| zip_entry(&format!("archive/data/{key}"), data)));
    entries.push(zip_entry("archive/version", b"3\n"));
    entries
}

/// A file in the legacy format; with each storage its number of elements.
pub fn legacy_file(pickle: &[u8], storages: &[(&str, i64, &[u8])]) -> Vec<u8> {
    let magic = Pickler::new().op(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.").0;
    let machine = Pickler::new().op(b"}(").str("little_endian").op(b"\x88u.").0;
    let keys = storages.iter().fold(Pickler::new().op(b"]("), |pickler, (key, ..)| pickler.str(key)).op(b"e.").0;
    let mut file = [&magic[..], &Pickler::new().int(1001).op(b".").0, &machine, pickle, &keys].concat();
    for (_, len, data) in storages {
        file.extend(len.to_le_bytes());
        file.extend(*data);
    }
    file
}

/// The weights of a model as a file in either format, each tensor in a storage of its own.
pub fn file_of(tiny: &Tiny, is_legacy: bool) -> Vec<u8> {
    let bytes = tiny.bytes();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let class = |dtype| match dtype {
        safetensors::Dtype::F32 => "FloatStorage",
        safetensors::Dtype::F16 => "HalfStorage",
        safetensors::Dtype::BF16 => "BFloat16Storage",
        safetensors::Dtype::F64 => "DoubleStorage",
        safetensors::Dtype::I64 => "LongStorage",
        other => panic!("{other}"),
    };
    let all: Vec<_> = tensors
        .iter()
        .enumerate()
        .map(|(key, (name, view))| {
            let shape: Vec<i64> = view.shape().iter().map(|&extent| extent as i64).collect();
            let strides: Vec<i64> = (1..=shape.len()).map(|i| shape[i..].iter().product()).collect();
            (key.to_string(), name, shape, strides, view)
        })
        .collect();
    let views: Vec<(&str, View<'_>)> = all
        .iter()
        .map(|(key, name, shape, strides, view)| {
            let len = shape.iter().product();
            (*name, View { class: class(view.dtype()), key, len, offset: 0, shape, strides, is_legacy })
        })
        .collect();
    let pickle = Pickler::state(&views);
    if is_legacy {
        let storages: Vec<_> = all.iter().zip(&views).map(|(all, view)| (&*all.0, view.1.len, all.4.data())).collect();
        legacy_file(&pickle, &storages)
    } else {
        let storages: Vec<_> = all.iter().map(|(key, .., view)| (&**key, view.data())).collect();
        zip_file(&pickle, &storages)
    }
}

/// Writes `config.json` and `pytorch_model.bin` of a model into a directory.
pub fn write(tiny: &Tiny, file: &[u8], dir: &Path) {
    fs::write(dir.join(crate::config::FILE_NAME), tiny.config.to_string()).unwrap();
    fs::write(dir.join(super::SINGLE), file).unwrap();
}
