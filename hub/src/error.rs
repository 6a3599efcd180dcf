//! Why there is no base model, and what to do instead.

use std::path::PathBuf;
use std::time::Duration;

use crate::Id;

/// Why there is no base model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Nothing that could be a model.
    #[error(
        "model {text:?} is neither a folder ({} is not there) nor an id of the Hugging Face hub: write the path of a Hugging Face folder, or ORG/NAME, or ORG/NAME@REVISION", folder.display()
    )]
    Neither {
        /// What was written.
        text: String,
        /// The folder that it would be.
        folder: PathBuf,
    },
    /// Offline, and the cache lacks it, or a part of it.
    #[error(
        "model {id}: HF_HUB_OFFLINE is set, and the cache {} has {lack}. Fetch it where the hub can be reached (`hf download {} --revision {}`) and copy that folder here, unset HF_HUB_OFFLINE, or name a folder with the model", cache.display(), id.name(), id.revision()
    )]
    NotCached {
        /// The model.
        id: Id,
        /// Its folder in the cache.
        cache: PathBuf,
        /// What the cache lacks.
        lack: String,
    },
    /// The hub does not show it to whoever asks.
    #[error(
        "model {id}: there is no folder {}, and {endpoint} answers {status}: it has no such model or revision, or the model is private or gated. If it exists, accept its conditions on its page and set HF_TOKEN{}", folder.display(), if *with_token { " to a token of an account that may read it" } else { " (no token is set now)" }
    )]
    NotShown {
        /// The model.
        id: Id,
        /// The folder that was looked for first.
        folder: PathBuf,
        /// The hub's address.
        endpoint: String,
        /// 401, 403 or 404.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// Another answer than the one that was asked for.
    #[error("model {id}: {endpoint} answers {status} for {file}; try again later")]
    Status {
        /// The model.
        id: Id,
        /// The hub's address.
        endpoint: String,
        /// What was asked for.
        file: String,
        /// The status of the answer.
        status: u16,
    },
    /// No answer, or one that broke off.
    #[error(
        "model {id}: {endpoint} cannot be reached for {file}: {reason}. Try again (what has come stays), set HF_ENDPOINT to a mirror, or name a folder with the model"
    )]
    Unreachable {
        /// The model.
        id: Id,
        /// The hub's address.
        endpoint: String,
        /// What was asked for.
        file: String,
        /// What the network said.
        reason: String,
    },
    /// Nothing came for too long.
    #[error(
        "model {id}: {endpoint} has said nothing for {} s while it was asked for {file} (HF_HUB_DOWNLOAD_TIMEOUT). Try again (what has come stays), set HF_ENDPOINT to a mirror, or name a folder with the model", silence.as_secs()
    )]
    Silent {
        /// The model.
        id: Id,
        /// The hub's address.
        endpoint: String,
        /// What was asked for.
        file: String,
        /// How long it was waited for.
        silence: Duration,
    },
    /// An answer that a hub does not give.
    #[error("model {id}: {endpoint} answers for {file} as no Hugging Face hub does: {reason}; check HF_ENDPOINT")]
    Answer {
        /// The model.
        id: Id,
        /// The hub's address.
        endpoint: String,
        /// What was asked for.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// What came is not what the hub announced.
    #[error("model {id}: {file} came damaged ({reason}) and was thrown away; try again")]
    Damaged {
        /// The model.
        id: Id,
        /// The file.
        file: String,
        /// What differs.
        reason: String,
    },
    /// Weights that run code when they are read.
    #[error(
        "model {id} has its weights only as pickles ({}), which run code when they are read: take a model or a revision with safetensors (the hub's converter leaves them as ORG/NAME@refs/pr/N), or convert it yourself and name the folder", files.join(", ")
    )]
    OnlyPickles {
        /// The model.
        id: Id,
        /// The pickles.
        files: Vec<String>,
    },
    /// A repository that is no model for this program.
    #[error(
        "model {id} has no {file}: it cannot be trained here; take the original model, not a part or another format of it"
    )]
    Incomplete {
        /// The model.
        id: Id,
        /// What it lacks.
        file: &'static str,
    },
    /// A file of the model that names others.
    #[error(transparent)]
    Index(#[from] adapter::AdapterError),
    /// The cache cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl HubError {
    /// Whether the same may work later, with nothing changed here.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent { .. } | Self::Status { .. } | Self::Damaged { .. })
    }
}
