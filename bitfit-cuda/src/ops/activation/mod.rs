//! The activations on the GPU: each thread processes one element at a time.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::activation::{Activation, Activations},
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("activation");

impl Activations for Cuda {
    fn activate(
        &self,
        f: Activation,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
        slope: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let len = y.len;
        let mut arguments = Arguments::new();
        arguments.input(x).output(y);
        let name = match f {
            Activation::Relu => "bitfit_relu",
            Activation::Tanh => "bitfit_tanh",
            Activation::Sigmoid => "bitfit_sigmoid",
            Activation::Exp => "bitfit_exp",
            Activation::Gelu => {
                arguments.optional_output(slope);
                "bitfit_gelu"
            }
        };
        arguments.usize(len);
        self.launch(&SOURCE, name, Shape::elements(len), &arguments)
    }

    fn activate_backward(
        &self,
        f: Activation,
        dy: Slice<'_, Self>,
        kept: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let len = dx.len;
        let name = match f {
            Activation::Relu => "bitfit_relu_backward",
            Activation::Gelu | Activation::Exp => "bitfit_gelu_backward",
            Activation::Sigmoid => "bitfit_sigmoid_backward",
            Activation::Tanh => "bitfit_tanh_backward",
        };
        let mut arguments = Arguments::new();
        arguments.input(dy).input(kept).output(dx).flag(accumulate).usize(len);
        self.launch(&SOURCE, name, Shape::elements(len), &arguments)
    }
}
