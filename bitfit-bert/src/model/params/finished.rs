//! A finished task in the place of what its method trained: its tensors, and what is checked of them.

use bitfit_core::{Backend, HostTensor, Mask};

use super::{Builder, InitialValues};
use crate::arch::{Module, Role};
use crate::model::{PartialTensor, head_names};
use crate::{Error, Result};

impl<D: Backend> Builder<'_, D> {
    /// The tensor of a finished task in the place of the base's, if the task has one.
    pub(super) fn finished(&self, role: Role) -> Result<Option<HostTensor>> {
        let InitialValues::Finished(file) = &self.options.initial else { return Ok(None) };
        let name = self.base.architecture().parameter_name(role);
        let shape = self.base.architecture().shape(role, self.base.config());
        let Some(PartialTensor { mask, values }) = file.tensors.partial.get(&name) else {
            return self.given(&name, &shape);
        };
        let wrong = |reason| self.wrong(&file.path, reason);
        mask.validate(&name, &shape).map_err(|error| wrong(error.to_string()))?;
        let expected = PartialTensor::shape(mask, &shape);
        self.check_given(&file.path, &name, values, &expected)?;
        Ok(Some(
            PartialTensor { mask: mask.clone(), values: values.clone() }.fill(&self.base.checkpoint().tensor(role)?)?,
        ))
    }

    /// Refuses a finished task that lacks a trained tensor or holds other entries of it, or has a tensor that the model
    /// does not have, so that misspelt names are detected.
    pub(super) fn check_finished(&self) -> Result<()> {
        let InitialValues::Finished(file) = &self.options.initial else { return Ok(()) };
        let (architecture, pooling) = (self.base.architecture(), self.options.spec.pooling);
        let wrong = |reason| Err(Error::TaskFile { path: file.path.clone(), reason });
        for role in self.base.tensors(pooling).roles() {
            let name = architecture.parameter_name(role);
            match (self.masks.of(role), file.tensors.partial.get(&name)) {
                (Mask::None, _) => {}
                (Mask::All, None) if file.tensors.whole.contains_key(&name) => {}
                (mask, Some(partial)) if *mask == partial.mask => {}
                (_, Some(_)) => return wrong(format!("the tensor {name} has other entries than its method trains")),
                (_, None) => return Err(Error::MissingTensor { path: file.path.clone(), name }),
            }
        }
        let head = head_names(architecture, &self.options.spec, &self.options.method);
        let layers = self.base.config().num_hidden_layers;
        let is_known = |name: &String| {
            let role = architecture.role(name).filter(|role| role.layer < layers);
            let role = role.filter(|role| role.module != Module::Pooler || architecture.reads_pooler(pooling));
            head.contains(name) || role.is_some_and(|role| architecture.parameter_name(role) == *name)
        };
        match file.tensors.names().filter(|name| !is_known(name)).min() {
            None => Ok(()),
            Some(name) => wrong(format!("unexpected tensor {name}: the model has none of that name")),
        }
    }
}
