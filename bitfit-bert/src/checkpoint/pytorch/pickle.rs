//! A reader of the pickles of a PyTorch state dict: a stack machine that knows the opcodes which `torch.save` writes in
//! its protocol 2, and the few globals that stand for tensors. Nothing is imported or run: a global is one of
//! [`Global`], or the file is refused.
//!
//! Values are numbers and indices into lists of objects, so that an object that is shared, or holds itself, needs no
//! recursion anywhere. Each opcode takes time for what it takes off the stack, and their number is bounded; with it all
//! that a hostile file could make large: the stack, the memo, the objects.
//!
//! The opcodes are those of Python's `pickletools`; the calls are those of `torch/_utils.py`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::{self, Display};

use super::opcodes;
use super::values::{Global, Id, Objects, Storage, Tensor, Value};

/// The largest number of opcodes. A BERT-large takes some 16,000.
const MAX_OPCODES: usize = 1 << 20;
/// The largest number of tensors.
pub(super) const MAX_TENSORS: usize = 1 << 16;
/// The largest number of dimensions, which is PyTorch's own limit.
const MAX_RANK: usize = 64;
/// The largest length of a string in bytes.
const MAX_STRING: usize = 4096;
/// The largest length in bytes of the names of a global's module and of the global.
const MAX_GLOBAL: usize = 256;

/// Why a pickle is refused, and the byte of the file where the opcode begins that is to blame.
#[derive(Debug)]
pub(super) struct Refusal {
    what: String,
    at: usize,
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub root: Value<'a>,
    pub objects: Objects<'a>,
    /// The place of the byte behind it.
    pub end: usize,
}

/// Reads the pickle that begins at byte `start` of `bytes`.
pub(super) fn read(bytes: &[u8], start: usize) -> Result<Pickle<'_>, Refusal> {
    let mut machine = Machine { bytes, position: start, ..Machine::default() };
    for _ in 0..MAX_OPCODES {
        let at = machine.position;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(Pickle { root, objects: machine.objects, end: machine.position }),
            Err(what) => return Err(Refusal { what, at }),
        }
    }
    Err(Refusal { what: format!("more than {MAX_OPCODES} opcodes"), at: machine.position })
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    stack: Vec<Value<'a>>,
    /// The heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    objects: Objects<'a>,
    /// The storages by their keys.
    storages: HashMap<&'a str, Id>,
}

type Step<T> = Result<T, String>;

