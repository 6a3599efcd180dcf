//! The record as a file: each stored leaf with the signed messages that it follows from.

use protocol::log::file::{Entry, RecordWriter};
use protocol::server::{Event, EventKind, Input};
use protocol::{CohortList, Conclusion, Message as _, RecordLeaf};

use crate::engine::Record;
use crate::refusal::Refusal;
use crate::setup::Home;
use crate::store::{Setting, Store, StoreError};

/// The signed head of the stored record.
///
/// # Errors
/// [`Refusal::Failure`] where what is stored cannot be read.
pub async fn checkpoint(home: &Home) -> Result<String, Refusal> {
    Ok(Record::load(&home.store).await?.checkpoint(&home.charter, &home.identity))
}

/// The file, as [`protocol::log::file`] has it; `None` until the roster is frozen. A server may run meanwhile: what the leaves that are read
/// first speak of changes no more.
///
/// # Errors
/// [`Refusal::Failure`] where what is stored cannot be read.
pub async fn file(home: &Home) -> Result<Option<Vec<u8>>, Refusal> {
    let store = &home.store;
    let Some(roster) = store.setting(Setting::Roster).await? else { return Ok(None) };
    let record = Record::load(store).await?;
    let checkpoint = record.checkpoint(&home.charter, &home.identity);
    let mut file = RecordWriter::new(home.charter.text(), &roster);
    for leaf in record.leaves() {
        file.push(&entry(store, leaf).await?);
    }
    Ok(Some(file.finish(&checkpoint)))
}

async fn entry(store: &Store, leaf: &[u8]) -> Result<Entry, Refusal> {
    let damaged = |what| Refusal::from(StoreError::Damaged { what });
    let leaf = RecordLeaf::from_bytes(leaf).map_err(|_| damaged("a leaf of the record"))?;
    let place = (leaf.round, leaf.attempt);
    let (mut announcement, mut claim, mut complaint, mut outcomes) = (None, None, None, Vec::new());
    for kinds in [[EventKind::Announced, EventKind::Claimed], [EventKind::Complaint, EventKind::Outcome]] {
        for step in store.steps_of(place, kinds).await? {
            match Input::from_bytes(&step.body).map_err(|_| damaged("a step"))?.event {
                Event::Announced(signed) => announcement = Some(signed),
                Event::Claimed(signed) => claim = Some(signed),
                Event::Complaint(signed) => complaint = Some(signed),
                Event::Outcome(signed) => outcomes.push(signed),
                _ => {}
            }
        }
    }
    // Those that the leaf names, in its order: others may have come to another verdict.
    let outcomes = leaf.signers.iter().filter_map(|name| outcomes.iter().find(|one| one.signer() == name).cloned());
    let outcomes = outcomes.collect();
    let cohort = match store.cohort(&leaf.announcement).await? {
        Some(body) => Some(CohortList::from_bytes(&body).map_err(|_| damaged("a cohort list"))?),
        None => None,
    };
    let settled = matches!(leaf.conclusion, Conclusion::Settled(_));
    let announcement = announcement.ok_or_else(|| damaged("the announcement of an attempt"))?;
    Ok(Entry { leaf, announcement, cohort, claim: claim.filter(|_| settled), complaint, outcomes })
}
