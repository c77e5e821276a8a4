//! Parquet, as pandas and Hugging Face's data sets write it: columns of strings for the texts, and for the label one of
//! strings, integers, floats or booleans. The number of a row stands for its line.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Number, Value};

use super::table::Table;
use super::{Dataset, ReadOptions};
use crate::tokenize::guard::guarded;
use crate::{Error, Result, Setting};

/// The largest file that is read; all of it is in memory, because its index is at its end.
const MAX_FILE: u64 = 4 << 30;

/// Reads the rows of a file.
pub(super) fn read(reader: impl Read, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("a Parquet file of more than {} GiB, the most that is read", MAX_FILE >> 30);
        return Err(Error::DataFile { path: path.into(), reason });
    }
    // The crate panics at some files that are not sound.
    let rows = guarded(|| rows(bytes.into(), path, options));
    rows.unwrap_or_else(|_| Err(broken(path, "its values are not as its index says")))
}

fn rows(bytes: Bytes, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    let failed = |error: ParquetError| broken(path, &error.to_string());
    let file = SerializedFileReader::new(bytes).map_err(failed)?;
    let fields = file.metadata().file_metadata().schema().get_fields();
    let mut table = Table::new(path, options);
    let keys = fields.iter().map(|field| (field.name().to_owned(), Value::Null)).collect();
    table.choose(&keys, options)?;
    let (texts, labels) = table.columns();
    let named = |name: &String| fields.iter().find(|field| field.name() == name).cloned();
    let chosen: Vec<TypePtr> = texts.iter().chain(labels).filter_map(named).collect();
    for (position, field) in chosen.iter().enumerate() {
        let is_label = position >= texts.len();
        let is_readable = is_string(field) || is_label && is_plain(field);
        if !is_readable {
            let (what, setting): (_, &[Setting]) = match is_label {
                true => ("strings, integers, floats or booleans", &[Setting::LabelColumn]),
                false => ("strings", &[Setting::TextColumn]),
            };
            return Err(Error::DataColumn {
                path: path.into(),
                reason: format!("the column {:?} is not one of {what}", field.name()),
                found: format!("its type is {}", name(field)),
                advice: "choose another".into(),
                settings: setting,
            });
        }
    }
    let schema = Type::group_type_builder("schema").with_fields(chosen).build().map_err(failed)?;
    for (number, row) in file.get_row_iter(Some(schema)).map_err(failed)?.enumerate() {
        let columns = row.map_err(failed)?.into_columns().into_iter();
        let object: Map<String, Value> = columns.map(|(name, field)| (name, value(field))).collect();
        table.object(number + 1, &object)?;
    }
    table.finish()
}

fn broken(path: &Path, reason: &str) -> Error {
    Error::DataFile { path: path.into(), reason: format!("not a sound Parquet file: {reason}") }
}

fn is_string(field: &Arc<Type>) -> bool {
    let info = field.get_basic_info();
    let is_marked =
        info.logical_type_ref() == Some(&LogicalType::String) || info.converted_type() == ConvertedType::UTF8;
    field.is_primitive() && field.get_physical_type() == Physical::BYTE_ARRAY && is_marked
}

/// Whether the values are integers, floats or booleans, and not dates, times or decimals.
fn is_plain(field: &Arc<Type>) -> bool {
    let info = field.get_basic_info();
    let is_number = matches!(info.logical_type_ref(), None | Some(LogicalType::Integer { .. }));
    let is_old_number = !matches!(
        info.converted_type(),
        ConvertedType::DATE
            | ConvertedType::DECIMAL
            | ConvertedType::TIME_MILLIS
            | ConvertedType::TIME_MICROS
            | ConvertedType::TIMESTAMP_MILLIS
            | ConvertedType::TIMESTAMP_MICROS
    );
    field.is_primitive()
        && is_number
        && is_old_number
        && matches!(
            field.get_physical_type(),
            Physical::BOOLEAN | Physical::INT32 | Physical::INT64 | Physical::FLOAT | Physical::DOUBLE
        )
}

/// The type of a column, for a message.
fn name(field: &Arc<Type>) -> String {
    let info = field.get_basic_info();
    match (info.logical_type_ref(), info.converted_type(), field.is_primitive()) {
        (Some(logical), ..) => format!("{logical:?}"),
        (None, ConvertedType::NONE, true) => field.get_physical_type().to_string(),
        (None, ConvertedType::NONE, false) => "a group of columns".into(),
        (None, converted, _) => converted.to_string(),
    }
}

