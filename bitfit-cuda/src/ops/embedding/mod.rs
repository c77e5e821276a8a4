//! The embedding on the GPU. In backward, one block adds up the gradient of a row of the table, in the order of the
//! tokens: that of the row's first token. If the mask chooses elements, a thread adds up the tokens of each chosen
//! element.

use bitfit_core::{
    Mask, Result,
    backend::{Slice, SliceMut},
    ops::embedding::{Embedding, Lookup},
};

use crate::{
    Cuda, Indices,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("embedding");

/// The number of lookups that one launch sums, as in the source.
const LOOKUPS: usize = 4;

impl Embedding for Cuda {
    fn embedding(&self, lookups: &[Lookup<'_, Self>], cols: usize, mut y: SliceMut<'_, Self>) -> Result<()> {
        let tokens = y.len / cols.max(1);
        for (turn, lookups) in lookups.chunks(LOOKUPS).enumerate() {
            let mut arguments = Arguments::new();
            for i in 0..LOOKUPS {
                let lookup = lookups.get(i);
                arguments.optional_indices(lookup.map(|lookup| lookup.at));
                arguments.optional_input(lookup.map(|lookup| lookup.table));
            }
            arguments.output(y.reborrow()).flag(turn > 0).usize(tokens).usize(cols);
            let shape = Shape::elements(tokens * cols.div_ceil(8));
            self.launch(&SOURCE, "bitfit_embedding", shape, &arguments)?;
        }
        Ok(())
    }

    fn embedding_backward(
        &self,
        dy: Slice<'_, Self>,
        at: &Indices,
        [_, cols]: [usize; 2],
        mask: &Mask,
        dtable: SliceMut<'_, Self>,
    ) -> Result<()> {
        let (tokens, len) = (at.len(), dtable.len);
        let mut arguments = Arguments::new();
        arguments.input(dy).indices(at);
        match mask {
            Mask::None => Ok(()),
            Mask::All | Mask::Columns(_) => {
                let columns = match mask {
                    Mask::Columns(chosen) => Some(self.lasting_indices(chosen)?),
                    _ => None,
                };
                let width = columns.as_ref().map_or(cols, |columns| columns.len());
                arguments.optional_indices(columns.as_deref()).output(dtable).usize(tokens).usize(cols).usize(width);
                self.launch(&SOURCE, "bitfit_embedding_backward_rows", Shape::blocks(tokens, 128), &arguments)
            }
            Mask::Rows(chosen) | Mask::Elements(chosen) => {
                let list = self.lasting_indices(chosen)?;
                arguments.indices(&list).flag(matches!(mask, Mask::Rows(_))).output(dtable);
                arguments.usize(tokens).usize(cols).usize(len);
                self.launch(&SOURCE, "bitfit_embedding_backward_chosen", Shape::elements(len), &arguments)
            }
        }
    }
}
