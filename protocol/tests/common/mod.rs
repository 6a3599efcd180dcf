//! A federation with keys for every member, and each message of a round, made as its sender makes it.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of this")]
#![expect(clippy::unwrap_used, reason = "tests")]

pub mod record;

use std::sync::Arc;

use protocol::client::{Me, Memory, Policy};
use protocol::server::{Event, Input, Round, Start};
use protocol::*;

/// What a test federation looks like.
#[derive(Debug, Clone)]
pub struct Shape {
    pub houses: usize,
    pub trustees: usize,
    pub threshold: usize,
    pub min_cohort: usize,
    pub may_vanish: usize,
    pub policy: &'static str,
    /// The houses that hold key shares; all when `None`.
    pub committee: Option<&'static [usize]>,
}

/// Four houses of which one may vanish, three of four open.
pub const FOUR: Shape =
    Shape { houses: 4, trustees: 0, threshold: 3, min_cohort: 3, may_vanish: 1, policy: "aggregator", committee: None };

/// When the test rounds are announced.
pub const NOW_MS: u64 = 1_000_000_000;

/// A federation and everybody's signing keys.
pub struct World {
    pub federation: Arc<Federation>,
    pub aggregator: Signer,
    pub members: Vec<Signer>,
}

impl World {
    pub fn new(shape: &Shape) -> Self {
        let aggregator = signer("aggregator", 1);
        let members: Vec<Signer> =
            (0..shape.houses + shape.trustees).map(|n| signer(&member_name(shape, n), 10 + n as u8)).collect();
        let charter = Charter::parse(&charter_text(shape, &aggregator)).unwrap();
        let enrolled = members.iter().enumerate().map(|(n, signer)| {
            let role = match shape.committee {
                _ if n >= shape.houses => Role::Trustee,
                Some(named) if !named.contains(&n) => Role::Contributor,
                _ => Role::House,
            };
            let certificate = Digest::sha256(&[n as u8]);
            Member::new(signer.name().clone(), role, signer.public_key(), [100 + n as u8; 32], certificate)
        });
        let roster = Roster::new(&charter, enrolled.rev().collect()).unwrap();
        Self { federation: Arc::new(Federation::new(charter, roster).unwrap()), aggregator, members }
    }

    pub fn names(&self) -> Vec<HouseName> {
        self.members.iter().map(|signer| signer.name().clone()).collect()
    }

    pub fn house_names(&self) -> Vec<HouseName> {
        self.federation.roster().houses().map(|member| member.name().clone()).collect()
    }

    pub fn start(&self) -> Start {
        Start { round: RoundNumber::FIRST, attempt: Attempt::FIRST, adapter: initial(), record: log::Log::new().head() }
    }

    /// The share index of a member; none outside of the committee.
    pub fn seat(&self, member: usize) -> Option<MemberIndex> {
        self.federation.roster().index_of(self.members[member].name())
    }

    pub fn ready(&self, member: usize, start: &Start) -> Signed<Ready> {
        let signer = &self.members[member];
        let ready = Ready {
            charter: self.federation.charter().digest(),
            roster: self.federation.roster_digest(),
            round: start.round,
            attempt: start.attempt,
            member: signer.name().clone(),
        };
        Signed::sign(&ready, signer)
    }

    pub fn offer(&self, member: usize, sequence: u64) -> Signed<OneTimeKeyOffer> {
        let signer = &self.members[member];
        let charter = self.federation.charter().digest();
        let mut key = [member as u8; 32];
        key[..8].copy_from_slice(&sequence.to_be_bytes());
        Signed::sign(&OneTimeKeyOffer { charter, member: signer.name().clone(), sequence, key }, signer)
    }

    /// An announcement as an honest aggregator makes it, before it is signed.
    pub fn announcement(&self, start: &Start, expected: Vec<HouseName>, sequence: u64, at_ms: u64) -> Announcement {
        let charter = self.federation.charter();
        let seats = (0..self.members.len())
            .filter_map(|n| Some(CommitteeSeat { index: self.seat(n)?, offer: self.offer(n, sequence) }));
        Announcement {
            protocol_version: PROTOCOL_VERSION,
            record: start.record,
            charter: charter.digest(),
            roster: self.federation.roster_digest(),
            round: start.round,
            attempt: start.attempt,
            expected,
            may_vanish: charter.rounds.may_vanish,
            adapter: start.adapter,
            announced_at_ms: at_ms,
            submit_at_ms: charter.rounds.submit_at_ms,
            close_ms: charter.rounds.close_ms,
            open_ms: charter.rounds.open_ms,
            committee: seats.collect(),
            layout: b"layout".to_vec(),
            data_commitment: None,
        }
    }

    pub fn sign_announcement(&self, announcement: &Announcement) -> Signed<Announcement> {
        Signed::sign(announcement, &self.aggregator)
    }

    /// A first announcement over all houses.
    pub fn announced(&self) -> Signed<Announcement> {
        self.sign_announcement(&self.announcement(&self.start(), self.house_names(), 0, NOW_MS))
    }

