//! The cache as Python's `huggingface_hub` lays it out: `models--ORG--NAME/refs/REVISION` holds a commit, `snapshots/COMMIT` the files of that commit, each a
//! link into `blobs`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use adapter::{BASE_INDEX, BASE_WEIGHTS};
use hf_hub::{Cache, Repo, RepoType};

use crate::files::{NEEDED, Weights, weights};
use crate::{HubError, Id};

/// One model's part of the cache.
pub(crate) struct Shelf<'a> {
    cache: &'a Path,
    id: &'a Id,
}

impl<'a> Shelf<'a> {
    pub(crate) fn new(cache: &'a Path, id: &'a Id) -> Self {
        Self { cache, id }
    }

    /// `models--ORG--NAME`.
    pub(crate) fn folder(&self) -> PathBuf {
        self.cache.join(self.repository().folder_name())
    }

    /// The files of a commit.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        Cache::new(self.cache.to_owned()).repo(self.repository()).pointer_path(commit)
    }

    /// Where a download of the file with this tag lies until it is whole.
    pub(crate) fn part(&self, tag: &str) -> PathBuf {
        let mut path = self.blob(tag);
        path.set_extension("part");
        path
    }

    /// The file with this tag.
    pub(crate) fn blob(&self, tag: &str) -> PathBuf {
        Cache::new(self.cache.to_owned()).repo(self.repository()).blob_path(tag)
    }

    /// Keeps other programs of this machine from fetching the file with this tag at the same time, Python's library among them, as long as it
    /// lives; waits for one that does.
    pub(crate) fn lock(&self, tag: &str) -> Result<File, HubError> {
        let path = self.cache.join(".locks").join(self.repository().folder_name()).join(format!("{tag}.lock"));
        let locked = || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
            let file = File::options().create(true).append(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(|source| HubError::Io { path: path.clone(), source })
    }

    /// Puts the file with this tag into a snapshot, as a link like `../../blobs/TAG`; a copy where the system has no links.
    pub(crate) fn link(&self, tag: &str, path: &Path) -> Result<(), HubError> {
        let made = || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
            // A link that leads nowhere is in the way.
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            #[cfg(unix)]
            return std::os::unix::fs::symlink(Path::new("../../blobs").join(tag), path);
            #[cfg(not(unix))]
            return fs::copy(self.blob(tag), path).map(|_bytes| ());
        };
        made().map_err(|source| HubError::Io { path: path.to_owned(), source })
    }

    /// Notes which commit the revision is now.
    pub(crate) fn note_revision(&self, commit: &str) -> Result<(), HubError> {
        if self.id.revision() == commit {
            return Ok(());
        }
        let noted = Cache::new(self.cache.to_owned()).repo(self.repository()).create_ref(commit);
        noted.map_err(|source| HubError::Io { path: self.folder().join("refs"), source })
    }

    /// The snapshot of the revision, where the cache has all that a model needs.
    pub(crate) fn complete(&self) -> Result<PathBuf, HubError> {
        let lacks = |lack: String| HubError::NotCached { id: self.id.clone(), cache: self.folder(), lack };
        if !self.folder().is_dir() {
            return Err(lacks("nothing of it".to_owned()));
        }
        let revision = self.id.revision();
        let Some(commit) = self.commit() else {
            return Err(lacks(format!("no revision {revision}")));
        };
        let snapshot = self.snapshot(&commit);
        // A link into `blobs` that leads nowhere is a file that is not there.
        let mut lacking: Vec<String> =
            NEEDED.iter().filter(|name| !snapshot.join(name).exists()).map(ToString::to_string).collect();
        let names: Vec<String> = match fs::read_dir(&snapshot) {
            Ok(entries) => {
                let there = entries.flatten().filter(|entry| entry.path().exists());
                there.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
            Err(_) => return Err(lacks(format!("no files of revision {revision}, which is commit {commit}"))),
        };
        match weights(names.iter().map(String::as_str)) {
            Weights::Single => {}
            Weights::Indexed => {
                // Links of the cache may lead to any text: the index is read as carefully as one from the network.
                let path = snapshot.join(BASE_INDEX);
                let index = fs::read(&path).map_err(|source| HubError::Io { path, source })?;
                let files = adapter::indexed_files(&index)?;
                lacking.extend(files.into_iter().filter(|name| !snapshot.join(name).exists()));
            }
            Weights::Pickles(files) => return Err(HubError::OnlyPickles { id: self.id.clone(), files }),
            Weights::None => lacking.push(BASE_WEIGHTS.to_owned()),
        }
        if lacking.is_empty() {
            return Ok(snapshot);
        }
        Err(lacks(format!("no {} of revision {revision} (commit {commit})", lacking.join(", "))))
    }

    /// The commit that the revision is, as far as the cache knows.
    fn commit(&self) -> Option<String> {
        let revision = self.id.revision();
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let noted = fs::read_to_string(self.folder().join("refs").join(revision)).ok()?;
        Some(noted.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    fn repository(&self) -> Repo {
        Repo::with_revision(self.id.name().to_owned(), RepoType::Model, self.id.revision().to_owned())
    }
}

/// Whether a text is a commit's full hash: nothing else becomes a folder's name.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
