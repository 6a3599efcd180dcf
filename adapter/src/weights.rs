//! The files that hold a base model's weights, and the digests that stand for them and for the files beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::AdapterError;
use crate::directory::{in_file, io_error};

/// A checkpoint of one file.
pub const BASE_WEIGHTS: &str = "model.safetensors";
/// The names of the files of a checkpoint of several.
pub const BASE_INDEX: &str = "model.safetensors.index.json";

/// The files that hold a checkpoint's weights, in order of their names: `model.safetensors`, or those that its index names.
///
/// # Errors
/// [`AdapterError::Io`] and [`AdapterError::InFile`] naming the index; a name in it that leads out of `base`.
pub fn weight_files(base: &Path) -> Result<Vec<PathBuf>, AdapterError> {
    let index = base.join(BASE_INDEX);
    if base.join(BASE_WEIGHTS).exists() || !index.exists() {
        return Ok(vec![PathBuf::from(BASE_WEIGHTS)]);
    }
    let text = fs::read(&index).map_err(|source| io_error(&index, source))?;
    let names = in_file(&index, indexed_files(&text))?;
    Ok(names.into_iter().map(PathBuf::from).collect())
}

/// The names of files in the text of an index, each once, in order.
///
/// # Errors
/// [`AdapterError::Json`]; [`AdapterError::Invalid`] for no name at all, one that leads out of the index's folder, or one that cannot stand
/// in a line of text.
pub fn indexed_files(index: &[u8]) -> Result<Vec<String>, AdapterError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Index { weight_map } = serde_json::from_slice(index)?;
    let names: BTreeSet<String> = weight_map.into_values().collect();
    let invalid = |found: String, rule| Err(AdapterError::Invalid { key: "weight_map", found, rule });
    let plain = |name: &str| {
        Path::new(name).file_name() == Some(name.as_ref()) && !name.contains(|c: char| c.is_control() || c == '\\')
    };
    match names.iter().find(|name| !plain(name)) {
        Some(name) => invalid(format!("{name:?}"), "names of files beside it"),
        None if names.is_empty() => invalid("{}".to_owned(), "not empty"),
        None => Ok(names.into_iter().collect()),
    }
}

/// What a charter pins a checkpoint's weights by. One file: its SHA-256. Several: the SHA-256 of the lines `DIGEST  NAME` of all of them in order of
/// their names, in bytes, each with the file's SHA-256 in hexadecimal, two spaces and a line feed: what
/// `LC_ALL=C sha256sum model-*-of-*.safetensors | sha256sum` says in the model's folder. No file of weights is such a text, since a
/// safetensors file begins with the length of its header.
///
/// # Errors
/// [`AdapterError::Io`] naming a file that cannot be read, and what [`weight_files`] refuses.
pub fn weights_digest(base: &Path) -> Result<[u8; 32], AdapterError> {
    let names = weight_files(base)?;
    if let [single] = &*names
        && single.as_os_str() == BASE_WEIGHTS
    {
        return file_digest(&base.join(single));
    }
    lines_digest(base, &names)
}

/// What else decides which numbers a model makes of a text, in order of their names.
pub const SETTINGS: [&str; 4] = ["chat_template.jinja", "config.json", "tokenizer.json", "tokenizer_config.json"];

/// What a charter can pin a model's configuration and tokenizer by: the SHA-256 of the lines `DIGEST  NAME` of those of [`SETTINGS`] that are in the folder, as
/// [`weights_digest`] has it for weights in several files.
///
/// # Errors
/// [`AdapterError::Io`] naming a file that cannot be read.
pub fn settings_digest(base: &Path) -> Result<[u8; 32], AdapterError> {
    let names: Vec<PathBuf> = SETTINGS.iter().filter(|name| base.join(name).exists()).map(PathBuf::from).collect();
    lines_digest(base, &names)
}

/// SHA-256 of what sha256sum prints of these files.
fn lines_digest(base: &Path, names: &[PathBuf]) -> Result<[u8; 32], AdapterError> {
    let mut lines = String::new();
    for name in names {
        for byte in file_digest(&base.join(name))? {
            let _infallible = write!(lines, "{byte:02x}");
        }
        let _infallible = writeln!(lines, "  {}", name.display());
    }
    Ok(Sha256::digest(lines.as_bytes()).into())
}

fn file_digest(path: &Path) -> Result<[u8; 32], AdapterError> {
    let mut file = File::open(path).map_err(|source| io_error(path, source))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(|source| io_error(path, source))? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn hex(digest: [u8; 32]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// FIPS 180-4's digest of "abc".
    #[test]
    fn one_file_is_pinned_by_its_sha256_whatever_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(BASE_WEIGHTS), "abc").unwrap();
        fs::write(dir.path().join(BASE_INDEX), r#"{"weight_map": {"a": "other.safetensors"}}"#).unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(weights_digest(dir.path()).unwrap()), expected);
    }

    /// What coreutils says of five files: `LC_ALL=C sha256sum model-*-of-*.safetensors | sha256sum`.
    #[test]
    fn several_files_are_pinned_by_what_sha256sum_says_of_them() {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora/tests/fixtures/families/llama3");
        let expected = "5a5cc34c3834d08c35ef0a92b0f17fd964266fe61ba1125415cce2c5d276c3f1";
        assert_eq!(hex(weights_digest(&base).unwrap()), expected);
        let dir = tempfile::tempdir().unwrap();
        let copy = |from: &str, to: &str| fs::copy(base.join(from), dir.path().join(to)).unwrap();
        copy(BASE_INDEX, BASE_INDEX);
        for name in weight_files(&base).unwrap() {
            copy(name.to_str().unwrap(), name.to_str().unwrap());
        }
        assert_eq!(hex(weights_digest(dir.path()).unwrap()), expected);
        // One file in another's place, and a missing one.
        copy("model-00002-of-00005.safetensors", "model-00001-of-00005.safetensors");
        assert_ne!(hex(weights_digest(dir.path()).unwrap()), expected);
        fs::remove_file(dir.path().join("model-00003-of-00005.safetensors")).unwrap();
        let error = weights_digest(dir.path()).unwrap_err().to_string();
        assert!(error.contains("model-00003-of-00005.safetensors"), "{error}");
    }

    #[test]
    fn an_index_names_files_beside_it_once_and_in_order() {
        let index = |names: &[&str]| {
            let map: BTreeMap<_, _> = names.iter().enumerate().map(|(i, name)| (i.to_string(), *name)).collect();
            indexed_files(serde_json::json!({ "metadata": {}, "weight_map": map }).to_string().as_bytes())
        };
        assert_eq!(index(&["b", "a", "b"]).unwrap(), ["a", "b"]);
        for bad in [&["../a"][..], &["/a"], &["x/a"], &["a", ".."], &[""], &["a\nb"], &["a\\b"], &[]] {
            assert!(matches!(index(bad), Err(AdapterError::Invalid { key: "weight_map", .. })), "{bad:?}");
        }
        assert!(matches!(indexed_files(b"{}"), Err(AdapterError::Json(_))));
    }
}
