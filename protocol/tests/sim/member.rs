//! A member of the simulation: a disk that survives, a state that does not.

use std::sync::Arc;

use protocol::client::{Effect, Event, Input, Me, Memory, Round};
use protocol::server;
use protocol::*;
use rand::RngExt as _;

use super::{Parcel, Simulation, one_in, sums};
use crate::common::{World, body_sum, initial, policy};

pub struct Member {
    pub state: Round,
    me: Arc<Me>,
    disk: Vec<u8>,
    /// Counts restarts: what a former life had begun is lost.
    pub life: u32,
    pub away_until_ms: u64,
    /// By how much its clock is wrong.
    pub clock_ms: i64,
    erased: Option<u64>,
    /// The sum of the last `Checked` that it accepted in this life.
    checked: Option<Digest>,
    /// What it trains for in this life: as the program, it does not begin twice.
    training: Option<Digest>,
}

impl Member {
    pub fn new(world: &World, member: usize) -> Self {
        let name = world.members[member].name().clone();
        let me = Arc::new(Me::new(Arc::clone(&world.federation), name, policy()).unwrap());
        let memory = Memory::new(initial());
        let disk = memory.to_bytes();
        let state = Round::start(Arc::clone(&me), memory);
        Self { state, me, disk, life: 0, away_until_ms: 0, clock_ms: 0, erased: None, checked: None, training: None }
    }
}

impl Simulation {
    /// A notice reaches a member. One that sees that it missed rounds catches up first.
    pub fn deliver(&mut self, member: usize, notice: &Notice) {
        let round = match notice {
            Notice::Gathering { round, .. } => Some(*round),
            Notice::Announced(signed) => Some(signed.unverified().unwrap().round),
            _ => None,
        };
        while round.is_some_and(|round| self.memory(member).next_round < round) {
            let missed = self.memory(member).next_round.get() as usize - 1;
            let Some(past) = self.aggregator.history.get(missed) else { return };
            let (signed, cohort) = (past.announcement.clone(), past.cohort);
            let outcomes = past.outcomes.clone();
            self.offer(member, Event::CaughtUp { signed, cohort, outcomes });
            if self.members[member].away_until_ms > self.now_ms {
                return;
            }
        }
        let event = match notice.clone() {
            Notice::Gathering { .. } if !self.members[member].me.is_house() => return,
            Notice::Gathering { round, attempt } => Event::BecomeReady { round, attempt },
            Notice::Announced(signed) => {
                let size = signed.unverified().unwrap().record.size;
                let record_proof = self.aggregator.log.consistency(self.memory(member).record.size, size);
                Event::Announced { signed, epsilon_after: 0.1, record_proof }
            }
            Notice::Cohort(list) => Event::Cohort(self.two_faced(member, list)),
            Notice::Claimed(claim) => Event::Claimed(self.two_claims(member, claim)),
            Notice::Checked { claim, mut checksums } => {
                let shown = self.two_claims(member, claim.clone());
                checksums.retain(|_| shown == claim);
                Event::Checked { claim: shown, checksums }
            }
            // Evidence for people; the attempt's end follows.
            Notice::Complained(_) => return,
            Notice::Answered(signed) => Event::Answered(signed),
            Notice::Settled { cohort, outcomes, .. } => Event::Settled { cohort, outcomes },
            Notice::Abandoned { round, attempt, reason } => Event::Abandoned { round, attempt, reason },
        };
        self.offer(member, event);
    }

    /// Offers an event to a member, and carries out the effects until it crashes.
    pub fn offer(&mut self, member: usize, event: Event) {
        let at_ms = self.now_ms.saturating_add_signed(self.members[member].clock_ms);
        let input = Input { at_ms, event };
        let step = match self.members[member].state.step(&input) {
            Ok(step) => step,
            Err(rejection) => return self.checker.rejects("a member", &rejection),
        };
        if let Event::Checked { claim, .. } = &input.event {
            self.members[member].checked = Some(claim.unverified().unwrap().body_sum);
        }
        self.members[member].state = step.next;
        for effect in step.effects {
            if one_in(&mut self.rng, 150) {
                return self.restart_member(member);
            }
            self.act(member, effect);
        }
    }

