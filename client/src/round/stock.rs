//! The roster, pinned once, and the stock of one-time keys for committee duty.

use std::time::Duration;

use protocol::{Message as _, OneTimeKeyOffer, Roster, Signed};
use protos::convert::to_wire;
use protos::limits::KEYS_PER_OFFER;
use protos::v1;
use protos::v1::federation_client::FederationClient;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tonic::Code;

use super::aside::end_between_attempts;
use super::member::{Home, Member};
use super::{Options, RunError, is_refusal, lost};
use crate::config::Config;
use crate::connection::{self, describe};
use crate::identity::Identity;
use crate::sealing;
use crate::version::Speaking;

/// How often to ask whether everybody has joined.
const ROSTER_POLL: Duration = Duration::from_secs(1);
/// How long the first question may take.
const ASKED_FIRST: Duration = Duration::from_secs(15);

/// The roster: fetched, checked against the charter, and pinned at the first time. Waits until all have joined and the
/// aggregator is there.
pub(super) async fn roster(
    home: &Home,
    client: &mut FederationClient<Speaking>,
    options: &mut Options,
) -> Result<Roster, RunError> {
    let mut told = String::new();
    loop {
        end_between_attempts(&home.store)?;
        match client.get_roster(v1::GetRosterRequest {}).await {
            Ok(response) => {
                options.backoff.reset();
                return pin(home, &response.into_inner().roster);
            }
            Err(status) if status.code() == Code::FailedPrecondition => {
                if told != status.message() {
                    status.message().clone_into(&mut told);
                    tracing::info!("waiting: {told}");
                }
                tokio::time::sleep(ROSTER_POLL).await;
            }
            Err(status) if is_refusal(&status) => return Err(lost(&status)),
            Err(status) => {
                let wait = options.backoff.next_wait();
                tracing::info!(wait_ms = wait.as_millis(), "the aggregator is not reached: {}", describe(&status));
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Asks once, before anything that takes long: is this member let in, and is the roster, if there is one yet, the approved one? An aggregator that does not
/// answer is no reason to end.
///
/// # Errors
/// What no later try would mend.
pub(crate) async fn ask_first(home: &Home) -> Result<(), RunError> {
    end_between_attempts(&home.store)?;
    let mut client = connection::federation(&home.identity, &home.config.network)?;
    match tokio::time::timeout(ASKED_FIRST, client.get_roster(v1::GetRosterRequest {})).await {
        Ok(Ok(response)) => check_roster(&home.identity, &home.config, &read(&response.into_inner().roster)?),
        Ok(Err(status)) => match lost(&status) {
            error @ (RunError::NotLetIn(_) | RunError::OtherVersion(_)) => Err(error),
            _ => Ok(()),
        },
        Err(_) => Ok(()),
    }
}

fn read(bytes: &[u8]) -> Result<Roster, RunError> {
    Roster::from_bytes(bytes).map_err(|e| RunError::Malformed(format!("roster: {e}")))
}

/// Whether this member may run under a roster, pinned or shown: of its charter, with its own keys, every key usable, and the approved one.
pub(crate) fn check_roster(identity: &Identity, config: &Config, roster: &Roster) -> Result<(), RunError> {
    roster.check(&identity.charter).map_err(|e| RunError::Malformed(format!("roster: {e}")))?;
    let mine = roster.member(identity.name());
    let own = mine.is_some_and(|member| {
        *member.signing_key() == identity.signer.public_key()
            && *member.mailbox_key() == sealing::public(&identity.mailbox)
    });
    if !own {
        return Err(RunError::Malformed("the roster has other keys for this member than it registered".to_owned()));
    }
    if let Some(member) = roster.members().iter().find(|member| !sealing::is_usable(member.mailbox_key())) {
        return Err(RunError::Malformed(format!("the roster's mailbox key of `{}` is no usable key", member.name())));
    }
    let (approved, found) = (&config.policy.roster, roster.digest());
    if approved.is_empty() {
        return Err(RunError::NothingApproved { what: "roster", dir: identity.dir().to_owned(), found });
    }
    if approved != "any" && !approved.eq_ignore_ascii_case(&found.to_string()) {
        return Err(RunError::UnapprovedRoster { approved: approved.clone(), found });
    }
    Ok(())
}

fn pin(home: &Home, bytes: &[u8]) -> Result<Roster, RunError> {
    let roster = read(bytes)?;
    check_roster(&home.identity, &home.config, &roster)?;
    match home.store.roster()? {
        None => {
            home.store.pin_roster(&roster)?;
            tracing::info!(digest = %roster.digest(), members = roster.members().len(), "roster pinned");
        }
        Some(pinned) if pinned == roster => {}
        Some(pinned) => return Err(RunError::OtherRoster { pinned: pinned.digest(), found: roster.digest() }),
    }
    Ok(roster)
}

impl Member {
    /// Fills the aggregator's stock of this member's one-time keys up.
    pub(super) async fn offer_keys(&mut self) -> Result<(), RunError> {
        if self.me.seat().is_none() {
            return Ok(());
        }
        let request = v1::OfferKeysRequest { offers: Vec::new() };
        let stock = self.client.offer_keys(request).await.map_err(|s| lost(&s))?.into_inner().stock as usize;
        let wanted = self.options.key_stock;
        if stock * 2 > wanted {
            return Ok(());
        }
        let missing = (wanted - stock).min(KEYS_PER_OFFER);
        // Kept before they are offered: a key that is used and not kept could never be answered with.
        let keys = self.store.add_keys(missing, &mut UnwrapErr(SysRng))?;
        let offers = keys.iter().map(|kept| {
            let offer = OneTimeKeyOffer {
                charter: self.charter().digest(),
                member: self.me.name().clone(),
                sequence: kept.sequence,
                key: sealing::public(&kept.key),
            };
            to_wire(&Signed::sign(&offer, &self.identity.signer))
        });
        let request = v1::OfferKeysRequest { offers: offers.collect() };
        let stock = self.client.offer_keys(request).await.map_err(|s| lost(&s))?.into_inner().stock;
        tracing::debug!(stock, "one-time keys offered");
        Ok(())
    }
}
