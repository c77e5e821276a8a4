//! [`SavedInput`]: what the gradient of a weight reads of the input of its product.

use std::ops::Range;

use super::WeightGradient;
use crate::{Backend, Device, Mask, Result, Tape, Tensor, Weight, backend::Slice, tape::Grads};

/// The input of a product, as much of it as the gradient of its weight reads.
pub(crate) enum SavedInput<D: Device> {
    /// Nothing: the weight is frozen, or nothing trains.
    Nothing,
    /// The whole matrix.
    Whole(Tensor<D>),
    /// For each part of the weight with trainable entries, which are columns, those columns.
    Columns(Vec<Tensor<D>>),
}

impl<D: Backend> SavedInput<D> {
    /// Saves what the gradient of `weight` reads of `x`.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device is out of memory.
    pub(crate) fn new(tape: &Tape<'_, D>, x: &Tensor<D>, weight: &Weight<D>) -> Result<Self> {
        if !weight.trains() || !tape.is_training() {
            return Ok(Self::Nothing);
        }
        let columns: Option<Vec<&[u32]>> = weight.trainable().map(|(_, trainable)| columns(trainable.mask())).collect();
        let Some(columns) = columns else { return Ok(Self::Whole(x.clone())) };
        let mut saved: Vec<Tensor<D>> = Vec::with_capacity(columns.len());
        for (index, &chosen) in columns.iter().enumerate() {
            // Parts such as query, key and value often have the same columns.
            let same = columns[..index].iter().position(|&other| other == chosen);
            let tensor = match same {
                Some(same) => saved[same].clone(),
                None => {
                    let mut to = tape.scratch(x.rows() * chosen.len())?;
                    tape.device().select_columns(x.slice(), x.cols(), chosen, to.as_mut())?;
                    Tensor::new(to, x.rows(), chosen.len())?
                }
            };
            saved.push(tensor);
        }
        Ok(Self::Columns(saved))
    }

    /// Adds the gradient that some of the saved rows give to each part of `weight` with trainable entries; `dy` are
    /// these rows of the product's gradient.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails or is out of memory.
    pub(crate) fn add_gradient(
        &self,
        grads: &mut Grads<'_, D>,
        rows: &Range<usize>,
        dy: Slice<'_, D>,
        weight: &Weight<D>,
    ) -> Result<()> {
        let device = grads.device();
        let [dy_cols, in_features] = weight.shape();
        for (index, (outputs, trainable)) in weight.trainable().enumerate() {
            let mask = trainable.mask();
            let selected;
            let x = match (self, columns(mask)) {
                (Self::Nothing, _) => return Ok(()),
                (Self::Columns(saved), _) => saved[index].slice().rows(rows, saved[index].cols()),
                (Self::Whole(x), None) => x.slice().rows(rows, x.cols()),
                (Self::Whole(x), Some(chosen)) => {
                    let mut to = grads.scratch(rows.len() * chosen.len())?;
                    device.select_columns(x.slice().rows(rows, x.cols()), x.cols(), chosen, to.as_mut())?;
                    selected = to;
                    selected.as_ref()
                }
            };
            let shape = [outputs.len(), in_features];
            let precision = weight.precision();
            let input = WeightGradient { dy, dy_cols, first: outputs.start, x, shape, mask, precision };
            device.weight_gradient(input, grads.masked(trainable)?)?;
        }
        Ok(())
    }
}

/// The columns that a mask chooses, if it is one of columns.
fn columns(mask: &Mask) -> Option<&[u32]> {
    match mask {
        Mask::Columns(chosen) => Some(chosen),
        _ => None,
    }
}
