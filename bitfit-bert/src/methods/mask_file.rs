//! [`MaskFile`]: which entries train, as index lists in a safetensors file, for methods that are made elsewhere.
//!
//! | tensor | what trains of the parameter NAME |
//! |---|---|
//! | `NAME.rows`, `NAME.columns` | these rows or columns, a list of integers |
//! | `NAME.elements` | the entries with these flat row-major indices |
//! | `NAME.all` | all of it; the tensor's content does not matter |
//!
//! Names are those of transformers in a model with a head. The dtype is I64, as PyTorch's index tensors have it, or
//! I32, U32 or U64.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitfit_core::Mask;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::index_list;
use super::masks::{EncoderTensors, Masks};
use crate::files::{AtomicFile, MAX_TASK, read_bounded};
use crate::{Error, Result};

/// The ending of the name of a tensor that chooses all of a parameter.
const WHOLE: &str = ".all";

/// Index lists by parameter name.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskFile {
    path: PathBuf,
    masks: BTreeMap<String, Mask>,
}

impl MaskFile {
    /// Reads a mask file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::MaskFile`] when it is no safetensors file, a tensor's name does
    /// not end as described, a parameter has two masks, or an index is negative or of another type.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bounded(path, MAX_TASK)?;
        let refuse = |reason: String| Error::MaskFile { path: path.into(), reason };
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|error| refuse(format!("not a complete safetensors file: {error}")))?;
        let mut masks = BTreeMap::new();
        for (name, view) in file.iter() {
            let (parameter, mask) = Self::mask(name, &view).map_err(&refuse)?;
            if masks.insert(parameter.to_owned(), mask).is_some() {
                return Err(refuse(format!(
                    "{parameter} has two masks: expected one of its rows, columns, elements or all"
                )));
            }
        }
        if masks.is_empty() {
            return Err(refuse("it has no mask".into()));
        }
        Ok(Self { path: path.into(), masks })
    }

    fn mask<'a>(name: &'a str, view: &TensorView<'_>) -> Result<(&'a str, Mask), String> {
        let expected = "expected the name of a parameter and .rows, .columns, .elements or .all";
        if let Some((parameter, mask)) = index_list::parse(name) {
            return Ok((parameter, mask(indices(name, view)?)));
        }
        let whole = name.strip_suffix(WHOLE).map(|parameter| (parameter, Mask::All));
        whole.ok_or_else(|| format!("the tensor {name}: {expected}"))
    }

    /// A file of these masks by parameter name, which is not written yet.
    pub fn new(path: PathBuf, masks: BTreeMap<String, Mask>) -> Self {
        Self { path, masks }
    }

    /// Writes the file under a temporary name and renames it.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&self) -> Result<()> {
        let refuse = |reason: String| Error::MaskFile { path: self.path.clone(), reason };
        let views = self.masks.iter().map(|(name, mask)| {
            let (name, chosen) = index_list::of(name, mask).unwrap_or_else(|| (format!("{name}{WHOLE}"), &[]));
            let view = TensorView::new(Dtype::U32, vec![chosen.len()], bytemuck::cast_slice(chosen));
            (name, view.expect("a list has its length"))
        });
        let bytes = safetensors::serialize(views, None).map_err(|error| refuse(error.to_string()))?;
        let mut file = AtomicFile::create(&self.path)?;
        file.write(&bytes)?;
        file.finish()
    }

    /// Whether a whole matrix is among what trains.
    pub(super) fn has_whole_matrix(&self) -> bool {
        self.masks.iter().any(|(name, mask)| *mask == Mask::All && name.ends_with(".weight") && !name.contains("Norm"))
    }

    /// The masks by role, checked against the model.
    ///
    /// # Errors
    /// [`Error::MaskFile`] for a parameter that the model does not have below its head, and for an index that is out of
    /// range or occurs twice.
    pub(super) fn masks(&self, tensors: EncoderTensors<'_>) -> Result<Masks> {
        let refuse = |reason: String| Error::MaskFile { path: self.path.clone(), reason };
        let mut masks = Masks::default();
        for (name, mask) in &self.masks {
            let named = |role: &_| tensors.architecture.parameter_name(*role) == *name;
            let role = tensors.roles().find(named).ok_or_else(|| {
                refuse(format!(
                    "{name}: the model has no parameter of that name below its head; the mask is of another model"
                ))
            })?;
            let wrong = |error: bitfit_core::Error| match error {
                bitfit_core::Error::Invalid { reason, .. } => refuse(reason),
                error => refuse(error.to_string()),
            };
            mask.validate(name, &tensors.shape(role)).map_err(wrong)?;
            masks.insert(role, mask.clone());
        }
        Ok(masks)
    }
}

