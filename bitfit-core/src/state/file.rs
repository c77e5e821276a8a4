//! A [`State`] as a file of safetensors, behind the feature `safetensors`.
//!
//! Each tensor stands under its name with the entries that train: whole, `[rows, cols]` of the chosen rows or columns,
//! or a vector of elements. Beside a tensor with a partial mask, `NAME#rows`, `NAME#columns` or `NAME#elements` holds
//! the indices, and beside every tensor the vectors of the optimizer, `NAME#m` and `NAME#v` for AdamW. The metadata has
//! one entry, `bitfit-core`, of lines:
//!
//! ```text
//! state 1 optimizer adamw 40 m v                   the kind, the number of steps, the vectors; absent if none was
//! saved tensor 2 768 768 layer.0.up.weight       for each tensor in order: the number of dimensions, the whole shape,
//! the name
//! ```

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensorError, SafeTensors, serialize, tensor::TensorView};

use super::{SavedTensor, State};
use crate::{Error, Mask, Result, optim::OptimizerState, params::matrix};

/// The key of the metadata, and its first line.
const KEY: &str = "bitfit-core";
const VERSION: &str = "state 1";

impl State {
    /// The state as a file of safetensors; needs the feature `safetensors`. Equal states give equal bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that holds `#` or a line break, which the layout uses, or that occurs twice.
    #[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut header = vec![VERSION.to_owned()];
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        if let Some(OptimizerState { kind, steps, moments }) = &self.optimizer {
            let names: Vec<&str> = moments.iter().map(|(name, _)| name.as_str()).collect();
            let words = [&[kind.as_str()], names.as_slice()].concat();
            if let Some(word) = words.iter().find(|word| word.is_empty() || word.contains([' ', '#', '\n', '\r'])) {
                return Err(invalid(format!("{word:?} of the optimizer is empty or holds a space, # or a line break")));
            }
            header.push([&["optimizer", kind, &steps.to_string()], names.as_slice()].concat().join(" "));
        }
        let mut offset = 0;
        for SavedTensor { name, shape, mask, values } in &self.tensors {
            if name.contains(['#', '\n', '\r']) || name == "__metadata__" {
                return Err(invalid(format!("the name {name:?} cannot be written: it holds # or a line break")));
            }
            if tensors.iter().any(|(taken, ..)| taken == name) {
                return Err(invalid(format!("{name} occurs twice")));
            }
            let extents: String = shape.iter().map(|extent| format!("{extent} ")).collect();
            header.push(format!("tensor {} {extents}{name}", shape.len()));
            let (rows, cols) = matrix(shape);
            let (stored, indices) = match mask {
                Mask::All => (shape.clone(), None),
                Mask::Rows(chosen) => (vec![chosen.len(), cols], Some(("rows", chosen))),
                Mask::Columns(chosen) => (vec![rows, chosen.len()], Some(("columns", chosen))),
                Mask::Elements(chosen) => (vec![chosen.len()], Some(("elements", chosen))),
                Mask::None => return Err(invalid(format!("{name} has no trainable entries"))),
            };
            if let Some((kind, chosen)) = indices {
                let bytes = chosen.iter().flat_map(|index| index.to_le_bytes()).collect();
                tensors.push((format!("{name}#{kind}"), Dtype::U32, vec![chosen.len()], bytes));
            }
            for (moment, all) in self.optimizer.iter().flat_map(|optimizer| &optimizer.moments) {
                let part = bytes_of(&all[offset..offset + values.len()]);
                tensors.push((format!("{name}#{moment}"), Dtype::F32, stored.clone(), part));
            }
            offset += values.len();
            tensors.push((name.clone(), Dtype::F32, stored, bytes_of(values)));
        }
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            Ok((name, TensorView::new(*dtype, shape.clone(), bytes).map_err(|error| invalid(error.to_string()))?))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([(KEY.to_owned(), header.join("\n"))]);
        serialize(views, Some(metadata)).map_err(|error| invalid(error.to_string()))
    }

    /// Reads what [`State::to_safetensors`] has written; needs the feature `safetensors`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the bytes are not such a file, with the tensor or line that is wrong.
    #[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let header = header.ok_or_else(|| invalid("the file holds no state of bitfit-core"))?;
        let file = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        let mut lines = header.lines();
        if lines.next() != Some(VERSION) {
            return Err(invalid(format!("the file is not of the version {VERSION:?}")));
        }
        let (mut tensors, mut optimizer): (Vec<(Vec<usize>, &str)>, _) = (Vec::new(), None);
        for line in lines {
            let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
            let parsed = match what {
                "tensor" => tensor_line(rest).map(|tensor| tensors.push(tensor)),
                "optimizer" if optimizer.is_none() => optimizer_line(rest).map(|line| optimizer = Some(line)),
                _ => None,
            };
            parsed.ok_or_else(|| invalid(format!("the metadata's line {line:?} is not understood")))?;
        }
        Self::of_file(&file, tensors, optimizer)
    }

    /// The state of a file whose metadata has been read.
    fn of_file(
        file: &SafeTensors<'_>,
        listed: Vec<(Vec<usize>, &str)>,
        mut optimizer: Option<OptimizerState>,
    ) -> Result<Self> {
        let mut known = 0;
        let mut tensors: Vec<SavedTensor> = Vec::with_capacity(listed.len());
        for (shape, name) in listed {
            if name.contains('#') || tensors.iter().any(|tensor| tensor.name == name) {
                return Err(invalid(format!("the name {name} occurs twice or holds #")));
            }
            let mut mask = Mask::All;
            for (kind, of) in
                [("rows", Mask::Rows as fn(Vec<u32>) -> Mask), ("columns", Mask::Columns), ("elements", Mask::Elements)]
            {
                let Ok(indices) = file.tensor(&format!("{name}#{kind}")) else { continue };
                if mask != Mask::All {
                    return Err(invalid(format!("{name} has two masks")));
                }
                mask = of(words_of(name, &indices, Dtype::U32)?.map(u32::from_le_bytes).collect());
                known += 1;
            }
            mask.validate(name, &shape)?;
            let len = mask.count(&shape);
            let values = floats_of(file, name, len)?;
            known += 1;
            for (moment, all) in optimizer.iter_mut().flat_map(|optimizer| &mut optimizer.moments) {
                all.extend(floats_of(file, &format!("{name}#{moment}"), len)?);
                known += 1;
            }
            tensors.push(SavedTensor { name: name.to_owned(), shape, mask, values });
        }
        if known != file.len() {
            return Err(invalid(format!("the file has {} tensors, of which {known} are understood", file.len())));
        }
        Ok(Self { tensors, optimizer })
    }
}

