//! A folder for a governance board: what this house agreed to, who took part, what was spent, and the record that shows it.
//!
//! ```text
//! README.md            how to verify the rest, with common tools
//! evidence.json        all of it, and the digests of the files beside it
//! evidence.json.sig    64 bytes: Ed25519 over evidence.json, by this house's own key
//! house.pub.pem        that key
//! evidence.html        the same to read: no script, nothing from elsewhere
//! record.plainchant    the federation's record (`protocol::log::file`), checked against what this house keeps
//! charter.toml         the contract
//! ```
//!
//! Nothing secret is in it and nothing of the data: names, digests, counts, and the policy as `client.toml` has it.

mod collect;
mod facts;
mod page;

use std::path::{Path, PathBuf};

use protocol::Digest;
use protocol::log::audit::Audited;

use crate::files::FileError;
use crate::record::Kept;
use crate::signature;

pub use facts::{Evidence, House};
pub(crate) use facts::{digest, digests};

/// Why no folder was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// Something is there already.
    #[error("{}: is there already; name a folder that is not", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was spent cannot be computed.
    #[error(transparent)]
    Ledger(#[from] privacy::LedgerError),
    /// It cannot be written as JSON.
    #[error("the evidence cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes the folder `out`, which is made here, from what this member keeps and a record's file that [`Kept::check`] found right.
/// `made_at_ms` is now, in Unix milliseconds.
///
/// # Errors
/// [`EvidenceError`].
pub fn write(
    kept: &Kept,
    (file, audited): (&[u8], &Audited),
    out: &Path,
    made_at_ms: u64,
) -> Result<Evidence, EvidenceError> {
    if out.exists() {
        return Err(EvidenceError::Exists(out.to_owned()));
    }
    let mut evidence = collect::collect(kept, audited, made_at_ms)?;
    let page = page::page(&evidence);
    let charter = kept.identity.charter.text();
    let others = [(RECORD, file), ("charter.toml", charter.as_bytes()), ("evidence.html", page.as_bytes())];
    evidence.files = others.iter().map(|(name, bytes)| ((*name).to_owned(), Digest::sha256(bytes))).collect();
    let json = serde_json::to_string_pretty(&evidence)? + "\n";
    let readme = readme(&evidence);
    signature::write_folder(out, ("evidence.json", &json), &kept.identity.signer, &readme, &others)?;
    Ok(evidence)
}

const RECORD: &str = "record.plainchant";

fn readme(evidence: &Evidence) -> String {
    let Evidence { federation, house, charter, roster, .. } = evidence;
    format!(
        "# Evidence of `{house}` in the federation `{federation}`\n\
         \n\
         `evidence.html` is for reading, `evidence.json` is the same for programs and is what is signed.\n\
         \n\
         {signed}\n\
         3. The other files: `sha256sum {record} charter.toml evidence.html` gives the digests under `files` in `evidence.json`.\n\
         4. The record: `plainchant-aggregator verify {record}`, or a member's `plainchant-client verify {record} --dir DIR`, or the\n   independent `check_log.py {record} --charter {charter} --roster {roster}`. Compare the roster's digest with another house.\n\
         \n\
         What it does not show: that the rows were what they should be, and what was done with the adapter afterwards. What was spent is what this\n\
         house's ledger says; the record has the ledger's digests, under this house's signatures, so that an older copy of it would not fit.\n",
        house = house.name,
        signed = signature::how_to_verify("evidence.json", &house.key_sha256),
        record = RECORD,
        charter = charter.digest,
        roster = roster.digest,
    )
}
