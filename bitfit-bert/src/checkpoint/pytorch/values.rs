//! What the pickle of a state dict holds: numbers, strings, dicts, and tensors as views of storages.

use std::fmt::{self, Display};

use safetensors::Dtype;

/// An index into one of the lists of [`Objects`].
pub(super) type Id = usize;

/// What a pickle can hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// A float, of which only its being there matters.
    Float,
    Str(&'a str),
    Global(Global),
    Tuple(Id),
    List(Id),
    Dict(Id),
    Storage(Id),
    Tensor(Id),
}

/// The globals that a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildTensorV2,
    RebuildParameter,
    /// The class of a typed storage.
    Storage(Dtype),
}

/// A run of elements of one type, whose bytes are elsewhere in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    pub key: &'a str,
    pub dtype: Dtype,
    /// The number of elements.
    pub len: usize,
}

/// A view of a storage.
#[derive(Debug)]
pub(super) struct Tensor {
    pub storage: Id,
    /// The first element's place in the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// In elements; as many as there are extents.
    pub strides: Vec<usize>,
}

/// The objects that values refer to.
#[derive(Debug, Default)]
pub(super) struct Objects<'a> {
    /// The items of tuples and lists.
    pub sequences: Vec<Vec<Value<'a>>>,
    /// The items of dicts in the order in which they were set. A key that was set twice is there twice.
    pub dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    /// No two of one key.
    pub storages: Vec<Storage<'a>>,
    pub tensors: Vec<Tensor>,
}

impl Value<'_> {
    /// What it is, for a message.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Float => "a float",
            Self::Str(_) => "a string",
            Self::Global(_) => "a class or function",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

impl Global {
    /// The class of this name in the module `torch`.
    pub(super) fn storage(class: &str) -> Option<Self> {
        let dtype = match class.strip_suffix("Storage")? {
            "Float" => Dtype::F32,
            "Half" => Dtype::F16,
            "BFloat16" => Dtype::BF16,
            "Double" => Dtype::F64,
            "Long" => Dtype::I64,
            "Int" => Dtype::I32,
            "Short" => Dtype::I16,
            "Char" => Dtype::I8,
            "Byte" => Dtype::U8,
            "Bool" => Dtype::BOOL,
            _ => return None,
        };
        Some(Self::Storage(dtype))
    }
}

impl Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OrderedDict => write!(f, "collections.OrderedDict"),
            Self::RebuildTensor => write!(f, "torch._utils._rebuild_tensor"),
            Self::RebuildTensorV2 => write!(f, "torch._utils._rebuild_tensor_v2"),
            Self::RebuildParameter => write!(f, "torch._utils._rebuild_parameter"),
            Self::Storage(dtype) => write!(f, "a storage of {dtype}"),
        }
    }
}