    pub fn contribution(&self, member: usize, announcement: Digest, content: &[u8]) -> Signed<Contribution> {
        let signer = &self.members[member];
        let manifest = Contribution {
            announcement,
            member: signer.name().clone(),
            ciphertext: message::ciphertext_digest([content]),
            chunk_count: 1,
            commitments: content.to_vec(),
            sealed_shares: vec![Digest::sha256(content); self.federation.roster().committee().len()],
            ledger_head: Digest::from_bytes([0; 32]),
        };
        Signed::sign(&manifest, signer)
    }

    pub fn answer(&self, member: usize, announcement: Digest, cohort: Digest) -> Signed<Answer> {
        self.answer_to(member, &self.claim(announcement, cohort))
    }

    pub fn answer_to(&self, member: usize, claim: &SumClaim) -> Signed<Answer> {
        let SumClaim { announcement, cohort, body_sum } = *claim;
        let signer = &self.members[member];
        let share_sum = cohort.as_bytes().to_vec();
        let payload = if self.federation.seals_answers() {
            let seal = |house| SealedFor { house, sealed: share_sum.clone() };
            AnswerPayload::Sealed(self.house_names().into_iter().map(seal).collect())
        } else {
            AnswerPayload::Open(share_sum)
        };
        let index = self.seat(member).unwrap_or(index(0));
        Signed::sign(&Answer { announcement, cohort, body_sum, member: signer.name().clone(), index, payload }, signer)
    }

    /// The claim of [`body_sum`], which [`World::answer`] answers.
    pub fn claim(&self, announcement: Digest, cohort: Digest) -> SumClaim {
        SumClaim { announcement, cohort, body_sum: body_sum(&cohort) }
    }

    pub fn sign_claim(&self, claim: &SumClaim) -> Signed<SumClaim> {
        Signed::sign(claim, &self.aggregator)
    }

    /// What `member` says of the body of `house`.
    pub fn checksum(&self, member: usize, house: usize, claim: &SumClaim, value: &[u8]) -> Signed<BodyChecksum> {
        let (signer, house) = (&self.members[member], self.members[house].name().clone());
        Signed::sign(&BodyChecksum::under(claim, signer.name().clone(), house, value.to_vec()), signer)
    }

    /// A proof of `member` that the share that `dealer` sealed to it, with these bytes, is wrong.
    pub fn complaint(&self, member: usize, dealer: usize, announcement: Digest, sealed: &[u8]) -> Signed<Complaint> {
        let signer = &self.members[member];
        let complaint = Complaint {
            announcement,
            member: signer.name().clone(),
            index: self.seat(member).unwrap_or(index(0)),
            dealer: RosterPosition::new(dealer as u32 + 1).unwrap(),
            sealed: sealed.to_vec(),
            proof: b"proof".to_vec(),
        };
        Signed::sign(&complaint, signer)
    }

    /// What the aggregator publishes of a cohort of houses that each spoke of their own body.
    pub fn checked(&self, claim: &SumClaim, houses: &[usize]) -> client::Event {
        let checksums = houses.iter().map(|n| self.checksum(*n, *n, claim, &[*n as u8])).collect();
        client::Event::Checked { claim: self.sign_claim(claim), checksums }
    }

    pub fn outcome(&self, member: usize, announcement: Digest, cohort: Digest, verdict: Verdict) -> Signed<Outcome> {
        let signer = &self.members[member];
        Signed::sign(&Outcome { announcement, cohort, member: signer.name().clone(), verdict }, signer)
    }

    /// A server round after these members said ready.
    pub fn gathered(&self, ready: &[usize]) -> Round {
        let mut round = Round::start(Arc::clone(&self.federation), self.start());
        for member in ready {
            round = accept(&round, NOW_MS, Event::Ready(self.ready(*member, &self.start())));
        }
        round
    }

    /// A server round announced over all houses.
    pub fn collecting(&self) -> Round {
        let houses: Vec<usize> = (0..self.house_names().len()).collect();
        accept(&self.gathered(&houses), NOW_MS, Event::Announced(self.announced()))
    }

    /// A server round whose cohort is all houses, each with one byte, its number; nothing is claimed.
    pub fn checking(&self) -> Round {
        let digest = self.announced().body_digest();
        (0..self.house_names().len()).fold(self.collecting(), |round, n| {
            accept(&round, NOW_MS + 1, Event::Contribution(self.contribution(n, digest, &[n as u8])))
        })
    }

    /// The same with the sum claimed and every checksum said.
    pub fn opening(&self) -> Round {
        self.check(self.checking(), NOW_MS + 1)
    }

