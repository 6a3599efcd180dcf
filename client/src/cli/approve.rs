//! `charter` and `roster`: what this house agrees to, shown and approved.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use comfy_table::{Table, presets};
use protocol::{Charter, Digest, Message as _, Roster};
use protos::v1;
use similar::TextDiff;
use toml_edit::{DocumentMut, value};

use super::{Failure, runtime, status};
use crate::config::{self, Config};
use crate::connection;
use crate::evidence::House;
use crate::files;
use crate::identity::Identity;
use crate::round::{RunError, lost};
use crate::store;

/// What must be compared of a digest. Whoever may shape two rosters (an aggregator that invents members) finds two that agree in n bits
/// with about 2^(n/2) tries, so that 160 bits cost 2^80.
const LEAST_DIGITS: usize = 40;
const MAX_TEXT_BYTES: usize = 1 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum CharterCommand {
    /// Shows the terms of the charter that was joined, its digest, whether it is approved, and whether the policy in client.toml takes it.
    Show {
        /// The house's folder, joined before.
        dir: PathBuf,
        /// Another charter to show the differences from: a file, or the folder of a house that joined under it.
        #[arg(long, value_name = "CHARTER")]
        against: Option<PathBuf>,
    },
    /// Approves the charter: writes its digest into client.toml, so that no other is ever run under.
    Approve {
        /// The house's folder.
        dir: PathBuf,
        /// Its digest as you read it, the first 40 digits or more.
        digest: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RosterCommand {
    /// Shows all members and the fingerprints of their keys, to be compared with the other houses by telephone.
    Show {
        /// The house's folder, joined before.
        dir: PathBuf,
    },
    /// Approves the roster: writes its digest into client.toml, so that no other is ever taken.
    Approve {
        /// The house's folder.
        dir: PathBuf,
        /// Its digest as you compared it, the first 40 digits or more.
        digest: String,
    },
}

pub(super) fn charter(command: &CharterCommand) -> Result<(), Failure> {
    match command {
        CharterCommand::Show { dir, against } => {
            let identity = Identity::load(dir).map_err(RunError::from)?;
            println!("{}", status::summary(&identity.charter, identity.name()));
            println!("read to others   {}", aloud(&identity.charter.digest()));
            println!("approved         {}", approved(dir, "approve", &identity.charter.digest())?);
            println!("policy           {}", status::policy(dir, &identity.charter));
            match against {
                Some(other) => differences(&text_of(other)?, identity.charter.text()),
                None => println!("\nAll of it: {}", dir.join("charter.toml").display()),
            }
            Ok(())
        }
        CharterCommand::Approve { dir, digest } => {
            let identity = Identity::load(dir).map_err(RunError::from)?;
            approve(dir, "approve", &identity.charter.digest(), digest)
        }
    }
}

pub(super) fn roster(command: &RosterCommand) -> Result<(), Failure> {
    match command {
        RosterCommand::Show { dir } => {
            let identity = Identity::load(dir).map_err(RunError::from)?;
            let (roster, pinned) = roster_of(dir, &identity)?;
            println!("{}", table(&roster));
            println!("roster           {}", roster.digest());
            println!("read to others   {}", aloud(&roster.digest()));
            println!("pinned           {}", if pinned { "yes" } else { "not yet: `run` pins it" });
            println!("approved         {}", approved(dir, "roster", &roster.digest())?);
            Ok(())
        }
        RosterCommand::Approve { dir, digest } => {
            let identity = Identity::load(dir).map_err(RunError::from)?;
            approve(dir, "roster", &roster_of(dir, &identity)?.0.digest(), digest)
        }
    }
}

/// The pinned roster, or the one that the aggregator shows, checked against the charter.
pub(super) fn roster_of(dir: &Path, identity: &Identity) -> Result<(Roster, bool), Failure> {
    if let Some(roster) = store::peek_roster(dir).map_err(RunError::from)? {
        return Ok((roster, true));
    }
    let network = Config::load(dir).map_err(RunError::from)?.network;
    let shown = runtime()?.block_on(async {
        let mut client = connection::federation(identity, &network).map_err(RunError::from)?;
        let answer = client.get_roster(v1::GetRosterRequest {}).await;
        answer.map_err(|status| lost(&status))
    })?;
    let malformed = |error: &dyn std::fmt::Display| Failure::failed(format!("the aggregator's roster: {error}"));
    let roster = Roster::from_bytes(&shown.into_inner().roster).map_err(|error| malformed(&error))?;
    roster.check(&identity.charter).map_err(|error| malformed(&error))?;
    Ok((roster, false))
}

fn table(roster: &Roster) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["member", "role", "signs with", "answers sealed to"]);
    for member in roster.members() {
        let (signing, mailbox) = (member.signing_key().as_bytes(), member.mailbox_key());
        table.add_row([
            member.name().to_string(),
            House::of(member).role.to_owned(),
            aloud(&Digest::sha256(signing)),
            aloud(&Digest::sha256(mailbox)),
        ]);
    }
    table
}

