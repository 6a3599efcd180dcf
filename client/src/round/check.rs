//! The verifiable sum: what this house says of bodies under a claim, and whether the sum that is served holds exactly the
//! cohort's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use protocol::client::Event;
use protocol::{Announcement, BodyChecksum, Checked, CohortList, Contribution, Digest, HouseName, Signed, SumClaim};
use protos::convert::{self, WireError, to_wire};
use protos::limits::CHECKSUMS_PER_ATTEMPT;
use protos::v1;
use secure_sum::{Accumulator, Challenge, Checksum, ChunkError, Layout};

use super::member::Member;
use super::{RunError, is_refusal, lost};
use crate::progress::Phase;

/// One attempt's sum under its claim.
struct Check {
    announcement: Arc<Announcement>,
    layout: Layout,
    challenge: Challenge,
    manifests: Vec<Contribution>,
}

impl Check {
    fn new(announcement: &Arc<Announcement>, list: &CohortList, claim: &SumClaim) -> Result<Self, RunError> {
        let malformed = |error: &dyn std::fmt::Display| RunError::Malformed(error.to_string());
        let manifests = list.contributions.iter().map(Signed::unverified).collect::<Result<_, _>>();
        Ok(Self {
            layout: Layout::from_bytes(&announcement.layout).map_err(|e| malformed(&e))?,
            announcement: Arc::clone(announcement),
            challenge: Challenge(claim.challenge()),
            manifests: manifests.map_err(|e| malformed(&e))?,
        })
    }

    fn manifest(&self, house: &HouseName) -> Option<&Contribution> {
        self.manifests.iter().find(|manifest| manifest.member == *house)
    }
}

/// What looking at a body came to.
enum Look {
    /// The attempt is over, and the body with it.
    Gone,
    /// What the house signed is no body of this layout, so no sum can hold it.
    NoBody,
    /// Its checksum.
    Checksum(Checksum),
}

impl Member {
    /// Signs the checksums of this house's own body and of `others`; of those only that can be had.
    pub(super) async fn attest(
        &mut self,
        list: &CohortList,
        claim: &SumClaim,
        others: &[HouseName],
    ) -> Result<(), RunError> {
        let Some(heard) = self.round.heard() else { return Ok(()) };
        let check = Check::new(&Arc::clone(heard.announcement()), list, claim)?;
        let me = self.me.name().clone();
        let mut said = Vec::with_capacity(1 + others.len());
        for house in std::iter::once(&me).chain(others) {
            let Some(manifest) = check.manifest(house) else { continue };
            let Some(Ok(checksum)) = self.checksum_of(&check, manifest).await? else { continue };
            let one = BodyChecksum::under(claim, me.clone(), house.clone(), checksum.to_bytes());
            said.push(Signed::sign(&one, &self.identity.signer));
        }
        self.offer(Event::Checksummed(said))
    }

    /// Sends a checksum.
    pub(super) async fn send_checksum(&mut self, signed: &Signed<BodyChecksum>) -> Result<(), RunError> {
        match self.client.put_checksums(v1::PutChecksumsRequest { checksums: vec![to_wire(signed)] }).await {
            Ok(_) => {
                if let Some(view) = &self.view {
                    self.report(view.announcement.round, view.announcement.attempt, Phase::Attested, None);
                }
                Ok(())
            }
            Err(status) if is_refusal(&status) => {
                tracing::info!("the checksum was not taken: {}", status.message());
                Ok(())
            }
            Err(status) => Err(lost(&status)),
        }
    }

    /// What the aggregator claims as the sum, and what was said of single bodies, as it shows them.
    pub(super) async fn fetch_checked(
        &mut self,
        announcement: Digest,
    ) -> Result<Option<(Signed<SumClaim>, Vec<Signed<BodyChecksum>>)>, RunError> {
        let request = v1::GetCheckedRequest { announcement: announcement.as_bytes().to_vec().into() };
        let response = match self.client.get_checked(request).await {
            Ok(response) => response.into_inner(),
            Err(status) if is_refusal(&status) => {
                tracing::warn!("no checked sum: {}", status.message());
                return Ok(None);
            }
            Err(status) => return Err(lost(&status)),
        };
        let malformed = |error: WireError| RunError::Malformed(error.to_string());
        let found = response.checksums.len();
        if found > CHECKSUMS_PER_ATTEMPT {
            return Err(malformed(WireError::Length { field: "checksums", found, rule: "at most 510" }));
        }
        let checksums = response.checksums.into_iter().map(|one| convert::signed("checksums", Some(one)));
        let checksums = checksums.collect::<Result<_, _>>().map_err(malformed)?;
        Ok(Some((convert::signed("claim", response.claim).map_err(malformed)?, checksums)))
    }

