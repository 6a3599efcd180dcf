//! From what was written to a folder with the model's files.

use std::fs;
use std::path::{Path, PathBuf};

use adapter::{BASE_INDEX, BASE_WEIGHTS};

use crate::cache::{Shelf, is_commit};
use crate::download::Source;
use crate::files::{NEEDED, OPTIONAL, Weights, weights};
use crate::{HubError, Id, Model, Settings};

/// The hub and its cache on this machine.
#[derive(Debug, Clone)]
pub struct Hub {
    settings: Settings,
}

impl Hub {
    /// As the environment of this program says.
    #[must_use]
    pub fn from_env() -> Self {
        Self::new(Settings::from_env())
    }

    /// With these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The folder with the model's files: the one that was written, if it is there; else a snapshot in the cache, for which the hub is asked
    /// and what the cache lacks is fetched. A hub that cannot be reached is no error where the cache has all. Blocks; a download can take long.
    ///
    /// # Errors
    /// [`HubError`], which names model and file, and what to do instead.
    pub fn folder(&self, model: &Model) -> Result<PathBuf, HubError> {
        let folder = model.path();
        if !model.as_str().is_empty() && folder.is_dir() {
            return Ok(folder);
        }
        let Ok(id) = model.as_str().parse::<Id>() else {
            return Err(HubError::Neither { text: model.as_str().to_owned(), folder });
        };
        // A mistyped or unmounted path must not become somebody's model of that name.
        if model.parent_exists() {
            return Err(HubError::Neither { text: model.as_str().to_owned(), folder });
        }
        let shelf = Shelf::new(&self.settings.cache, &id);
        if self.settings.offline {
            return shelf.complete();
        }
        // What a commit holds does not change.
        if is_commit(id.revision())
            && let Ok(snapshot) = shelf.complete()
        {
            return Ok(snapshot);
        }
        match self.fetch(&id, &folder) {
            // A house goes on with what it has, whatever became of the model's page.
            Err(
                error @ (HubError::Unreachable { .. }
                | HubError::Silent { .. }
                | HubError::Status { .. }
                | HubError::NotShown { .. }
                | HubError::Answer { .. }),
            ) => {
                let Ok(snapshot) = shelf.complete() else { return Err(error) };
                tracing::warn!("{error}; going on with what the cache has: {}", snapshot.display());
                Ok(snapshot)
            }
            fetched => fetched,
        }
    }

    fn fetch(&self, id: &Id, folder: &Path) -> Result<PathBuf, HubError> {
        let (commit, names) = Source::new(&self.settings, id, folder, id.revision()).listing()?;
        let has = |name: &str| names.iter().any(|there| there == name);
        if let Some(file) = NEEDED.into_iter().find(|name| !has(name)) {
            return Err(HubError::Incomplete { id: id.clone(), file });
        }
        let weights = weights(names.iter().map(String::as_str));
        match &weights {
            Weights::Pickles(files) => return Err(HubError::OnlyPickles { id: id.clone(), files: files.clone() }),
            Weights::None => return Err(HubError::Incomplete { id: id.clone(), file: BASE_WEIGHTS }),
            Weights::Single | Weights::Indexed => {}
        }
        // All files are of this commit, even when the branch moves on meanwhile.
        let source = Source::new(&self.settings, id, folder, &commit);
        for name in NEEDED.into_iter().chain(OPTIONAL).filter(|name| has(name)) {
            source.file(name)?;
        }
        if weights == Weights::Single {
            source.file(BASE_WEIGHTS)?;
        } else {
            let path = source.file(BASE_INDEX)?;
            let index = fs::read(&path).map_err(|source| HubError::Io { path, source })?;
            for name in adapter::indexed_files(&index)? {
                source.file(&name)?;
            }
        }
        let shelf = Shelf::new(&self.settings.cache, id);
        // Last: a revision that is noted is there as a whole.
        shelf.note_revision(&commit)?;
        Ok(shelf.snapshot(&commit))
    }
}