    pub fn leave(&mut self, member: usize) {
        let away_ms = self.rng.random_range(5_000..200_000);
        self.members[member].away_until_ms = self.now_ms + away_ms;
    }

    fn memory(&self, member: usize) -> &Memory {
        self.members[member].state.memory()
    }

    fn restart_member(&mut self, member: usize) {
        self.checker.member_crashes += 1;
        let down = &mut self.members[member];
        down.life += 1;
        down.checked = None;
        down.training = None;
        down.state = Round::start(Arc::clone(&down.me), Memory::from_bytes(&down.disk).unwrap());
        self.leave(member);
    }

    fn act(&mut self, member: usize, effect: Effect) {
        let signer = &self.world.members[member];
        match effect {
            Effect::Remember(memory) => self.members[member].disk = memory.to_bytes(),
            Effect::SendReady(ready) => {
                let signed = Signed::sign(&ready, signer);
                self.send(server::Event::Ready(signed));
            }
            Effect::Train(announced) => self.train(member, &announced),
            Effect::Submit(signed) => {
                let announcement = signed.unverified().unwrap().announcement;
                self.checker.submits(member, announcement, signed.body_digest());
                self.send(server::Event::Contribution(signed));
            }
            Effect::CheckShares(list) => self.check_shares(member, &list),
            Effect::SendComplaint(signed) => self.send(server::Event::Complaint(signed)),
            Effect::Check { list, claim, bodies } => self.check_bodies(member, &list, &claim, &bodies),
            Effect::SendChecksum(signed) => self.send(server::Event::Checksum(signed)),
            Effect::Answer { list, body_sum } => {
                let sequence = self.members[member].state.heard().unwrap().sequence().unwrap();
                let erased = self.members[member].erased;
                assert!(erased.is_none_or(|erased| erased < sequence), "the one-time key is erased before it is used");
                let claim = SumClaim { announcement: list.announcement, cohort: list.digest(), body_sum };
                assert_eq!(self.members[member].checked, Some(body_sum), "an answer before `Checked` was heard");
                let stored = Memory::from_bytes(&self.members[member].disk).unwrap().seen.unwrap();
                assert_eq!(
                    (stored.announcement, stored.cohort, stored.body_sum),
                    (claim.announcement, Some(claim.cohort), Some(body_sum)),
                    "an answer that was not promised durably"
                );
                assert_eq!(stored.complaint, None, "an answer after a complaint");
                self.checker.answers(member, &claim);
                let answer = self.world.answer_to(member, &claim);
                self.offer(member, Event::Answered(answer));
            }
            Effect::SendAnswer(signed) => self.send(server::Event::Answer(signed)),
            Effect::EraseOneTimeKeys { sequence } => self.members[member].erased = Some(sequence),
            Effect::Combine { list, checked, answers } => {
                let verdict = self.combine(member, &list, &checked, &answers);
                self.offer(member, Event::Combined(verdict));
            }
            Effect::SendOutcome(mut outcome) => {
                if one_in(&mut self.rng, 60) {
                    // A house lies; no two lies are alike.
                    outcome.verdict = Verdict::Applied { state: Digest::sha256(&[member as u8]), last: false };
                }
                let signed = Signed::sign(&outcome, signer);
                self.send(server::Event::Outcome(signed));
            }
            Effect::Settled(verdict) => {
                if let Verdict::Applied { state, .. } = verdict {
                    let next = self.memory(member).next_round;
                    self.checker.applies(next, state);
                }
            }
        }
    }

    /// Checks the served sum, then opens it and applies it.
    fn combine(&mut self, member: usize, list: &CohortList, checked: &Checked, answers: &[Signed<Answer>]) -> Verdict {
        let served = &self.aggregator.sums[&checked.body_sum()];
        if !sums::is_right(&self.world, list, checked, served) {
            return Verdict::Void { reason: VoidReason::WrongSum };
        }
        assert!(!self.checker.falsifies(&list.announcement), "a false sum passes");
        let sum = self.checker.opens(&self.world, list, &checked.body_sum(), answers);
        let adapter = self.memory(member).adapter;
        self.checker.verdict(list, &adapter, &sum)
    }

