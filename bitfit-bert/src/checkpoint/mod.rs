//! A checkpoint: a directory with `config.json` and weights, as safetensors or in PyTorch's own format, checked as a
//! whole, whose tensors are read by their role.
//!
//! ```no_run
//! # fn main() -> bitfit_bert::Result<()> {
//! use bitfit_bert::Checkpoint;
//! use bitfit_bert::arch::{Module, Role};
//!
//! let checkpoint = Checkpoint::open("models/all-MiniLM-L6-v2".as_ref())?;
//! let bias = checkpoint.tensor(Role::bias(Module::Query, 0))?;
//! assert_eq!(bias.data().len(), checkpoint.config().hidden_size);
//! # Ok(()) }
//! ```

mod fingerprint;
pub(crate) mod mapped;
mod masked_lm;
mod pytorch;
pub(crate) mod safetensors;
pub(crate) mod to_f32;
pub(crate) mod weight_files;

use std::collections::{BTreeMap, btree_map};
use std::path::{Path, PathBuf};

use ::safetensors::Dtype;
use bitfit_core::HostTensor;

use crate::arch::{Architecture, MaskedLmTensor, Module, Part, Role};
use crate::config::ModelConfig;
use crate::{Error, Result};
use mapped::{Entry, MappedFile};
use weight_files::WeightFiles;

/// The encoder in a model directory, memory-mapped and checked against its `config.json`.
///
/// Tensors are addressed by [`Role`], whatever names the file uses: with or without the prefix of a model with a head,
/// with today's endings or those of early conversions. Heads of earlier tasks are ignored.
///
/// The files must not be changed in place while a checkpoint, or a tensor that came from it, is alive: an f32 tensor is
/// a view of the mapped file, not a copy.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    /// The path in messages about all weights: the weight file, or the index of the shards.
    path: PathBuf,
    files: Vec<MappedFile>,
    config: ModelConfig,
    /// The tensors of the encoder: complete, of supported types and with the expected shapes.
    entries: BTreeMap<Role, Entry>,
    /// The tensors of a head for masked language modelling, as far as the file has them and unchecked. A file may hold
    /// one under several names.
    masked_lm: BTreeMap<MaskedLmTensor, Vec<Entry>>,
    /// All other tensors, sorted by their names: heads of tasks, adapters, buffers.
    others: Vec<Entry>,
}