impl<'a> Machine<'a> {
    /// Does what the next opcode says. Returns the pickle's value at its end.
    fn step(&mut self) -> Step<Option<Value<'a>>> {
        let [opcode] = self.array()?;
        let value = match opcode {
            opcodes::STOP => return self.pop().map(Some),
            opcodes::PROTO => match self.array()? {
                [2 | 3] => return Ok(None),
                [protocol] => return Err(format!("pickle protocol {protocol}, where torch.save writes 2,")),
            },
            opcodes::MARK => {
                self.marks.push(self.stack.len());
                return Ok(None);
            }
            opcodes::BINPUT => {
                let [index] = self.array()?;
                return self.remember(index.into());
            }
            opcodes::LONG_BINPUT => {
                let index = u32::from_le_bytes(self.array()?);
                return self.remember(index);
            }
            opcodes::SETITEM => {
                let value = self.pop()?;
                let item = (self.pop()?, value);
                self.dict()?.push(item);
                return Ok(None);
            }
            opcodes::SETITEMS => return self.set_items(),
            opcodes::APPEND => {
                let item = self.pop()?;
                self.list()?.push(item);
                return Ok(None);
            }
            opcodes::APPENDS => {
                let items = self.pop_mark()?;
                self.list()?.extend(items);
                return Ok(None);
            }
            // What a dict has as an object beside its items, such as the versions of its modules, is not looked at.
            opcodes::BUILD => {
                self.pop()?;
                self.dict()?;
                return Ok(None);
            }
            opcodes::NONE => Value::None,
            opcodes::NEWTRUE => Value::Bool(true),
            opcodes::NEWFALSE => Value::Bool(false),
            opcodes::BININT1 => Value::Int(u8::from_le_bytes(self.array()?).into()),
            opcodes::BININT2 => Value::Int(u16::from_le_bytes(self.array()?).into()),
            opcodes::BININT => Value::Int(i32::from_le_bytes(self.array()?).into()),
            opcodes::LONG1 => Value::Int(self.long()?),
            opcodes::BINFLOAT => self.array().map(|_: [u8; 8]| Value::Float)?,
            opcodes::BINUNICODE => Value::Str(self.string()?),
            opcodes::GLOBAL => Value::Global(self.global()?),
            opcodes::BINGET => {
                let [index] = self.array()?;
                self.recall(index.into())?
            }
            opcodes::LONG_BINGET => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index)?
            }
            opcodes::EMPTY_TUPLE => self.tuple(Vec::new()),
            opcodes::TUPLE1 => self.tuple_of::<1>()?,
            opcodes::TUPLE2 => self.tuple_of::<2>()?,
            opcodes::TUPLE3 => self.tuple_of::<3>()?,
            opcodes::TUPLE => {
                let items = self.pop_mark()?;
                self.tuple(items)
            }
            opcodes::EMPTY_LIST => {
                self.objects.sequences.push(Vec::new());
                Value::List(self.objects.sequences.len() - 1)
            }
            opcodes::EMPTY_DICT => self.new_dict(),
            opcodes::BINPERSID => {
                let id = self.pop()?;
                self.storage(id)?
            }
            opcodes::REDUCE => {
                let arguments = self.pop()?;
                match self.pop()? {
                    Value::Global(function) => self.call(function, arguments)?,
                    other => return Err(format!("a call of {}", other.kind())),
                }
            }
            other => return Err(format!("unexpected opcode {}", opcodes::name(other))),
        };
        self.stack.push(value);
        Ok(None)
    }

    /// The next bytes of the file.
    fn take(&mut self, len: usize) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = rest.get(..len).ok_or("the file ends inside of the pickle,")?;
        self.position += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let taken = self.take(N)?;
        Ok(*taken.first_chunk().expect("N bytes were taken"))
    }

    /// An integer in as many bytes as it says.
    fn long(&mut self) -> Step<i64> {
        let [len] = self.array()?;
        let bytes = self.take(len.into())?;
        if bytes.len() > 8 {
            return Err(format!("an integer of {len} bytes"));
        }
        let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        let mut all = [sign; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(all))
    }

    fn string(&mut self) -> Step<&'a str> {
        let len = u32::from_le_bytes(self.array()?) as usize;
        if len > MAX_STRING {
            return Err(format!("a string of {len} bytes"));
        }
        str::from_utf8(self.take(len)?).map_err(|_| "a string that is not UTF-8".into())
    }

    /// The two lines behind GLOBAL.
    fn global(&mut self) -> Step<Global> {
        let mut line = || {
            let rest = self.bytes.get(self.position..).unwrap_or_default();
            let end = rest.iter().take(MAX_GLOBAL).position(|&byte| byte == b'\n');
            let line = self.take(end.ok_or("a global without an end of its name")? + 1)?;
            Ok::<_, String>(line.strip_suffix(b"\n").unwrap_or(line).escape_ascii().to_string())
        };
        let (module, name) = (line()?, line()?);
        let global = match (module.as_str(), name.as_str()) {
            ("collections", "OrderedDict") => Some(Global::OrderedDict),
            ("torch._utils", "_rebuild_tensor") => Some(Global::RebuildTensor),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensorV2),
            ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
            ("torch", class) => Global::storage(class),
            _ => None,
        };
        global.ok_or_else(|| format!("the pickle wants {module}.{name}, which is not part of a tensor,"))
    }

    fn pop(&mut self) -> Step<Value<'a>> {
        // What lies below a mark belongs to another object.
        match self.marks.last() {
            Some(&mark) if self.stack.len() <= mark => Err("an empty stack".into()),
            _ => self.stack.pop().ok_or("an empty stack".into()),
        }
    }

    /// What was pushed since the last mark.
    fn pop_mark(&mut self) -> Step<Vec<Value<'a>>> {
        let mark = self.marks.pop().ok_or("a stack without a mark")?;
        // Not `split_off`, which gives away the stack's capacity where it takes all.
        Ok(self.stack.drain(mark..).collect())
    }

    fn top(&self) -> Step<Value<'a>> {
        self.stack.last().copied().ok_or("an empty stack".into())
    }

    fn remember(&mut self, index: u32) -> Step<Option<Value<'a>>> {
        self.memo.insert(index, self.top()?);
        Ok(None)
    }

    fn recall(&self, index: u32) -> Step<Value<'a>> {
        self.memo.get(&index).copied().ok_or_else(|| format!("nothing in the memo's place {index}"))
    }

    fn tuple(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        self.objects.sequences.push(items);
        Value::Tuple(self.objects.sequences.len() - 1)
    }

    /// A tuple of the last N values.
    fn tuple_of<const N: usize>(&mut self) -> Step<Value<'a>> {
        let mut items = vec![Value::None; N];
        for item in items.iter_mut().rev() {
            *item = self.pop()?;
        }
        Ok(self.tuple(items))
    }

    fn new_dict(&mut self) -> Value<'a> {
        self.objects.dicts.push(Vec::new());
        Value::Dict(self.objects.dicts.len() - 1)
    }

    /// The list on top of the stack.
    fn list(&mut self) -> Step<&mut Vec<Value<'a>>> {
        match self.top()? {
            Value::List(id) => Ok(&mut self.objects.sequences[id]),
            other => Err(format!("{} in a list's place", other.kind())),
        }
    }

    /// The items of the dict on top of the stack.
    fn dict(&mut self) -> Step<&mut Vec<(Value<'a>, Value<'a>)>> {
        match self.top()? {
            Value::Dict(id) => Ok(&mut self.objects.dicts[id]),
            other => Err(format!("{} in a dict's place", other.kind())),
        }
    }

    fn set_items(&mut self) -> Step<Option<Value<'a>>> {
        let items = self.pop_mark()?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a key without a value".into());
        }
        self.dict()?.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(None)
    }

    fn items(&self, value: Value<'a>) -> Step<&[Value<'a>]> {
        match value {
            Value::Tuple(id) => Ok(&self.objects.sequences[id]),
            other => Err(format!("{} in a tuple's place", other.kind())),
        }
    }

    /// The storage of a persistent id: `("storage", class, key, location, length)`, and None in the legacy format.
    fn storage(&mut self, id: Value<'a>) -> Step<Value<'a>> {
        use Value::{Global as Class, Int, None, Str};
        let (dtype, key, len) = match *self.items(id)? {
            [Str("storage"), Class(Global::Storage(dtype)), Str(key), Str(_), Int(len)]
            | [Str("storage"), Class(Global::Storage(dtype)), Str(key), Str(_), Int(len), None] => (dtype, key, len),
            _ => return Err("a persistent id that is not a storage's".into()),
        };
        let len = usize::try_from(len).map_err(|_| format!("a storage of {len} elements"))?;
        let storage = Storage { key, dtype, len };
        let next = self.objects.storages.len();
        let id = match self.storages.entry(key) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(slot) => *slot.insert(next),
        };
        if id == next {
            self.objects.storages.push(storage);
        }
        if self.objects.storages[id] != storage {
            return Err(format!("a second, different description of storage {key:?}"));
        }
        Ok(Value::Storage(id))
    }

    /// What a call returns.
    fn call(&mut self, function: Global, arguments: Value<'a>) -> Step<Value<'a>> {
        use Value::{Int, Storage};
        let (storage, offset, shape, strides) = match (function, self.items(arguments)?) {
            (Global::OrderedDict, []) => return Ok(self.new_dict()),
            // What follows a parameter's tensor, and the last two of a tensor, is whether it trains and its hooks.
            (Global::RebuildParameter, &[tensor @ Value::Tensor(_), _, _]) => return Ok(tensor),
            (Global::RebuildTensor, &[Storage(storage), Int(offset), shape, strides])
            | (Global::RebuildTensorV2, &[Storage(storage), Int(offset), shape, strides, _, _]) => {
                (storage, offset, shape, strides)
            }
            _ => return Err(format!("a call of {function} with unexpected arguments")),
        };
        let (shape, strides) = (self.extents(shape)?, self.extents(strides)?);
        let offset = usize::try_from(offset).map_err(|_| format!("a tensor at offset {offset} of its storage"))?;
        if shape.len() != strides.len() {
            return Err(format!("a tensor of {} extents and {} strides", shape.len(), strides.len()));
        }
        if self.objects.tensors.len() == MAX_TENSORS {
            return Err(format!("more than {MAX_TENSORS} tensors"));
        }
        self.objects.tensors.push(Tensor { storage, offset, shape, strides });
        Ok(Value::Tensor(self.objects.tensors.len() - 1))
    }

    /// The numbers of a shape or of strides.
    fn extents(&self, value: Value<'a>) -> Step<Vec<usize>> {
        let items = self.items(value)?;
        if items.len() > MAX_RANK {
            return Err(format!("a tensor of {} dimensions", items.len()));
        }
        let extent = |item: &Value| match *item {
            Value::Int(extent) => usize::try_from(extent).map_err(|_| format!("{extent} in a shape or its strides")),
            other => Err(format!("{} in a shape or its strides", other.kind())),
        };
        items.iter().map(extent).collect()
    }
}