    /// Says the checksum of its own body, and of another's that the challenge drew. Some houses say nothing, or something
    /// false.
    fn check_bodies(&mut self, member: usize, list: &CohortList, claim: &SumClaim, bodies: &[HouseName]) {
        self.checker.says(member, claim);
        self.checker.spot_checks += bodies.len();
        if one_in(&mut self.rng, 25) {
            return;
        }
        let name = self.world.members[member].name().clone();
        // Of its own body and the drawn ones alike, and after a crash the same again: else it would contradict itself, which is refused.
        let drawn = Digest::of("lie", &[list.announcement.as_bytes().as_slice(), name.as_str().as_bytes()].concat());
        let lie = u64::from(drawn.as_bytes()[0] < 10);
        let said: Vec<Signed<BodyChecksum>> = list
            .contributions
            .iter()
            .filter(|signed| *signed.signer() == name || bodies.contains(signed.signer()))
            .map(|signed| {
                let body = sums::body(&self.world, &signed.unverified().unwrap());
                let value = sums::checksum(claim, &body).wrapping_add(lie).to_le_bytes().to_vec();
                let said = BodyChecksum::under(claim, name.clone(), signed.signer().clone(), value);
                Signed::sign(&said, &self.world.members[member])
            })
            .collect();
        assert_eq!(said.len(), 1 + bodies.len());
        self.checker.false_checksums += lie as usize;
        self.offer(member, Event::Checksummed(said));
    }

    /// In some rounds a house has sealed a wrong share to one member, which proves it.
    fn check_shares(&mut self, member: usize, list: &CohortList) {
        let [.., wrong, receiver, dealer, _] = *list.announcement.as_bytes();
        let dealer = &list.contributions[usize::from(dealer) % list.contributions.len()];
        let to_me = usize::from(receiver) % self.world.members.len() == member;
        if wrong >= 24
            || !to_me
            || dealer.signer() == self.world.members[member].name()
            || self.checker.culprit.is_some()
        {
            return;
        }
        let place = self.world.members.iter().position(|signer| signer.name() == dealer.signer()).unwrap();
        let sealed = dealer.unverified().unwrap().commitments;
        let complaint = self.world.complaint(member, place, list.announcement, &sealed);
        self.offer(member, Event::Complained(complaint));
    }

    /// In some rounds the aggregator shows some members, some of the time, another claim.
    fn two_claims(&mut self, member: usize, claim: Signed<SumClaim>) -> Signed<SumClaim> {
        let mut other = claim.unverified().unwrap();
        if other.announcement.as_bytes()[2] >= 20 || member.is_multiple_of(2) || one_in(&mut self.rng, 2) {
            return claim;
        }
        other.body_sum = body_sum(&other.cohort);
        self.world.sign_claim(&other)
    }

    /// Training takes its time; a contribution leaves at the submission time, or later when it is not ready by then.
    fn train(&mut self, member: usize, announced: &Announcement) {
        let digest = announced.digest();
        if self.members[member].training == Some(digest) {
            return;
        }
        self.members[member].training = Some(digest);
        let slowest_ms = if one_in(&mut self.rng, 12) { 90_000 } else { 50_000 };
        let took_ms = self.rng.random_range(1_000..slowest_ms);
        let done_ms = (self.now_ms + took_ms).max(announced.submit_time_ms());
        let mut content = vec![member as u8];
        content.extend(self.rng.random::<[u8; 8]>());
        let contribution = self.world.contribution(member, digest, &content);
        self.at(done_ms, Parcel::Trained(member, self.members[member].life, contribution));
    }

    /// In some rounds the aggregator shows some members, some of the time, a smaller set.
    fn two_faced(&mut self, member: usize, mut list: CohortList) -> CohortList {
        if list.announcement.as_bytes()[1] < 20 && member % 2 == 1 && one_in(&mut self.rng, 2) {
            list.contributions.pop();
        }
        list
    }
}