impl Checkpoint {
    /// Opens `dir`: `config.json`, and the first of these that is there: `model.safetensors`, the shards of
    /// `model.safetensors.index.json`, `pytorch_model.bin`, or the shards of `pytorch_model.bin.index.json`.
    ///
    /// The latter two hold Python pickles, of which only what stands for tensors is read and nothing is run; everything
    /// else is refused.
    ///
    /// No weight is read yet, but every tensor is checked to exist with its shape and type.
    ///
    /// # Errors
    /// The errors of [`ModelConfig::open`]; [`Error::Io`] and [`Error::Weights`] for files that are missing, truncated
    /// or invalid, or hold another number of layers; [`Error::NoBiases`]; [`Error::MissingTensor`],
    /// [`Error::ShapeMismatch`] and [`Error::Dtype`] for the first tensor that the configuration implies and that is
    /// missing or differs in the file.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = ModelConfig::open(dir)?;
        let WeightFiles { path, entries: found, files } = weight_files::read_directory(dir)?;
        let mut entries = BTreeMap::new();
        let mut masked_lm = BTreeMap::<_, Vec<_>>::new();
        let mut others = Vec::new();
        for entry in found {
            let Some(role) = config.architecture.role(&entry.name) else {
                match config.architecture.masked_lm_tensor(&entry.name) {
                    Some(tensor) => masked_lm.entry(tensor).or_default().push(entry),
                    None => others.push(entry),
                }
                continue;
            };
            match entries.entry(role) {
                btree_map::Entry::Vacant(slot) => {
                    slot.insert(entry);
                }
                btree_map::Entry::Occupied(slot) => {
                    let reason = format!("the tensor {} is there twice, also as {}", entry.name, slot.get().name);
                    return Err(Error::Weights { path, reason });
                }
            }
        }
        others.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        masked_lm.values_mut().for_each(|entries| entries.sort_unstable_by(|a, b| a.name.cmp(&b.name)));
        let checkpoint = Self { dir: dir.into(), path, files, config, entries, masked_lm, others };
        checkpoint.validate()?;
        Ok(checkpoint)
    }

    /// The directory it was opened from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The weight file, or the index of the shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture and its extents.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The architecture.
    pub fn architecture(&self) -> &'static Architecture {
        self.config.architecture
    }

    /// Whether the file holds a pooler. A model pre-trained only on masked language modelling has none.
    pub fn has_pooler(&self) -> bool {
        self.entries.contains_key(&Role::weight(Module::Pooler, 0))
    }

    /// The roles of the tensors that the file holds, each of which can be read with [`Checkpoint::tensor`].
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.entries.keys().copied()
    }

    /// The number of parameters of the encoder, its pooler included if it has one.
    pub fn parameter_count(&self) -> usize {
        self.entries.values().map(|entry| entry.shape.iter().product::<usize>()).sum()
    }

    /// The tensor of this role, in f32: a view of the mapped file if it is stored as aligned F32 and large, otherwise a
    /// copy. Matrices of dense layers are `[out, in]`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] for a pooler that the file does not hold or a layer that the model does not have.
    pub fn tensor(&self, role: Role) -> Result<HostTensor> {
        to_host(self.entries.get(&role).ok_or_else(|| self.missing(role))?)
    }

    /// Every tensor of the files, heads and buffers included, with its parameter name if it is one that a task can have
    /// trained.
    pub(crate) fn all_entries(&self) -> impl Iterator<Item = (&Entry, Option<String>)> {
        let architecture = self.architecture();
        let encoder = self.entries.iter().map(|(role, entry)| (entry, Some(architecture.parameter_name(*role))));
        let head = self.masked_lm.iter().flat_map(|(tensor, entries)| {
            let name = match tensor {
                // A copy of the word embeddings, to which the product is tied.
                MaskedLmTensor::Decoder(Part::Weight) => {
                    Some(architecture.parameter_name(Role::weight(Module::WordEmbeddings, 0)))
                }
                tensor => architecture.masked_lm.as_ref().map(|names| names.name(*tensor)),
            };
            entries.iter().map(move |entry| (entry, name.clone()))
        });
        encoder.chain(head).chain(self.others.iter().map(|entry| (entry, None)))
    }

    /// The type in which a tensor of the encoder is stored; `None` for one that the files do not hold.
    pub(crate) fn dtype(&self, role: Role) -> Option<Dtype> {
        self.entries.get(&role).map(|entry| entry.dtype)
    }

    /// The tensor of this name in the files, in f32, where it is neither the encoder's nor that of a head for masked
    /// language modelling; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Dtype`] and [`Error::Weights`] for one that cannot be read.
    pub(crate) fn other(&self, name: &str) -> Result<Option<HostTensor>> {
        let Some(entry) = self.others.iter().find(|entry| entry.name == name) else { return Ok(None) };
        self.check_entry(entry, entry.shape.clone())?;
        to_host(entry).map(Some)
    }

    /// The names of the tensors that [`Checkpoint::other`] reads.
    pub(crate) fn other_names(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(|entry| entry.name.as_str())
    }

    /// Returns the memory of the mapped file to the system, for a tensor that has been laid out elsewhere. A view of
    /// the tensor stays valid: the next read of it loads the file's pages again.
    pub fn release(&self, role: Role) {
        if let Some(entry) = self.entries.get(&role) {
            entry.release();
        }
    }

    /// The BLAKE3 hash over the names, shapes and f32 values of all tensors of the encoder, as 64 hexadecimal digits:
    /// equal for two files of the same weights however they are stored, so it determines whether a task file belongs to
    /// this base.
    ///
    /// Reads every weight once, with all threads of the current rayon pool.
    ///
    /// # Errors
    /// [`Error::Weights`] with file and tensor when a weight is NaN or infinite.
    pub fn fingerprint(&self) -> Result<String> {
        let architecture = self.architecture();
        let by_name: BTreeMap<_, _> =
            self.entries.iter().map(|(role, entry)| (architecture.name(*role), entry)).collect();
        fingerprint::fingerprint(by_name.iter().map(|(name, entry)| (name.as_str(), *entry)))
    }

    /// Refuses weight files that were truncated or rewritten in place since they were opened, because results would not
    /// belong to the weights that were read. Replacing a file by another of the same name is harmless.
    ///
    /// # Errors
    /// [`Error::Weights`] with the file.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(MappedFile::check_unchanged)
    }

    /// Checks that every tensor that the configuration implies exists with the right shape and type.
    fn validate(&self) -> Result<()> {
        self.check_layers()?;
        let architecture = self.architecture();
        let mut missing_biases = Vec::new();
        let mut biases = 0;
        for role in architecture.required(&self.config) {
            let is_bias = role.part == Part::Bias;
            biases += usize::from(is_bias);
            match self.entries.get(&role) {
                Some(entry) => self.check(role, entry)?,
                None if is_bias => missing_biases.push(role),
                None => return Err(self.missing(role)),
            }
        }
        match missing_biases.first() {
            None => {}
            Some(&first) if missing_biases.len() == biases => {
                let first = architecture.name(first);
                return Err(Error::NoBiases {
                    path: self.path.clone(),
                    what: format!(
                        "the file holds none of the {biases} bias vectors of a {architecture} (no {first}, …)"
                    ),
                    advice: "take a checkpoint that has them, such as bert-base-uncased".into(),
                });
            }
            Some(&first) => return Err(self.missing(first)),
        }
        if architecture.pooler().any(|role| self.entries.contains_key(&role)) {
            for role in architecture.pooler() {
                self.check(role, self.entries.get(&role).ok_or_else(|| self.missing(role))?)?;
            }
        }
        Ok(())
    }

    /// Checks that this is a model of the architecture, and that its number of layers is that of the configuration.
    fn check_layers(&self) -> Result<()> {
        let wrong = |reason| Err(Error::Weights { path: self.path.clone(), reason });
        let expected = self.config.num_hidden_layers;
        if self.entries.is_empty() {
            let some: Vec<_> = self.all_entries().take(3).map(|(entry, _)| entry.name.as_str()).collect();
            let some = if some.is_empty() { "no tensors at all".into() } else { format!("{}, …", some.join(", ")) };
            return wrong(format!("the file holds no tensor of a {}: it holds {some}", self.architecture()));
        }
        let found = self.entries.keys().filter(|role| role.module.is_in_layers()).map(|role| role.layer).max();
        // The number in a hostile name can be the largest usize.
        let found = found.map_or(0, |last| last.saturating_add(1));
        if found != expected {
            return wrong(format!("the file holds {found} encoder layers, but config.json implies {expected}"));
        }
        Ok(())
    }

    fn check(&self, role: Role, entry: &Entry) -> Result<()> {
        self.check_entry(entry, self.architecture().shape(role, &self.config))
    }

    /// Checks that a tensor has these extents and a type that is read.
    fn check_entry(&self, entry: &Entry, expected: Vec<usize>) -> Result<()> {
        let (path, tensor) = (entry.path.to_path_buf(), entry.name.clone());
        if entry.shape != expected {
            return Err(Error::ShapeMismatch { path, tensor, expected, found: entry.shape.clone() });
        }
        if !to_f32::is_supported(entry.dtype) {
            return Err(Error::Dtype { path, tensor, dtype: entry.dtype.to_string() });
        }
        if let Some(strides) = &entry.strides {
            let reason = format!(
                "the tensor {tensor} is not contiguous (shape {expected:?}, strides {strides:?}): save tensor.contiguous()"
            );
            return Err(Error::Weights { path, reason });
        }
        Ok(())
    }

    fn missing(&self, role: Role) -> Error {
        Error::MissingTensor { path: self.path.clone(), name: self.architecture().name(role) }
    }
}