/// The first digits of a digest in groups of four, to be read out.
pub(super) fn aloud(digest: &Digest) -> String {
    let text = digest.to_string();
    let groups: Vec<&str> = (0..LEAST_DIGITS).step_by(4).map(|at| &text[at..at + 4]).collect();
    groups.join(" ")
}

fn approved(dir: &Path, key: &str, digest: &Digest) -> Result<String, Failure> {
    let (_, document) = client_toml(dir)?;
    let written = document.get("policy").and_then(|policy| policy.get(key)).and_then(toml_edit::Item::as_str);
    Ok(match written {
        Some(written) if written.eq_ignore_ascii_case(&digest.to_string()) => "yes".to_owned(),
        Some("") => "no: client.toml approves none yet".to_owned(),
        Some("any") | None => "no: client.toml takes any".to_owned(),
        Some(other) => format!("NO: client.toml approves {other}"),
    })
}

/// Writes the digest into client.toml, where all else stays as it is.
fn approve(dir: &Path, key: &str, digest: &Digest, typed: &str) -> Result<(), Failure> {
    let plain: String = typed.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
    let whole = digest.to_string();
    if plain.len() < LEAST_DIGITS || !whole.starts_with(&plain) {
        return Err(Failure::usage(format!(
            "`{typed}` is not the beginning of {whole}, of {LEAST_DIGITS} digits or more; nothing is approved"
        )));
    }
    let (path, mut document) = client_toml(dir)?;
    document["policy"][key] = value(whole.as_str());
    files::write(&path, document.to_string().as_bytes()).map_err(Failure::failed)?;
    println!("{}: policy.{key} = \"{whole}\"", path.display());
    Ok(())
}

fn client_toml(dir: &Path) -> Result<(PathBuf, DocumentMut), Failure> {
    let path = dir.join(config::FILE);
    let text = read_text(&path)?;
    let document = text.parse().map_err(|error| {
        let error: toml_edit::TomlError = error;
        Failure::usage(format!("{}: {}", path.display(), config::without_secrets(&error.to_string())))
    })?;
    Ok((path, document))
}

/// A charter's text, in a file or in the folder of a house.
fn text_of(other: &Path) -> Result<String, Failure> {
    let path = if other.is_dir() { other.join("charter.toml") } else { other.to_owned() };
    let text = read_text(&path)?;
    // What is no charter is not worth a comparison.
    Charter::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok(text)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = files::read(path, MAX_TEXT_BYTES).map_err(Failure::usage)?;
    let bytes = bytes.ok_or_else(|| Failure::usage(format!("{}: there is no such file", path.display())))?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{}: is not text", path.display())))
}

fn differences(before: &str, after: &str) {
    if before == after {
        println!("\nno difference");
        return;
    }
    print!(
        "\n{}",
        TextDiff::from_lines(before, after).unified_diff().context_radius(2).header("the other", "this one")
    );
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn approving_writes_one_key_keeps_all_else_and_takes_no_other_digest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(config::FILE), config::SAMPLE).unwrap();
        let digest = Digest::sha256(b"charter");
        for wrong in ["any", &digest.to_string()[..39], &Digest::sha256(b"other").to_string()] {
            assert!(approve(dir.path(), "approve", &digest, wrong).is_err(), "{wrong}");
        }
        assert!(approved(dir.path(), "approve", &digest).unwrap().starts_with("no"));
        approve(dir.path(), "approve", &digest, &aloud(&digest)).unwrap();
        assert_eq!(approved(dir.path(), "approve", &digest).unwrap(), "yes");
        let text = std::fs::read_to_string(dir.path().join(config::FILE)).unwrap();
        let changed: Vec<(&str, &str)> = config::SAMPLE.lines().zip(text.lines()).filter(|(a, b)| a != b).collect();
        assert_eq!(changed, [("approve = \"\"", format!("approve = \"{digest}\"").as_str())]);
        assert!(approved(dir.path(), "approve", &Digest::sha256(b"other")).unwrap().starts_with("NO"));
    }
}
