//! An adapter as the directory that PEFT reads and writes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::codec::size_limit;
use crate::{Adapter, AdapterError, BaseBiases, Bias, LoraConfig, Model};

const CONFIG_FILE: &str = "adapter_config.json";
const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// PEFT's configurations have a few kilobytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

impl Adapter {
    /// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`, making it if need be, of an adapter without biases of the base model.
    ///
    /// Each file is written under another name, synced and renamed, the weights first: a crash leaves the old file or
    /// the new one, and a directory with a configuration has weights.
    ///
    /// # Errors
    /// [`AdapterError::Io`] naming the file; [`AdapterError::NeedsBase`].
    pub fn save_dir(&self, dir: &Path) -> Result<(), AdapterError> {
        without_biases(self.config())?;
        self.write(dir)
    }

    /// The same of any adapter, with the biases of its base model: they stand in PEFT's files as sums.
    ///
    /// # Errors
    /// As [`save_dir`](Self::save_dir), and [`AdapterError::MissingTensor`] naming a bias that is not in `base`.
    pub fn save_dir_with_base(&self, dir: &Path, base: &BaseBiases) -> Result<(), AdapterError> {
        self.clone().with_biases(base, 1.0)?.write(dir)
    }

    fn write(&self, dir: &Path) -> Result<(), AdapterError> {
        fs::create_dir_all(dir).map_err(|source| io_error(dir, source))?;
        write_atomically(&dir.join(WEIGHTS_FILE), &self.to_bytes()?)?;
        write_atomically(&dir.join(CONFIG_FILE), self.model().for_peft(self.config())?.to_peft_json()?.as_bytes())
    }

    /// Reads a directory that [`save_dir`](Self::save_dir) or PEFT wrote for this model, without biases of the base model.
    ///
    /// # Errors
    /// [`AdapterError::Io`] naming the file, or [`AdapterError::InFile`] naming the file and what is wrong in it ([`AdapterError::NeedsBase`] among it).
    pub fn load_dir(dir: &Path, model: &Model) -> Result<Self, AdapterError> {
        let adapter = Self::read(dir, model)?;
        in_file(&dir.join(CONFIG_FILE), without_biases(adapter.config()))?;
        Ok(adapter)
    }

    /// The same of any adapter of the base model in the folder `base`, which is opened only if its biases are trained.
    ///
    /// # Errors
    /// As [`load_dir`](Self::load_dir), and naming a file or tensor of the base model.
    pub fn load_dir_with_base(dir: &Path, model: &Model, base: &Path) -> Result<Self, AdapterError> {
        let adapter = Self::read(dir, model)?;
        let biases = BaseBiases::read(model, adapter.config(), base)?;
        in_file(dir, adapter.with_biases(&biases, -1.0))
    }

    fn read(dir: &Path, model: &Model) -> Result<Self, AdapterError> {
        let path = dir.join(CONFIG_FILE);
        let mut config = read(&path, CONFIG_BYTES_MAX)
            .and_then(|bytes| in_file(&path, serde_json::from_slice(&bytes).map_err(AdapterError::Json)))
            .and_then(|json| in_file(&path, LoraConfig::from_peft_value(&json)))?;
        config.fit_head(model);
        let limit = in_file(&path, size_limit(model, &config))?;
        let path = dir.join(WEIGHTS_FILE);
        let bytes = read(&path, limit)?;
        in_file(&path, Self::from_bytes(model, &config, &bytes))
    }
}

fn without_biases(config: &LoraConfig) -> Result<(), AdapterError> {
    match config.bias {
        Bias::None => Ok(()),
        bias => Err(AdapterError::NeedsBase { bias: bias.as_str() }),
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, AdapterError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    // One byte more than allowed tells a file at the limit from one beyond it, whatever its metadata says.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| io_error(path, source))?;
    let found = bytes.len() as u64;
    if found > limit {
        return in_file(path, Err(AdapterError::TooLarge { found, limit }));
    }
    Ok(bytes)
}

pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), AdapterError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // The error to report is the first one; a leftover is only untidy.
        let _ = fs::remove_file(&temporary);
        io_error(path, source)
    })
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> AdapterError {
    AdapterError::Io { path: path.to_owned(), source }
}

pub(crate) fn in_file<T>(path: &Path, result: Result<T, AdapterError>) -> Result<T, AdapterError> {
    result.map_err(|source| AdapterError::InFile { path: path.to_owned(), source: Box::new(source) })
}