/// The shape and name of a line `tensor`.
fn tensor_line(rest: &str) -> Option<(Vec<usize>, &str)> {
    let (rank, mut rest) = rest.split_once(' ')?;
    let mut shape = Vec::new();
    for _ in 0..rank.parse::<u8>().ok()? {
        let (extent, after) = rest.split_once(' ')?;
        shape.push(extent.parse().ok()?);
        rest = after;
    }
    Some((shape, rest))
}

/// The state that a line `optimizer` describes, its vectors empty.
fn optimizer_line(rest: &str) -> Option<OptimizerState> {
    let mut words = rest.split(' ');
    let (kind, steps) = (words.next()?, words.next()?.parse().ok()?);
    Some(OptimizerState::new(kind, steps, words.map(|name| (name.to_owned(), Vec::new())).collect()))
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::invalid("state", reason)
}

fn not_safetensors(error: SafeTensorError) -> Error {
    invalid(format!("the bytes are not a file of safetensors: {error}"))
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The `len` values of a tensor of f32.
fn floats_of(file: &SafeTensors<'_>, name: &str, len: usize) -> Result<Vec<f32>> {
    let view = file.tensor(name).map_err(|error| invalid(format!("{name}: {error}")))?;
    let values: Vec<f32> = words_of(name, &view, Dtype::F32)?.map(f32::from_le_bytes).collect();
    if values.len() == len {
        return Ok(values);
    }
    Err(invalid(format!("{name} has {} values, expected {len}", values.len())))
}

/// The elements of a tensor, four bytes each.
fn words_of<'a>(name: &str, view: &'a TensorView<'_>, dtype: Dtype) -> Result<impl Iterator<Item = [u8; 4]> + 'a> {
    if view.dtype() != dtype {
        return Err(invalid(format!("{name} has elements of type {:?}, expected {dtype:?}", view.dtype())));
    }
    Ok(view.data().as_chunks::<4>().0.iter().copied())
}
