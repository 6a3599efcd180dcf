//! One repository on the hub: what it has, and its files into the cache, each checked against what the hub says of it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use ureq::http::HeaderMap;

use crate::cache::{Shelf, is_commit};
use crate::wire::{Ask, Wire, WireError};
use crate::{HubError, Id, Settings};

/// How often a file is begun or gone on with before it is given up.
const ATTEMPTS: usize = 3;
/// How often the log says how far a download is.
const REPORT: Duration = Duration::from_secs(10);

/// The longest list of files that is read: a repository of ten thousand files has less.
const LISTING_BYTES_MAX: u64 = 4 << 20;

/// A repository at one revision.
pub(crate) struct Source<'a> {
    settings: &'a Settings,
    id: &'a Id,
    /// The folder that the model could have been instead.
    folder: &'a Path,
    revision: String,
    wire: Wire,
}

/// What the hub says of a file.
struct Announced {
    /// Names its content: a SHA-256 for large files.
    tag: String,
    size: u64,
}

impl<'a> Source<'a> {
    /// At a revision of `id`: its own, or a commit.
    pub(crate) fn new(settings: &'a Settings, id: &'a Id, folder: &'a Path, revision: &str) -> Self {
        let wire = Wire::new(settings.token.as_deref(), settings.silence);
        Self { settings, id, folder, revision: revision.to_owned(), wire }
    }

    /// The commit that the revision is, and the names of its files.
    pub(crate) fn listing(&self) -> Result<(String, Vec<String>), HubError> {
        #[derive(Deserialize)]
        struct Listing {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let what = "its list of files";
        let (wire, revision) = (self.wire.clone(), self.revision.replace('/', "%2F"));
        let url = format!("{}/api/models/{}/revision/{revision}", self.settings.endpoint, self.id.name());
        let text = self.watched(what, 0, move |_| {
            let mut answer = wire.ask(&url, Ask::Body(0))?;
            let body = answer.body_mut().with_config().limit(LISTING_BYTES_MAX);
            body.read_to_vec().map_err(|error| WireError::Network(error.to_string()))
        })?;
        let listing: Listing = serde_json::from_slice(&text).map_err(|error| self.strange(what, error.to_string()))?;
        if !is_commit(&listing.sha) {
            return Err(self.strange(what, format!("{:?} is no commit", listing.sha)));
        }
        Ok((listing.sha, listing.siblings.into_iter().map(|file| file.rfilename).collect()))
    }

    /// The path of a file in the snapshot; it is fetched if it is not there. The revision must be a commit.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf, HubError> {
        let shelf = Shelf::new(&self.settings.cache, self.id);
        let path = shelf.snapshot(&self.revision).join(name);
        if path.exists() {
            return Ok(path);
        }
        let announced = self.announced(name)?;
        let _lock = shelf.lock(&announced.tag)?;
        let blob = shelf.blob(&announced.tag);
        let mut attempt = 1;
        // Another program, or another commit, may have fetched it.
        while !blob.exists() {
            match self.fetch(name, &announced, &shelf) {
                Err(error @ (HubError::Unreachable { .. } | HubError::Damaged { .. })) if attempt < ATTEMPTS => {
                    tracing::debug!("attempt {attempt}: {error}");
                    attempt += 1;
                }
                fetched => fetched?,
            }
        }
        shelf.link(&announced.tag, &path)?;
        Ok(path)
    }