/// The integers of a list.
fn indices(name: &str, view: &TensorView<'_>) -> Result<Vec<u32>, String> {
    let wrong = |value: String| format!("the tensor {name} has the index {value}, which no tensor has");
    fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
        bytes.as_chunks::<N>().0.iter().copied()
    }
    let narrow = |value: i64| u32::try_from(value).map_err(|_| wrong(value.to_string()));
    if view.shape().len() != 1 {
        return Err(format!("the tensor {name} has shape {:?}: expected a list of indices", view.shape()));
    }
    match view.dtype() {
        Dtype::I64 => words(view.data()).map(|word| narrow(i64::from_le_bytes(word))).collect(),
        Dtype::I32 => words(view.data()).map(|word| narrow(i32::from_le_bytes(word).into())).collect(),
        Dtype::U32 => Ok(words(view.data()).map(u32::from_le_bytes).collect()),
        Dtype::U64 => words(view.data())
            .map(|word| {
                u32::try_from(u64::from_le_bytes(word)).map_err(|_| wrong(u64::from_le_bytes(word).to_string()))
            })
            .collect(),
        other => Err(format!("the tensor {name} is of type {other}: expected I64, I32, U32 or U64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Module, Role};
    use crate::fixture::Tiny;

    fn write(dir: &Path, tensors: &[(&str, Dtype, Vec<u8>)]) -> PathBuf {
        let path = dir.join("mask.safetensors");
        let size = |dtype: &Dtype| if matches!(dtype, Dtype::I64 | Dtype::U64) { 8 } else { 4 };
        let views: Vec<_> = tensors
            .iter()
            .map(|(name, dtype, bytes)| {
                (*name, TensorView::new(*dtype, vec![bytes.len() / size(dtype)], bytes).unwrap())
            })
            .collect();
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        path
    }

    fn longs(values: &[i64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    const QUERY: &str = "bert.encoder.layer.1.attention.self.query.weight";

    #[test]
    fn lists_of_pytorch_become_masks_and_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(
            dir.path(),
            &[
                (&format!("{QUERY}.columns"), Dtype::I64, longs(&[7, 0])),
                ("bert.embeddings.LayerNorm.bias.all", Dtype::I64, Vec::new()),
            ],
        );
        let tiny = Tiny::new();
        let (base, file) = (tiny.base(), MaskFile::read(&path).unwrap());
        let masks = file.masks(base.tensors(crate::heads::Pooling::Pooler)).unwrap();
        assert_eq!(*masks.of(Role::weight(Module::Query, 1)), Mask::Columns(vec![7, 0]));
        assert_eq!(*masks.of(Role::bias(Module::EmbeddingsLayerNorm, 0)), Mask::All);
        assert_eq!(*masks.of(Role::weight(Module::Query, 0)), Mask::None);
        let again = MaskFile::new(dir.path().join("again.safetensors"), file.masks.clone());
        again.write().unwrap();
        assert_eq!(MaskFile::read(&again.path).unwrap().masks, file.masks);
    }

    #[test]
    fn what_does_not_fit_the_model_is_refused_by_file_and_name() {
        let dir = tempfile::tempdir().unwrap();
        let tiny = Tiny::new();
        let (rows, columns) = (format!("{QUERY}.rows"), format!("{QUERY}.columns"));
        for (tensors, words) in [
            (vec![(rows.as_str(), Dtype::I64, longs(&[8]))], "row 8 is out of range"),
            (vec![(rows.as_str(), Dtype::I64, longs(&[1, 1]))], "row 1 occurs twice"),
            (vec![(rows.as_str(), Dtype::I64, longs(&[-1]))], "has the index -1"),
            (vec![(rows.as_str(), Dtype::I64, longs(&[]))], "has no row"),
            (vec![(rows.as_str(), Dtype::F32, vec![0; 4])], "is of type F32"),
            (vec![(rows.as_str(), Dtype::I64, longs(&[1])), (columns.as_str(), Dtype::I64, longs(&[1]))], "two masks"),
            (vec![("bert.encoder.layer.9.output.dense.bias.all", Dtype::I64, longs(&[]))], "no parameter of that name"),
            (vec![("classifier.weight.all", Dtype::I64, longs(&[]))], "no parameter of that name"),
            (vec![("query", Dtype::I64, longs(&[1]))], "expected the name of a parameter and .rows"),
            (vec![], "has no mask"),
        ] {
            let path = write(dir.path(), &tensors);
            let made =
                MaskFile::read(&path).and_then(|file| file.masks(tiny.base().tensors(crate::heads::Pooling::Pooler)));
            let message = made.unwrap_err().to_string();
            assert!(message.starts_with(&path.display().to_string()) && message.contains(words), "{message}");
        }
    }
}