    /// Whether `sum`, as served, is the claimed one and holds exactly the cohort's bodies, each once. What no house vouches
    /// for, or what is disputed, is downloaded; whoever said something false is named. `None` when a body that this needs is
    /// not there any more: then the attempt is over, and this house follows what the others signed.
    pub(super) async fn sum_holds(
        &mut self,
        announcement: &Arc<Announcement>,
        list: &CohortList,
        checked: &Checked,
        sum: &Arc<Accumulator>,
    ) -> Result<Option<bool>, RunError> {
        let check = Check::new(announcement, list, checked.claim())?;
        let (layout, challenge, of_sum) = (check.layout.clone(), check.challenge, Arc::clone(sum));
        let of_sum = self.timed(move || Checksum::of_sum(&layout, &challenge, &of_sum)).await?;
        let of_sum = of_sum.map_err(|e| RunError::Malformed(e.to_string()))?;
        let (mut values, mut looked) = (BTreeMap::new(), BTreeSet::new());
        for manifest in &check.manifests {
            let house = &manifest.member;
            let agreed = checked.value_of(house).and_then(|value| Checksum::from_bytes(&check.layout, value).ok());
            let value = match agreed {
                Some(value) => value,
                None => match self.look(&check, checked, manifest).await? {
                    Look::Gone => return Ok(None),
                    Look::NoBody => return Ok(Some(false)),
                    Look::Checksum(value) => {
                        looked.insert(house);
                        value
                    }
                },
            };
            values.insert(house, value);
        }
        if total(&check.layout, values.values())? == of_sum {
            return Ok(Some(true));
        }
        // Somebody is wrong: now every body is looked at.
        for manifest in check.manifests.iter().filter(|manifest| !looked.contains(&manifest.member)) {
            match self.look(&check, checked, manifest).await? {
                Look::Gone => return Ok(None),
                Look::NoBody => return Ok(Some(false)),
                Look::Checksum(value) => values.insert(&manifest.member, value),
            };
        }
        Ok(Some(total(&check.layout, values.values())? == of_sum))
    }

    /// The checksum of a body that is at hand, and a word about everybody who says otherwise.
    async fn look(&mut self, check: &Check, checked: &Checked, manifest: &Contribution) -> Result<Look, RunError> {
        let (round, attempt, house) = (check.announcement.round, check.announcement.attempt, &manifest.member);
        let checksum = match self.checksum_of(check, manifest).await? {
            None => return Ok(Look::Gone),
            Some(Err(error)) => {
                let reason = format!("`{house}` signed a body that is none ({error}), and the aggregator listed it");
                self.report(round, attempt, Phase::Accused, Some(reason));
                return Ok(Look::NoBody);
            }
            Some(Ok(checksum)) => checksum,
        };
        let bytes = checksum.to_bytes();
        let otherwise: Vec<&HouseName> =
            checked.about(house).filter(|said| said.value != bytes).map(|said| &said.member).collect();
        for member in otherwise {
            let whose = if member == house { "its own body".to_owned() } else { format!("the body of `{house}`") };
            let reason = format!("`{member}` says a false checksum of {whose}");
            self.report(round, attempt, Phase::Accused, Some(reason));
        }
        Ok(Look::Checksum(checksum))
    }

    /// The checksum of the body that `manifest` signs, or what is wrong with that body: this house's own is kept, others are
    /// downloaded. `None` when it is not there any more.
    async fn checksum_of(
        &mut self,
        check: &Check,
        manifest: &Contribution,
    ) -> Result<Option<Result<Checksum, ChunkError>>, RunError> {
        let own = if manifest.member == *self.me.name() {
            self.own_body(&check.announcement, &check.layout, manifest)?
        } else {
            None
        };
        let body = match own {
            Some(body) => body,
            None => {
                let start = Instant::now();
                let Some(body) = self.fetch_body(&check.announcement, &check.layout, manifest).await? else {
                    return Ok(None);
                };
                if let Some(view) = &mut self.view {
                    view.seconds.network += start.elapsed().as_secs_f64();
                }
                body
            }
        };
        let (layout, challenge) = (check.layout.clone(), check.challenge);
        self.timed(move || Checksum::of(&layout, &challenge, &body)).await.map(Some)
    }

    /// Runs arithmetic beside the event loop, and counts it as checking.
    pub(super) async fn timed<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RunError> {
        let start = Instant::now();
        let result = tokio::task::spawn_blocking(work).await.map_err(|_| RunError::Task)?;
        if let Some(view) = &mut self.view {
            view.seconds.check += start.elapsed().as_secs_f64();
        }
        Ok(result)
    }
}

fn total<'a>(layout: &Layout, values: impl Iterator<Item = &'a Checksum>) -> Result<Checksum, RunError> {
    let mut total = Checksum::zero(layout);
    for value in values {
        total.add(value).map_err(|e| RunError::Malformed(e.to_string()))?;
    }
    Ok(total)
}
