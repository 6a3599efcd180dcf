//! The record's file, put together from what the aggregator shows every member.

use std::collections::HashMap;
use std::time::Duration;

use protocol::log::Checkpoint;
use protocol::log::file::{Entry, MAX_ENTRIES, RecordWriter};
use protocol::{
    Announcement, Complaint, Conclusion, Digest, Message as _, Outcome, RecordLeaf, Roster, Signed, SumClaim,
};
use protos::v1::event::Kind;
use protos::v1::federation_client::FederationClient;
use protos::{convert, v1};

use crate::config::Config;
use crate::connection;
use crate::identity::Identity;
use crate::round::{RunError, fetch_cohort, lost};
use crate::version::Speaking;

/// The history is there already; so long without a part of it is a connection that hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// What the history says of one attempt.
#[derive(Default)]
struct Told {
    announcement: Option<Signed<Announcement>>,
    claim: Option<Signed<SumClaim>>,
    complaint: Option<Signed<Complaint>>,
    outcomes: Vec<Signed<Outcome>>,
}

/// Fetches the whole record: its leaves, the events that they follow from, and the cohorts. Nothing of it is trusted: check it as any other
/// file.
///
/// # Errors
/// [`RunError::Lost`], [`RunError::Malformed`].
pub async fn fetch(identity: &Identity, config: &Config, roster: &Roster) -> Result<Vec<u8>, RunError> {
    let mut client = connection::federation(identity, &config.network)?;
    let request = v1::GetCheckpointRequest {};
    let note = client.get_checkpoint(request).await.map_err(|status| lost(&status))?.into_inner().checkpoint;
    let charter = &identity.charter;
    let origin = Checkpoint::origin_of(charter.name.as_str());
    let size = malformed(Checkpoint::open(&note, &origin, charter.aggregator_key()))?.head.size;
    if size > MAX_ENTRIES {
        return Err(RunError::Malformed(format!("a record of {size} entries")));
    }
    let mut leaves = Vec::new();
    for leaf_index in 0..size {
        leaves.push(leaf(&mut client, leaf_index, size).await?);
    }
    let mut told = history(&mut client, &leaves).await?;
    let mut file = RecordWriter::new(charter.text(), &roster.to_bytes());
    for leaf in leaves {
        let Told { announcement, claim, complaint, outcomes } = told.remove(&leaf.announcement).unwrap_or_default();
        let announcement = announcement.ok_or_else(|| RunError::Malformed("an attempt twice".to_owned()))?;
        let cohort = match leaf.cohort {
            Some(_) => fetch_cohort(&mut client, leaf.announcement).await?,
            None => None,
        };
        let settled = matches!(leaf.conclusion, Conclusion::Settled(_));
        file.push(&Entry { leaf, announcement, cohort, claim: claim.filter(|_| settled), complaint, outcomes });
    }
    Ok(file.finish(&note))
}

async fn leaf(
    client: &mut FederationClient<Speaking>,
    leaf_index: u64,
    tree_size: u64,
) -> Result<RecordLeaf, RunError> {
    let of = Some(v1::get_proof_request::Of::Inclusion(v1::InclusionQuery { leaf_index, tree_size }));
    let proof = client.get_proof(v1::GetProofRequest { of }).await.map_err(|status| lost(&status))?;
    malformed(RecordLeaf::from_bytes(&proof.into_inner().leaf))
}

/// Reads the events from the first on, until each of these attempts is told to its end.
async fn history(
    client: &mut FederationClient<Speaking>,
    leaves: &[RecordLeaf],
) -> Result<HashMap<Digest, Told>, RunError> {
    let mut told: HashMap<Digest, Told> = HashMap::new();
    // Those of them that are not over yet, by their places: an abandonment names no announcement.
    let mut open: HashMap<(u32, u32), Digest> =
        leaves.iter().map(|leaf| ((leaf.round.get(), leaf.attempt.get()), leaf.announcement)).collect();
    if open.is_empty() {
        return Ok(told);
    }
    let request = v1::WatchEventsRequest { after: 0 };
    let mut events = client.watch_events(request).await.map_err(|status| lost(&status))?.into_inner();
    while !open.is_empty() {
        let event = tokio::time::timeout(SILENCE, events.message()).await;
        let event = event.map_err(|_| RunError::Lost("the history does not go on".to_owned()))?;
        let event = event.map_err(|status| lost(&status))?;
        let event = event.ok_or_else(|| RunError::Lost("the aggregator ended the history".to_owned()))?;
        match event.kind {
            Some(Kind::Announced(signed)) => {
                let signed: Signed<Announcement> = malformed(convert::signed("announced", Some(signed)))?;
                let digest = signed.body_digest();
                told.entry(digest).or_default().announcement = Some(signed);
            }
            Some(Kind::Claimed(signed)) => {
                let signed: Signed<SumClaim> = malformed(convert::signed("claimed", Some(signed)))?;
                let digest = malformed(signed.unverified())?.announcement;
                told.entry(digest).or_default().claim = Some(signed);
            }
            Some(Kind::Complained(signed)) => {
                let signed: Signed<Complaint> = malformed(convert::signed("complained", Some(signed)))?;
                let digest = malformed(signed.unverified())?.announcement;
                told.entry(digest).or_default().complaint = Some(signed);
            }
            Some(Kind::Settled(settled)) => {
                let Some(place) = settled.attempt else { continue };
                let outcomes = settled.outcomes.into_iter().map(|one| convert::signed("outcomes", Some(one)));
                let outcomes = malformed(outcomes.collect::<Result<_, _>>())?;
                let announcement = malformed(convert::digest("announcement", &place.announcement))?;
                told.entry(announcement).or_default().outcomes = outcomes;
                open.remove(&(place.round, place.attempt));
            }
            Some(Kind::Abandoned(abandoned)) => {
                open.remove(&(abandoned.round, abandoned.attempt));
            }
            _ => {}
        }
    }
    Ok(told)
}

fn malformed<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, RunError> {
    result.map_err(|error| RunError::Malformed(format!("the record: {error}")))
}