    /// What the hub says of a file, as far as this program believes it.
    fn announced(&self, name: &str) -> Result<Announced, HubError> {
        let (wire, url) = (self.wire.clone(), self.url(name));
        let headers = self.watched(name, 0, move |_| Ok(wire.ask(&url, Ask::About)?.headers().clone()))?;
        let header = |name: &str| text(&headers, name);
        let tag = header("x-linked-etag").or_else(|| header("etag")).unwrap_or_default();
        let tag = tag.strip_prefix("W/").unwrap_or(&tag).trim_matches('"').to_owned();
        // It becomes a file's name.
        if tag.is_empty() || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(self.strange(name, format!("the tag {tag:?}")));
        }
        let commit = header("x-repo-commit").unwrap_or_default();
        if commit != self.revision {
            return Err(self.strange(name, format!("it is of commit {commit:?}, not {}", self.revision)));
        }
        let size = header("x-linked-size").or_else(|| header("content-length"));
        match size.and_then(|size| size.parse().ok()) {
            Some(size) => Ok(Announced { tag, size }),
            None => Err(self.strange(name, "it has no length".to_owned())),
        }
    }

    /// Fetches a file, or what is missing of it, into its blob, and checks it.
    fn fetch(&self, name: &str, announced: &Announced, shelf: &Shelf<'_>) -> Result<(), HubError> {
        let (tag, size) = (&*announced.tag, announced.size);
        let part = shelf.part(tag);
        part.parent().map_or(Ok(()), fs::create_dir_all).map_err(|source| io_error(&part, source))?;
        let there = fs::metadata(&part).map_or(0, |part| part.len());
        if there < size {
            tracing::info!("{}: fetching {name}, {there} of {size} bytes are here", self.id);
            let (wire, url, path) = (self.wire.clone(), self.url(name), part.clone());
            self.watched(name, size, move |count| append(&wire, &url, &path, size, &count))?;
        } else if size == 0 {
            File::create(&part).map_err(|source| io_error(&part, source))?;
        }
        match check(&part, announced).map_err(|source| io_error(&part, source))? {
            Found::Whole => fs::rename(&part, shelf.blob(tag)).map_err(|source| io_error(&part, source)),
            Found::Short(reason) => Err(self.unreachable(name, reason)),
            Found::Other(reason) => {
                fs::remove_file(&part).map_err(|source| io_error(&part, source))?;
                Err(HubError::Damaged { id: self.id.clone(), file: name.to_owned(), reason })
            }
        }
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{}/resolve/{}/{name}", self.settings.endpoint, self.id.name(), self.revision)
    }

    /// Runs `work` in a thread that is given up once nothing has come for too long: a body has no time-out of its own, since a large one takes long.
    fn watched<T: Send + 'static>(
        &self,
        what: &str,
        size: u64,
        work: impl FnOnce(Arc<AtomicU64>) -> Result<T, WireError> + Send + 'static,
    ) -> Result<T, HubError> {
        let (done, answer) = mpsc::channel();
        let seen = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&seen);
        thread::spawn(move || {
            // Nobody listens any more after a time-out.
            let _given_up = done.send(work(counter));
        });
        let (mut last, mut moved, mut reported) = (0, Instant::now(), Instant::now());
        loop {
            match answer.recv_timeout(Duration::from_millis(100)) {
                Ok(result) => return result.map_err(|error| self.refused(what, error)),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(self.strange(what, "its client gave up on the answer".to_owned()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            let bytes = seen.load(Ordering::Relaxed);
            if bytes != last {
                (last, moved) = (bytes, Instant::now());
            } else if moved.elapsed() > self.settings.silence {
                return Err(HubError::Silent {
                    id: self.id.clone(),
                    endpoint: self.settings.endpoint.clone(),
                    file: what.to_owned(),
                    silence: self.settings.silence,
                });
            }
            if size > 0 && reported.elapsed() > REPORT {
                reported = Instant::now();
                tracing::info!("{}: {what}, {bytes} of {size} bytes", self.id);
            }
        }
    }

    fn refused(&self, what: &str, error: WireError) -> HubError {
        let (id, endpoint, file) = (self.id.clone(), self.settings.endpoint.clone(), what.to_owned());
        match error {
            WireError::Status(status @ (401 | 403 | 404)) => {
                let (folder, with_token) = (self.folder.to_owned(), self.settings.token.is_some());
                HubError::NotShown { id, folder, endpoint, status, with_token }
            }
            WireError::Status(status) => HubError::Status { id, endpoint, file, status },
            WireError::Network(reason) => self.unreachable(what, reason),
            WireError::Strange(reason) => self.strange(what, reason),
            WireError::Disk(path, source) => HubError::Io { path, source },
        }
    }

    fn unreachable(&self, what: &str, reason: String) -> HubError {
        let (id, endpoint, file) = (self.id.clone(), self.settings.endpoint.clone(), what.to_owned());
        HubError::Unreachable { id, endpoint, file, reason }
    }

    fn strange(&self, what: &str, reason: String) -> HubError {
        let (id, endpoint, file) = (self.id.clone(), self.settings.endpoint.clone(), what.to_owned());
        HubError::Answer { id, endpoint, file, reason }
    }
}

/// Adds what is missing of a file to the part that is there, and at most a byte more than it should have; counts what comes.
fn append(wire: &Wire, url: &str, path: &Path, size: u64, count: &AtomicU64) -> Result<(), WireError> {
    let disk = |source| WireError::Disk(path.to_owned(), source);
    let mut file = File::options().create(true).append(true).open(path).map_err(disk)?;
    let mut there = file.metadata().map_err(disk)?.len();
    let answer = wire.ask(url, Ask::Body(there))?;
    let range = text(answer.headers(), "content-range").unwrap_or_default();
    // Whoever does not say that the body goes on sends the whole.
    if there > 0 && !range.starts_with(&format!("bytes {there}-")) {
        file.set_len(0).map_err(disk)?;
        there = 0;
    }
    let mut body = answer.into_body().into_reader().take(size + 1 - there);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => return file.sync_all().map_err(disk),
            Ok(read) => {
                file.write_all(buffer.get(..read).unwrap_or_default()).map_err(disk)?;
                count.fetch_add(read as u64, Ordering::Relaxed);
            }
            Err(error) => return Err(WireError::Network(error.to_string())),
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// What a download has become.
enum Found {
    /// What was announced.
    Whole,
    /// A beginning.
    Short(String),
    /// Something else.
    Other(String),
}

/// Whether a file is as long as announced, and, where its tag is a SHA-256 (that of all large files), whether that is its digest.
fn check(path: &Path, announced: &Announced) -> io::Result<Found> {
    let Announced { tag, size } = announced;
    let mut file = File::open(path)?;
    let found = file.metadata()?.len();
    let sizes = format!("{found} bytes instead of {size}");
    if found < *size {
        return Ok(Found::Short(sizes));
    }
    if found > *size {
        return Ok(Found::Other(sizes));
    }
    if tag.len() != 64 || hex::decode(tag).is_err() {
        return Ok(Found::Whole);
    }
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    let found = hex::encode(hash.finalize());
    if found.eq_ignore_ascii_case(tag) {
        return Ok(Found::Whole);
    }
    Ok(Found::Other(format!("SHA-256 {found} instead of {tag}")))
}

fn io_error(path: &Path, source: io::Error) -> HubError {
    HubError::Io { path: path.to_owned(), source }
}