/// A value of the types that are read; null for one that is missing, which pandas may write as NaN.
fn value(field: Field) -> Value {
    match field {
        Field::Str(text) => Value::String(text),
        Field::Bool(value) => Value::Bool(value),
        Field::Byte(number) => number.into(),
        Field::Short(number) => number.into(),
        Field::Int(number) => number.into(),
        Field::Long(number) => number.into(),
        Field::UByte(number) => number.into(),
        Field::UShort(number) => number.into(),
        Field::UInt(number) => number.into(),
        Field::ULong(number) => number.into(),
        // By its shortest decimal form, which an f64 of the same value may not have.
        Field::Float(number) => {
            number.to_string().parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        }
        Field::Double(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Columns;

    /// Files of tests/goldens/parquet_files.py.
    const SNAPPY: &[u8] = include_bytes!("../../tests/goldens/parquet/snappy.parquet");
    const ZSTD: &[u8] = include_bytes!("../../tests/goldens/parquet/zstd.parquet");
    const GZIP: &[u8] = include_bytes!("../../tests/goldens/parquet/gzip.parquet");

    fn set(bytes: &[u8], text: &str, label: &str) -> Result<Dataset> {
        let columns = Columns { text: vec![text.into()], label: Some(label.into()), ..Columns::default() };
        Dataset::from_reader(bytes, Path::new("in.parquet"), &ReadOptions { columns, ..ReadOptions::default() })
    }

    fn labels(set: &Dataset) -> Vec<&str> {
        set.examples.iter().map(|example| example.label.as_ref().map_or("", |label| label.as_str())).collect()
    }

    #[test]
    fn every_codec_is_read() {
        for bytes in [SNAPPY, ZSTD, GZIP] {
            let set = Dataset::from_reader(bytes, Path::new("in.parquet"), &ReadOptions::default()).unwrap();
            assert_eq!(set.examples.len(), 300);
            let first: Vec<_> = set.examples[..2].iter().map(|e| (e.text.as_str(), e.line)).collect();
            assert_eq!(first, [("text 0, \"é\"\n", 1), ("text 1, \"é\"\n", 2)]);
            assert_eq!(labels(&set)[..3], ["neg", "pos", "neg"]);
        }
    }

    #[test]
    fn labels_of_every_plain_type_are_read() {
        for (column, expected) in
            [("integer", ["0", "1", "2"]), ("float", ["0.0", "0.1", "0.2"]), ("single", ["0.0", "0.1", "0.2"])]
        {
            assert_eq!(labels(&set(SNAPPY, "text", column).unwrap())[..3], expected, "{column}");
        }
        assert_eq!(labels(&set(SNAPPY, "text", "boolean").unwrap())[..2], ["true", "false"]);
        let error = set(SNAPPY, "text", "gap").unwrap_err();
        assert_eq!(error.to_string(), "in.parquet, line 2, column gap: the label is null");
    }

    #[test]
    fn a_column_of_another_type_is_refused_by_name_and_type() {
        for (text, label, parts, setting) in [
            ("integer", "label", ["\"integer\"", "INT64"], Setting::TextColumn),
            ("bytes", "label", ["\"bytes\"", "BYTE_ARRAY"], Setting::TextColumn),
            ("text", "list", ["\"list\"", "List"], Setting::LabelColumn),
            ("text", "time", ["\"time\"", "Timestamp"], Setting::LabelColumn),
        ] {
            let error = set(SNAPPY, text, label).unwrap_err();
            assert_eq!(error.settings(), [setting]);
            assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_refused() {
        for cut in [4, 100, SNAPPY.len() - 1] {
            let error = set(&SNAPPY[..cut], "text", "label").unwrap_err().to_string();
            assert!(error.starts_with("in.parquet: not a sound Parquet file: "), "{error}");
        }
        let mut read = 0;
        for at in (0..SNAPPY.len()).step_by(7) {
            let mut bytes = SNAPPY.to_vec();
            bytes[at] ^= 0x55;
            read += usize::from(set(&bytes, "text", "label").is_ok());
        }
        assert!(read < SNAPPY.len() / 7);
    }
}