    /// Claims the sum, and lets every house speak of its body, and of another's when it is drawn.
    pub fn check(&self, round: Round, at_ms: u64) -> Round {
        let fixed = round.fixed().unwrap();
        let (claim, houses) = (self.claim(fixed.announced().digest(), fixed.digest()), fixed.houses());
        let number = |name: &HouseName| self.members.iter().position(|signer| signer.name() == name).unwrap();
        let round = accept(&round, at_ms, Event::Claimed(self.sign_claim(&claim)));
        let own = houses.iter().map(|house| (house, house));
        claim.spot_checks(&houses).into_iter().chain(own).fold(round, |round, (who, house)| {
            let value = [number(house) as u8];
            accept(&round, at_ms, Event::Checksum(self.checksum(number(who), number(house), &claim, &value)))
        })
    }

    pub fn member(&self, member: usize) -> client::Round {
        let name = self.members[member].name().clone();
        let me = Me::new(Arc::clone(&self.federation), name, policy()).unwrap();
        client::Round::start(Arc::new(me), Memory::new(initial()))
    }

    /// A member that accepted `announced`.
    pub fn listening(&self, member: usize) -> client::Round {
        hear(&self.member(member), announced(&self.announced()))
    }
}

/// The digest of what the bodies of this cohort are said to add up to.
pub fn body_sum(cohort: &Digest) -> Digest {
    Digest::of("body-sum", cohort.as_bytes())
}

pub fn index(member: usize) -> MemberIndex {
    MemberIndex::new(member as u8 + 1).unwrap()
}

pub fn policy() -> Policy {
    Policy {
        epsilon_ceiling: 3.0,
        allow_no_privacy: false,
        min_cohort: 3,
        min_colluding_members: 0,
        max_clock_skew_ms: 1000,
        require_record_proof: true,
    }
}

pub fn initial() -> Digest {
    Digest::of("state", b"initial")
}

pub fn announced(signed: &Signed<Announcement>) -> client::Event {
    client::Event::Announced { signed: signed.clone(), epsilon_after: 0.1, record_proof: None }
}

/// Offers an input that must be accepted.
pub fn accept(round: &Round, at_ms: u64, event: Event) -> Round {
    round.step(&Input { at_ms, event }).unwrap().next
}

/// Offers an input that must be refused; gives the rule.
pub fn refuse(round: &Round, at_ms: u64, event: Event) -> &'static str {
    round.step(&Input { at_ms, event }).unwrap_err().code()
}

/// Offers a member an event that it must accept.
pub fn hear(round: &client::Round, event: client::Event) -> client::Round {
    round.step(&client::Input { at_ms: NOW_MS + 1, event }).unwrap().next
}

/// Offers a member an event that it must refuse; gives the rule.
pub fn shun(round: &client::Round, event: client::Event) -> &'static str {
    round.step(&client::Input { at_ms: NOW_MS + 1, event }).unwrap_err().code()
}

/// The same signed bytes with one bit of the signature turned.
pub fn spoil<T: Statement>(signed: &Signed<T>) -> Signed<T> {
    let mut signature = *signed.signature();
    signature[5] ^= 1;
    Signed::from_parts(signed.body().to_vec(), signed.signer().clone(), signature).unwrap()
}

fn signer(name: &str, seed: u8) -> Signer {
    Signer::new(HouseName::new(name).unwrap(), &[seed; 32])
}

fn member_name(shape: &Shape, n: usize) -> String {
    if n < shape.houses { format!("house-{n}") } else { format!("trustee-{n}") }
}

fn charter_text(shape: &Shape, aggregator: &Signer) -> String {
    let (head, _) = charter::SAMPLE.split_once("# The houses:").unwrap();
    let old_key = head.lines().find(|line| line.starts_with("aggregator_key")).unwrap();
    let key = hex::encode(aggregator.public_key().as_bytes());
    let mut text = head
        .replace(old_key, &format!("aggregator_key = \"{key}\""))
        .replace("min_cohort = 3", &format!("min_cohort = {}", shape.min_cohort))
        .replace("max_cohort = 4", &format!("max_cohort = {}", shape.houses))
        .replace("may_vanish = 1", &format!("may_vanish = {}", shape.may_vanish))
        .replace("max_attempts = 5", "max_attempts = 1000")
        .replace("count = 60", "count = 1000")
        .replace("charged = 60", "charged = 1000")
        .replace("threshold = 3", &format!("threshold = {}", shape.threshold))
        .replace("policy = \"aggregator\"", &format!("policy = \"{}\"", shape.policy));
    if let Some(named) = shape.committee {
        let names: Vec<String> = named.iter().map(|n| format!("{:?}", member_name(shape, *n))).collect();
        let threshold = format!("threshold = {}\n", shape.threshold);
        text = text.replace(&threshold, &format!("{threshold}houses = [{}]\n", names.join(", ")));
    }
    for n in 0..shape.houses + shape.trustees {
        let name = member_name(shape, n);
        text += &if n < shape.houses {
            format!("[[house]]\nname = \"{name}\"\nsampling_rate = 0.02\nnominal_batch = 64\n")
        } else {
            format!("[[trustee]]\nname = \"{name}\"\n")
        };
    }
    text
}