/// The bytes of a tensor up to which it is copied. A view of a vector would keep in memory whatever the system maps
/// around it, 2 MiB where it maps files in large pages, and with those of all layers a large part of the file.
const COPIED_BYTES: usize = 1 << 16;

/// A tensor in f32: a view of the mapped file if it is stored as aligned F32 and large, otherwise a copy.
fn to_host(entry: &Entry) -> Result<HostTensor> {
    let shape = entry.shape.clone();
    if entry.dtype == Dtype::F32 && entry.range.len() > COPIED_BYTES {
        return Ok(HostTensor::from_shared(shape, entry.bytes.clone(), entry.range.clone())?);
    }
    let tensor = HostTensor::new(shape, to_f32::to_f32(entry.dtype, &entry.bytes[entry.range.clone()]))?;
    entry.release();
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::tempdir;

    use super::*;
    use crate::fixture::Tiny;

    const WORDS: &str = "embeddings.word_embeddings.weight";
    const QUERY_BIAS: &str = "encoder.layer.0.attention.self.query.bias";

    fn refusal(tiny: &Tiny) -> Error {
        let dir = tempdir().unwrap();
        tiny.write(dir.path());
        let error = Checkpoint::open(dir.path()).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
        error
    }

    #[test]
    fn tensors_come_out_as_they_went_in() {
        let mut tiny = Tiny::new();
        tiny.config["vocab_size"] = 3000.into();
        tiny.add(WORDS, &[3000, 8], Dtype::F32);
        let base = tiny.open();
        assert!(base.has_pooler() && base.others.is_empty());
        assert_eq!(base.roles().count(), tiny.tensors.len());
        for (name, tensor) in &tiny.tensors {
            let read = base.tensor(base.architecture().role(name).unwrap()).unwrap();
            assert_eq!((read.shape(), read.data()), (&tensor.shape[..], &tensor.data[..]), "{name}");
            // It is aligned in the file.
            assert_eq!(read.is_shared(), size_of_val(read.data()) > COPIED_BYTES, "{name}");
        }
        // embeddings (3000 + 7 + 2) · 8 + 16, two layers of 4 · (64 + 8) + 2 · 96 + 12 + 8 + 32, pooler 72
        assert_eq!(base.parameter_count(), 24_072 + 16 + 2 * 532 + 72);
    }

    #[test]
    fn a_tensor_outlives_its_checkpoint() {
        let tiny = Tiny::new();
        let dir = tempdir().unwrap();
        tiny.write(dir.path());
        let words = Checkpoint::open(dir.path()).unwrap().tensor(Role::weight(Module::WordEmbeddings, 0)).unwrap();
        drop(dir);
        assert_eq!(words.data(), tiny.tensors[WORDS].data);
    }

    #[test]
    fn prefix_gamma_heads_and_buffers_make_no_difference() {
        let plain = Tiny::new();
        let mut dressed = Tiny { tensors: BTreeMap::new(), ..Tiny::new() };
        for (name, tensor) in &plain.tensors {
            let name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
            dressed.tensors.insert(format!("bert.{name}"), tensor.clone());
        }
        dressed.add("cls.predictions.bias", &[11], Dtype::F32);
        dressed.add("bert.embeddings.position_ids", &[1, 7], Dtype::I64);
        let (plain, dressed) = (plain.open(), dressed.open());
        assert!(plain.roles().eq(dressed.roles()));
        for role in plain.roles() {
            assert_eq!(plain.tensor(role).unwrap().data(), dressed.tensor(role).unwrap().data());
        }
        assert_eq!(
            dressed.others.iter().map(|entry| &entry.name).collect::<Vec<_>>(),
            ["bert.embeddings.position_ids"]
        );
        assert_eq!(dressed.all_entries().count(), plain.all_entries().count() + 2);
        assert_eq!(plain.fingerprint().unwrap(), dressed.fingerprint().unwrap());
    }

    #[test]
    fn shards_make_no_difference() {
        let dir = tempdir().unwrap();
        let mut index = serde_json::Map::new();
        let whole = Tiny::new();
        whole.write(dir.path());
        for (number, parity) in [("1", 0), ("2", 1)] {
            let mut shard = Tiny { tensors: BTreeMap::new(), ..Tiny::new() };
            for (_, (name, tensor)) in whole.tensors.iter().enumerate().filter(|(i, _)| i % 2 == parity) {
                let file = format!("model-0000{number}-of-00002.safetensors");
                index.insert(name.clone(), file.into());
                shard.tensors.insert(name.clone(), tensor.clone());
            }
            fs::write(dir.path().join(format!("model-0000{number}-of-00002.safetensors")), shard.bytes()).unwrap();
        }
        fs::remove_file(dir.path().join(safetensors::SINGLE)).unwrap();
        let index = serde_json::json!({"metadata": {}, "weight_map": index});
        fs::write(dir.path().join(safetensors::INDEX), index.to_string()).unwrap();
        let base = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(base.roles().count(), whole.tensors.len());
        assert_eq!(base.fingerprint().unwrap(), whole.open().fingerprint().unwrap());
    }

    #[test]
    fn half_types_are_widened_and_keep_the_fingerprint_of_their_values() {
        for dtype in [Dtype::F16, Dtype::BF16] {
            let mut halves = Tiny::new();
            // Multiples of 1/8 below 16 are exact in either type.
            for (i, tensor) in halves.tensors.values_mut().enumerate() {
                tensor.data.iter_mut().enumerate().for_each(|(j, x)| *x = ((i + j) % 128) as f32 / 8.0 - 8.0);
            }
            let singles = halves.open();
            halves.tensors.values_mut().for_each(|tensor| tensor.dtype = dtype);
            let base = halves.open();
            assert_eq!(
                base.tensor(Role::weight(Module::WordEmbeddings, 0)).unwrap().data(),
                halves.tensors[WORDS].data
            );
            assert_eq!(base.fingerprint().unwrap(), singles.fingerprint().unwrap());
        }
    }

    #[test]
    fn an_unaligned_file_reads_the_same() {
        let tiny = Tiny::new();
        let mut bytes = tiny.bytes();
        // One more space in the header moves all data by one byte.
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        bytes[..8].copy_from_slice(&(header + 1).to_le_bytes());
        bytes.insert(8 + header as usize, b' ');
        let dir = tempdir().unwrap();
        tiny.write(dir.path());
        fs::write(dir.path().join(safetensors::SINGLE), bytes).unwrap();
        let base = Checkpoint::open(dir.path()).unwrap();
        let words = base.tensor(Role::weight(Module::WordEmbeddings, 0)).unwrap();
        assert!(!words.is_shared());
        assert_eq!(words.data(), tiny.tensors[WORDS].data);
        assert_eq!(base.fingerprint().unwrap(), tiny.open().fingerprint().unwrap());
    }

    #[test]
    fn the_fingerprint_sees_every_value() {
        let original = Tiny::new().open().fingerprint().unwrap();
        for name in Tiny::new().tensors.keys() {
            let mut changed = Tiny::new();
            *changed.tensors.get_mut(name).unwrap().data.last_mut().unwrap() += 1.0;
            assert_ne!(changed.open().fingerprint().unwrap(), original, "{name}");
        }
        let mut without_pooler = Tiny::new();
        without_pooler.tensors.retain(|name, _| !name.starts_with("pooler."));
        assert_ne!(without_pooler.open().fingerprint().unwrap(), original);
    }

    #[test]
    fn a_checkpoint_without_a_pooler_opens() {
        let mut tiny = Tiny::new();
        tiny.tensors.retain(|name, _| !name.starts_with("pooler."));
        let base = tiny.open();
        assert!(!base.has_pooler());
        assert!(matches!(base.tensor(Role::bias(Module::Pooler, 0)), Err(Error::MissingTensor { .. })));
        let mut half = Tiny::new();
        half.tensors.remove("pooler.dense.bias");
        assert!(matches!(refusal(&half), Error::MissingTensor { name, .. } if name == "pooler.dense.bias"));
    }

    #[test]
    fn a_config_that_contradicts_the_weights_names_tensor_and_shapes() {
        for (key, value, tensor, expected, found) in [
            ("hidden_size", 4, WORDS, vec![11, 4], vec![11, 8]),
            ("vocab_size", 12, WORDS, vec![12, 8], vec![11, 8]),
            ("max_position_embeddings", 8, "embeddings.position_embeddings.weight", vec![8, 8], vec![7, 8]),
            ("type_vocab_size", 1, "embeddings.token_type_embeddings.weight", vec![1, 8], vec![2, 8]),
            ("intermediate_size", 13, "encoder.layer.0.intermediate.dense.weight", vec![13, 8], vec![12, 8]),
        ] {
            let mut tiny = Tiny::new();
            tiny.config[key] = value.into();
            let error = refusal(&tiny);
            let message = error.to_string();
            let Error::ShapeMismatch { tensor: t, expected: e, found: f, .. } = error else { panic!("{message}") };
            assert_eq!((t.as_str(), e, f), (tensor, expected, found));
            assert!(message.contains("model.safetensors") && message.contains("config.json implies"), "{message}");
        }
    }

    #[test]
    fn another_number_of_layers_is_refused() {
        for layers in [1, 3, i32::MAX] {
            let mut tiny = Tiny::new();
            tiny.config["num_hidden_layers"] = layers.into();
            let message = refusal(&tiny).to_string();
            assert!(message.contains(&format!("2 encoder layers, but config.json implies {layers}")), "{message}");
        }
        let mut tiny = Tiny::new();
        tiny.add(&format!("encoder.layer.{}.output.dense.bias", usize::MAX), &[8], Dtype::F32);
        assert!(matches!(refusal(&tiny), Error::Weights { .. }));
    }

    #[test]
    fn a_missing_tensor_is_named() {
        for name in ["embeddings.LayerNorm.weight", "encoder.layer.1.output.dense.weight", QUERY_BIAS] {
            let mut tiny = Tiny::new();
            tiny.tensors.remove(name);
            assert!(matches!(refusal(&tiny), Error::MissingTensor { name: n, .. } if n == name));
        }
    }

    #[test]
    fn a_checkpoint_without_biases_is_told_so() {
        let mut tiny = Tiny::new();
        tiny.tensors.retain(|name, _| !name.ends_with(".bias"));
        let error = refusal(&tiny);
        assert!(matches!(error, Error::NoBiases { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("none of the 17 bias vectors") && message.contains("take a checkpoint"), "{message}");
    }

    #[test]
    fn other_types_are_refused_by_name() {
        for dtype in [Dtype::F64, Dtype::I8] {
            let mut tiny = Tiny::new();
            tiny.tensors.get_mut(QUERY_BIAS).unwrap().dtype = dtype;
            let error = refusal(&tiny);
            assert!(matches!(&error, Error::Dtype { tensor, .. } if tensor == QUERY_BIAS), "{error}");
            assert!(error.to_string().contains(&dtype.to_string()));
        }
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let mut tiny = Tiny::new();
        tiny.add(&format!("bert.{QUERY_BIAS}"), &[8], Dtype::F32);
        let message = refusal(&tiny).to_string();
        assert!(message.contains("there twice") && message.contains(QUERY_BIAS), "{message}");
    }

    #[test]
    fn a_file_of_another_model_is_refused() {
        let mut tiny = Tiny { tensors: BTreeMap::new(), ..Tiny::new() };
        assert!(refusal(&tiny).to_string().contains("no tensors at all"));
        tiny.add("roberta.embeddings.word_embeddings.weight", &[11, 8], Dtype::F32);
        let message = refusal(&tiny).to_string();
        assert!(message.contains("the file holds no tensor of a BERT") && message.contains("roberta."), "{message}");
    }

    #[test]
    fn what_only_looks_like_the_base_is_ignored() {
        let mut tiny = Tiny::new();
        let adapter = "encoder.layer.0.output.adapters.a.down.weight";
        tiny.add(adapter, &[2, 8], Dtype::F32);
        let base = tiny.open();
        assert_eq!(base.others.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), [adapter]);
        assert_eq!(base.fingerprint().unwrap(), Tiny::new().open().fingerprint().unwrap());
    }

    #[test]
    fn weights_that_change_in_place_are_noticed_and_replaced_ones_do_no_harm() {
        for (change, is_noticed) in [("rewrite", true), ("truncate", true), ("replace", false), ("nothing", false)] {
            let dir = tempdir().unwrap();
            Tiny::new().write(dir.path());
            let base = Checkpoint::open(dir.path()).unwrap();
            let path = dir.path().join(safetensors::SINGLE);
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            match change {
                "rewrite" => file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap(),
                "truncate" => file.set_len(100).unwrap(),
                "replace" => {
                    fs::write(dir.path().join("new"), b"other weights").unwrap();
                    fs::rename(dir.path().join("new"), &path).unwrap();
                }
                _ => {}
            }
            let found = base.check_unchanged();
            assert_eq!(found.is_err(), is_noticed, "{change}");
            if let Err(error) = found {
                assert!(error.to_string().contains("model.safetensors: the file was changed"), "{error}");
            }
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Checkpoint::open(Path::new("no/such/model")).unwrap_err();
        assert!(matches!(&error, Error::Io { .. }), "{error}");
        assert!(error.to_string().contains("no/such/model/config.json"), "{error}");
    }
}
