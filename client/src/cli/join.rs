//! `join`.

use std::path::{Path, PathBuf};

use protocol::Invitation;
use zeroize::Zeroizing;

use super::{Failure, runtime, status};
use crate::join::{JoinError, join};

/// Longer than any invitation.
const MAX_INVITATION_BYTES: usize = 64 * 1024;

pub(super) fn run(
    dir: &Path,
    invitation: Option<String>,
    file: Option<PathBuf>,
    fingerprint: Option<&str>,
) -> Result<(), Failure> {
    let text = Zeroizing::new(match (invitation, file) {
        (Some(text), _) => text,
        (None, Some(file)) => {
            let bytes = crate::files::read(&file, MAX_INVITATION_BYTES).map_err(Failure::usage)?;
            let bytes = bytes.ok_or_else(|| Failure::usage(format!("{}: there is no such file", file.display())))?;
            String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{}: is not text", file.display())))?
        }
        (None, None) => return Err(Failure::usage("give --invitation or --invitation-file")),
    });
    let invitation: Invitation = text.parse().map_err(Failure::usage)?;
    match fingerprint {
        Some(heard) if !invitation.has_fingerprint(heard) => {
            return Err(Failure::usage(format!(
                "the invitation's fingerprint is {}, and not {heard}: it was changed on its way, or is another one; nothing was sent",
                invitation.fingerprint()
            )));
        }
        Some(_) => {}
        None => eprintln!(
            "The invitation's fingerprint is {}: let its sender read theirs out, and say it as --fingerprint to have it compared first.",
            invitation.fingerprint()
        ),
    }
    let identity = runtime()?.block_on(join(dir, &invitation)).map_err(failure)?;
    println!("{} has joined.\n", identity.name());
    println!("{}", status::summary(&identity.charter, identity.name()));
    println!(
        "\nBefore `plainchant-client run {0}`: read {0}/charter.toml, approve it with\n\n    plainchant-client charter approve {0} {1}\n\n\
         and edit {0}/client.toml. Once all have joined, compare the fingerprints of\n\n    plainchant-client roster show {0}\n\n\
         with the other houses on the telephone, and approve them with `plainchant-client roster approve {0} DIGEST`.",
        dir.display(),
        identity.charter.digest()
    );
    Ok(())
}

fn failure(error: JoinError) -> Failure {
    match error {
        JoinError::Unavailable { .. } => Failure::later(error),
        JoinError::AlreadyJoined(_) | JoinError::Config(_) | JoinError::Connect(_) | JoinError::OtherVersion(_) => {
            Failure::usage(error)
        }
        _ => Failure::failed(error),
    }
}
