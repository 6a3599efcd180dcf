//! The base model against the charter's digests: the same check in every house and for the model builder.

use std::path::{Path, PathBuf};

use adapter::AdapterError;
use protocol::{Charter, Digest};

/// Why a folder does not hold the charter's base model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseModelError {
    /// A file that cannot be read, or an index that names none.
    #[error(transparent)]
    File(#[from] AdapterError),
    /// Another model, or another revision of it.
    #[error(
        "{}: the weights' digest is {found}, but the charter's model has {expected} (model.sha256): this is another base model, or another revision of it", folder.display()
    )]
    Other {
        /// The model's folder.
        folder: PathBuf,
        /// The charter's.
        expected: Digest,
        /// The folder's.
        found: Digest,
    },
    /// The same weights with another configuration or tokenizer.
    #[error(
        "{}: the digest of {} is {found}, but the charter's model has {expected} (model.settings_sha256): take these files from the revision that \
         the federation agreed on", folder.display(), adapter::SETTINGS.join(", ")
    )]
    OtherSettings {
        /// The model's folder.
        folder: PathBuf,
        /// The charter's.
        expected: Digest,
        /// The folder's.
        found: Digest,
    },
}

/// Checks that `folder` holds the weights that `charter` pins, in one file or in several ([`adapter::weights_digest`]), and, where it pins them,
/// the configuration and the tokenizer ([`adapter::settings_digest`]).
///
/// # Errors
/// [`BaseModelError`].
pub fn check_base_model(charter: &Charter, folder: &Path) -> Result<(), BaseModelError> {
    let (expected, found) = (charter.model.sha256, Digest::from_bytes(adapter::weights_digest(folder)?));
    if found != expected {
        return Err(BaseModelError::Other { folder: folder.to_owned(), expected, found });
    }
    let Some(expected) = charter.model.settings_sha256 else { return Ok(()) };
    let found = Digest::from_bytes(adapter::settings_digest(folder)?);
    if found == expected {
        return Ok(());
    }
    Err(BaseModelError::OtherSettings { folder: folder.to_owned(), expected, found })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use protocol::charter::SAMPLE;

    use super::*;

    const SAMPLE_DIGEST: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

    /// The digest of several files is coreutils' (`adapter::weights_digest` says how).
    #[test]
    fn weights_in_several_files_are_the_charters_or_are_refused_with_both_digests() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora/tests/fixtures/families/llama3");
        let theirs = "5a5cc34c3834d08c35ef0a92b0f17fd964266fe61ba1125415cce2c5d276c3f1";
        check_base_model(&Charter::parse(&SAMPLE.replace(SAMPLE_DIGEST, theirs)).unwrap(), &folder).unwrap();
        let error = check_base_model(&Charter::parse(SAMPLE).unwrap(), &folder).unwrap_err();
        assert!(matches!(error, BaseModelError::Other { .. }));
        let message = error.to_string();
        assert!(message.contains(SAMPLE_DIGEST) && message.contains(theirs) && message.contains("llama3"), "{message}");
        // Pinned by what coreutils says of them: `LC_ALL=C sha256sum config.json | sha256sum`, the only one of these files there.
        let settings = "ee2febead95e1f9601467bfc06ed908c37478e2d3d7dc939214d7e0f2c7486a5";
        let pinned = |settings: &str| {
            let line = format!("{theirs}\"\nsettings_sha256 = \"{settings}");
            Charter::parse(&SAMPLE.replace(SAMPLE_DIGEST, &line)).unwrap()
        };
        check_base_model(&pinned(settings), &folder).unwrap();
        let message = check_base_model(&pinned(theirs), &folder).unwrap_err().to_string();
        assert!(message.contains("settings_sha256") && message.contains(settings), "{message}");
        let missing = check_base_model(&Charter::parse(SAMPLE).unwrap(), Path::new("/nowhere/at/all")).unwrap_err();
        assert!(missing.to_string().contains("model.safetensors"), "{missing}");
    }
}
