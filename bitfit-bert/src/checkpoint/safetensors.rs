//! The tensors of a safetensors file, with its header checked; and the weight file of a new model directory.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{SafeTensors, TensorInfo, TensorView};

use super::mapped::{Entry, MappedFile};
use crate::config::FILE_NAME as CONFIG;
use crate::files::sync;
use crate::{Error, Result};

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The tensors of one file, whose header is checked against its length, in no particular order.
pub(super) fn entries(file: &MappedFile) -> Result<Vec<Entry>> {
    Ok(read(file)?.0)
}

/// As [`entries`], with the `__metadata__` of the header.
pub(crate) fn read(file: &MappedFile) -> Result<(Vec<Entry>, HashMap<String, String>)> {
    let (header, metadata) = SafeTensors::read_metadata(&file.bytes).map_err(|error| {
        file.wrong(format!(
            "not a complete safetensors file ({error}; {} bytes): fetch it again if the download was cut short",
            file.bytes.len()
        ))
    })?;
    // The data follow the header, and the eight bytes in front of it that hold its length.
    let start = size_of::<u64>() + header;
    let entry = |(name, info): (String, &TensorInfo)| Entry {
        path: file.path.clone(),
        name,
        dtype: info.dtype,
        shape: info.shape.clone(),
        strides: None,
        bytes: file.bytes.clone(),
        range: start + info.data_offsets.0..start + info.data_offsets.1,
    };
    Ok((metadata.tensors().into_iter().map(entry).collect(), metadata.metadata().clone().unwrap_or_default()))
}

/// Writes a weight file beside its model's `config.json`, which must be there, and waits until it is on the disk.
///
/// # Errors
/// [`Error::Weights`] and [`Error::Io`] with the file.
pub(crate) fn write(tensors: Vec<(&str, TensorView<'_>)>, path: &Path) -> Result<()> {
    // transformers asks for this key.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(metadata), path)
        .map_err(|error| Error::Weights { path: path.into(), reason: format!("it cannot be written: {error}") })?;
    // It is made for its owner alone; the configuration beside it is as any new file.
    let plain = fs::metadata(path.with_file_name(CONFIG)).map_err(Error::io(path))?.permissions();
    fs::set_permissions(path, plain).map_err(Error::io(path))?;
    sync(path)
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::checkpoint::weight_files::read_directory;
    use crate::fixture::Tiny;

    /// Writes `bytes` as the weights of an empty directory and returns why they are refused.
    fn refusal(bytes: &[u8]) -> String {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join(SINGLE), bytes).unwrap();
        let error = read_directory(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Weights { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("model.safetensors: ") && !message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn an_empty_file_is_refused() {
        assert!(refusal(b"").ends_with("the file is empty"));
    }

    #[test]
    fn a_file_cut_short_anywhere_is_refused() {
        let whole = Tiny::new().bytes();
        for len in [1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
            let message = refusal(&whole[..len]);
            assert!(message.contains(&format!("{len} bytes")) && message.contains("cut short"), "{message}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(refusal(&longer).contains("not a complete safetensors file"));
    }

    #[test]
    fn a_garbage_header_is_refused() {
        let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
        for bytes in [
            vec![0xff; 64],
            b"PK\x03\x04 a zip archive that calls itself safetensors".to_vec(),
            header("{"),
            header("[1, 2]"),
            header("{\"a\": 1}"),
            header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999]}}"#),
            header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#),
            header(r#"{"a":{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,4]}}"#),
            header(r#"{"a":{"dtype":"F99","shape":[0],"data_offsets":[0,0]}}"#),
            header(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#),
            [&8u64.to_le_bytes()[..], &[0xc3, 0x28, 0, 0, 0, 0, 0, 0]].concat(),
        ] {
            assert!(refusal(&bytes).contains("not a complete safetensors file"));
        }
    }
}
