//! The base model's weights against the charter's digest: the same check in every house and for the model builder.

use std::path::{Path, PathBuf};

use adapter::AdapterError;
use protocol::{Charter, Digest};

/// Why a folder does not hold the charter's base model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
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
}

/// Checks that `folder` holds the weights that `charter` pins, in one file or in several ([`adapter::weights_digest`]).
///
/// # Errors
/// [`WeightsError`].
pub fn check_weights(charter: &Charter, folder: &Path) -> Result<(), WeightsError> {
    let (expected, found) = (charter.model.sha256, Digest::from_bytes(adapter::weights_digest(folder)?));
    if found == expected { Ok(()) } else { Err(WeightsError::Other { folder: folder.to_owned(), expected, found }) }
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
        check_weights(&Charter::parse(&SAMPLE.replace(SAMPLE_DIGEST, theirs)).unwrap(), &folder).unwrap();
        let error = check_weights(&Charter::parse(SAMPLE).unwrap(), &folder).unwrap_err();
        assert!(matches!(error, WeightsError::Other { .. }));
        let message = error.to_string();
        assert!(message.contains(SAMPLE_DIGEST) && message.contains(theirs) && message.contains("llama3"), "{message}");
        let missing = check_weights(&Charter::parse(SAMPLE).unwrap(), Path::new("/nowhere/at/all")).unwrap_err();
        assert!(missing.to_string().contains("model.safetensors"), "{missing}");
    }
}
