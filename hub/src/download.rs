//! One repository on the hub: what it has, and its files into the cache, each checked against what the hub says of it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Repo, RepoType};
use sha2::{Digest as _, Sha256};

use crate::cache::{Shelf, is_commit};
use crate::{HubError, Id, Settings};

/// How often a file is begun or gone on with before it is given up.
const ATTEMPTS: usize = 3;
/// How often the log says how far a download is.
const REPORT: Duration = Duration::from_secs(10);

/// A repository at one revision.
pub(crate) struct Source<'a> {
    settings: &'a Settings,
    id: &'a Id,
    /// The folder that the model could have been instead.
    folder: &'a Path,
    revision: String,
    api: Api,
}

impl<'a> Source<'a> {
    /// At the revision of `id`.
    pub(crate) fn new(settings: &'a Settings, id: &'a Id, folder: &'a Path) -> Result<Self, HubError> {
        Self::at(settings, id, folder, id.revision())
    }

    /// At a commit.
    pub(crate) fn at(settings: &'a Settings, id: &'a Id, folder: &'a Path, revision: &str) -> Result<Self, HubError> {
        let api = ApiBuilder::new()
            .with_cache_dir(settings.cache.clone())
            .with_endpoint(settings.endpoint.clone())
            .with_token(settings.token.clone())
            .with_progress(false)
            .build();
        let revision = revision.to_owned();
        match api {
            Ok(api) => Ok(Self { settings, id, folder, revision, api }),
            Err(error) => Err(HubError::Unreachable {
                id: id.clone(),
                endpoint: settings.endpoint.clone(),
                file: id.to_string(),
                reason: error.to_string(),
            }),
        }
    }

    /// The commit that the revision is, and the names of its files.
    pub(crate) fn listing(&self) -> Result<(String, Vec<String>), HubError> {
        let what = "its list of files";
        let repository = self.repository();
        let info = self.watched(what, 0, move |_| repository.info())?;
        if !is_commit(&info.sha) {
            return Err(self.strange(what, format!("{:?} is no commit", info.sha)));
        }
        Ok((info.sha, info.siblings.into_iter().map(|file| file.rfilename).collect()))
    }

    /// The path of a file in the snapshot; it is fetched if it is not there. The revision must be a commit.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf, HubError> {
        let path = Shelf::new(&self.settings.cache, self.id).snapshot(&self.revision).join(name);
        if path.exists() {
            return Ok(path);
        }
        let mut attempt = 1;
        loop {
            match self.fetch(name, &path) {
                Err(error @ (HubError::Unreachable { .. } | HubError::Damaged { .. })) if attempt < ATTEMPTS => {
                    tracing::debug!("attempt {attempt}: {error}");
                    attempt += 1;
                }
                Ok(()) => return Ok(path),
                Err(error) => return Err(error),
            }
        }
    }

    /// Fetches a file, or what is missing of it, and checks it: `hf-hub` does not.
    fn fetch(&self, name: &str, path: &Path) -> Result<(), HubError> {
        let (api, url) = (self.api.clone(), self.repository().url(name));
        let announced = self.watched(name, 0, move |_| api.metadata(&url))?;
        let (tag, size) = (announced.etag().to_owned(), announced.size() as u64);
        let plain = |tag: &str| !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        // The tag becomes a file's name.
        if !plain(tag.strip_prefix("W/").unwrap_or(&tag)) {
            return Err(self.strange(name, format!("the tag {tag:?}")));
        }
        if announced.commit_hash() != self.revision {
            return Err(self.strange(name, format!("commit {:?} for {}", announced.commit_hash(), self.revision)));
        }
        let shelf = Shelf::new(&self.settings.cache, self.id);
        let part = shelf.part(&tag);
        // A part that is as long as the whole has nothing left to ask for.
        if fs::metadata(&part).is_ok_and(|part| part.len() >= size) {
            remove(&part)?;
        }
        tracing::info!("{}: fetching {name}, {size} bytes", self.id);
        let (repository, file) = (self.repository(), name.to_owned());
        let fetched = self.watched(name, size, move |count| repository.download_with_progress(&file, count))?;
        if let Err(reason) = check(&fetched, size, &tag).map_err(|source| io_error(&fetched, source))? {
            remove(path)?;
            remove(&shelf.blob(&tag))?;
            return Err(HubError::Damaged { id: self.id.clone(), file: name.to_owned(), reason });
        }
        if path.exists() { Ok(()) } else { Err(self.strange(name, format!("it went to {}", fetched.display()))) }
    }

    /// Runs `work` in a thread that is given up once nothing has come for too long: the hub's client has no time-outs of its own.
    fn watched<T: Send + 'static>(
        &self,
        what: &str,
        size: u64,
        work: impl FnOnce(Counter) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, HubError> {
        let (done, answer) = mpsc::channel();
        let seen = Arc::new(AtomicU64::new(0));
        let counter = Counter(Arc::clone(&seen));
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

    fn refused(&self, what: &str, error: ApiError) -> HubError {
        let (id, endpoint, file) = (self.id.clone(), self.settings.endpoint.clone(), what.to_owned());
        match error {
            ApiError::RequestError(error) => match *error {
                ureq::Error::StatusCode(status @ (401 | 403 | 404)) => {
                    let (folder, with_token) = (self.folder.to_owned(), self.settings.token.is_some());
                    HubError::NotShown { id, folder, endpoint, status, with_token }
                }
                ureq::Error::StatusCode(status) => HubError::Status { id, endpoint, file, status },
                ureq::Error::Json(error) => self.strange(what, error.to_string()),
                error => HubError::Unreachable { id, endpoint, file, reason: error.to_string() },
            },
            ApiError::IoError(error) => HubError::Unreachable { id, endpoint, file, reason: error.to_string() },
            error => self.strange(what, error.to_string()),
        }
    }

    fn strange(&self, what: &str, reason: String) -> HubError {
        let (id, endpoint, file) = (self.id.clone(), self.settings.endpoint.clone(), what.to_owned());
        HubError::Answer { id, endpoint, file, reason }
    }

    fn repository(&self) -> ApiRepo {
        let name = self.id.name().to_owned();
        self.api.repo(Repo::with_revision(name, RepoType::Model, self.revision.clone()))
    }
}

/// Bytes that have come.
struct Counter(Arc<AtomicU64>);

impl Progress for Counter {
    fn init(&mut self, _size: usize, _file: &str) {
        self.0.store(0, Ordering::Relaxed);
    }
    fn update(&mut self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    fn finish(&mut self) {}
}

/// Whether a file is as long as announced, and, where its tag is a SHA-256 (that of all large files), whether that is its digest.
fn check(path: &Path, size: u64, tag: &str) -> io::Result<Result<(), String>> {
    let mut file = File::open(path)?;
    let found = file.metadata()?.len();
    if found != size {
        return Ok(Err(format!("{found} bytes instead of {size}")));
    }
    if tag.len() != 64 || hex::decode(tag).is_err() {
        return Ok(Ok(()));
    }
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    let found = hex::encode(hash.finalize());
    Ok(if found.eq_ignore_ascii_case(tag) { Ok(()) } else { Err(format!("SHA-256 {found} instead of {tag}")) })
}

fn remove(path: &Path) -> Result<(), HubError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path, error)),
        _ => Ok(()),
    }
}

fn io_error(path: &Path, source: io::Error) -> HubError {
    HubError::Io { path: path.to_owned(), source }
}
