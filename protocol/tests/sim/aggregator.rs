//! The aggregator of the simulation: rows, replay, a record, and a crash between any two of its doings. It claims false
//! sums now and then.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::server::{Effect, Event, Input, Isolation, Past as Ended, Round, Start};
use protocol::*;
use rand::RngExt as _;

use super::{Parcel, Simulation, checker, one_in, sums};

/// A settled round, for who was away.
pub struct Past {
    pub announcement: Signed<Announcement>,
    pub cohort: Digest,
    pub outcomes: Vec<Signed<Outcome>>,
}

pub struct Aggregator {
    pub round: Round,
    start: Start,
    rows: Vec<Input>,
    pub log: log::Log,
    last_leaf: Option<(RoundNumber, Attempt)>,
    next_sequence: u64,
    /// How attempts ended, and the operator's readmissions: stored, as the record is.
    past: Vec<Ended>,
    /// What it serves as the sum of each claim.
    pub sums: BTreeMap<Digest, Vec<u64>>,
    folded: Option<Digest>,
    settling_since_ms: Option<u64>,
    pub history: Vec<Past>,
    pub done: bool,
}

impl Aggregator {
    pub fn new(federation: Arc<Federation>, start: Start) -> Self {
        Self {
            round: Round::start(federation, start.clone()),
            start,
            rows: Vec::new(),
            log: log::Log::new(),
            last_leaf: None,
            next_sequence: 0,
            past: Vec::new(),
            sums: BTreeMap::new(),
            folded: None,
            settling_since_ms: None,
            history: Vec::new(),
            done: false,
        }
    }

    pub fn isolation(&self, federation: &Federation) -> Isolation {
        Isolation::fold(federation.roster(), &self.past)
    }
}

impl Simulation {
    /// Offers an event to the aggregator's round: step, store, act, with crashes in between.
    pub fn serve(&mut self, event: Event) {
        let input = Input { at_ms: self.server_ms(), event };
        let step = match self.aggregator.round.step(&input) {
            Ok(step) => step,
            Err(rejection) => return self.checker.rejects("the aggregator", &rejection),
        };
        if one_in(&mut self.rng, 200) {
            // Crashed before the row was stored: the input never happened.
            self.restart_aggregator();
            return;
        }
        if step.store {
            // The row is what comes back from its bytes; its signatures need not be checked twice for that.
            assert_eq!(Input::from_bytes(&input.to_bytes()).unwrap(), input);
            self.aggregator.rows.push(input);
        }
        self.aggregator.round = step.next;
        if one_in(&mut self.rng, 100) {
            // Crashed after the row was stored, before anything was done.
            self.restart_aggregator();
            return;
        }
        self.carry_out(step.effects);
        self.tick_at_deadline();
    }

    /// A round may wait for ever for outcomes: lying houses, and houses that were shown another set. After twenty
    /// minutes the operator looks.
    pub fn look_after(&mut self) {
        let settling = matches!(self.aggregator.round, Round::Settling(_));
        let since_ms = *self.aggregator.settling_since_ms.get_or_insert(self.now_ms);
        if !settling {
            self.aggregator.settling_since_ms = None;
        } else if self.now_ms > since_ms + 20 * 60_000 {
            self.serve(Event::Stop);
        }
    }

    /// Announces over the ready houses, when this is still the attempt that gathers.
    pub fn announce(&mut self, start: &Start) {
        let aggregator = &mut self.aggregator;
        let Round::Gathering(gathering) = &aggregator.round else { return };
        if aggregator.start != *start || gathering.ready().count() < gathering.needed() {
            return;
        }
        let federation = &self.world.federation;
        let (need, houses) = (gathering.needed(), federation.roster().houses().count());
        let mut isolation = aggregator.isolation(federation);
        let all_ready = gathering.ready().count() == houses;
        if all_ready && isolation.expected(gathering.ready(), need, houses).expected().is_none() {
            // Too few are left for another round: the operator takes the isolated ones in again.
            let isolated: Vec<HouseName> = isolation.isolated().map(|(house, _)| house.clone()).collect();
            for house in isolated {
                assert!(isolation.readmit(&house));
                aggregator.past.push(Ended::Readmitted(house));
            }
        }
        let choice = isolation.expected(gathering.ready(), need, houses);
        let Some(expected) = choice.expected().map(<[HouseName]>::to_vec) else { return };
        aggregator.next_sequence += 1;
        let sequence = aggregator.next_sequence;
        let announcement = self.world.announcement(start, expected, sequence, self.server_ms());
        self.serve(Event::Announced(self.world.sign_announcement(&announcement)));
    }

    /// Claims the folded sum, unless a claim was made: then nothing is signed again.
    pub fn claim(&mut self, list: &Arc<CohortList>) {
        let Round::Checking(checking) = &self.aggregator.round else { return };
        let cohort = list.digest();
        if checking.claim().is_some() || checking.fixed().digest() != cohort {
            return;
        }
        let mut sum = sums::sum(&self.world, list);
        if self.checker.falsifies(&list.announcement) {
            // A house's part is left out, and something put in its place.
            let dropped = list.contributions[0].unverified().unwrap();
            sum[usize::from(dropped.commitments[0])] = 0;
            sum[self.world.members.len()] ^= 1;
        }
        let body_sum = Digest::sha256(&sums::bytes(&sum));
        self.aggregator.sums.insert(body_sum, sum);
        let claim = SumClaim { announcement: list.announcement, cohort, body_sum };
        self.checker.claims(&claim);
        self.serve(Event::Claimed(self.world.sign_claim(&claim)));
    }

    fn restart_aggregator(&mut self) {
        self.checker.server_crashes += 1;
        let aggregator = &mut self.aggregator;
        let federation = Arc::clone(&self.world.federation);
        let replayed = Round::replay(federation, aggregator.start.clone(), &aggregator.rows).unwrap();
        assert_eq!(replayed.name(), aggregator.round.name());
        assert_eq!(replayed.notices(), aggregator.round.notices());
        assert_eq!(replayed.claim(), aggregator.round.claim(), "a claim outlives every crash");
        aggregator.round = replayed;
        aggregator.folded = None;
        let pending = aggregator.round.pending();
        self.carry_out(pending);
        self.tick_at_deadline();
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Gathered { .. } => {
                    let start = self.aggregator.start.clone();
                    self.at(self.now_ms + 3000, Parcel::Announce(start));
                }
                Effect::Publish(notice) => self.publish(&notice),
                Effect::FoldCohort(list) => {
                    checker::one_hot_sum(&self.world, &list);
                    self.aggregator.folded = Some(list.digest());
                    let took_ms = self.rng.random_range(100..20_000);
                    self.at(self.now_ms + took_ms, Parcel::Folded(list));
                }
                Effect::Combine { answers } => {
                    let fixed = self.aggregator.round.fixed().unwrap();
                    assert_eq!(self.aggregator.folded, Some(fixed.digest()), "combined before it was folded");
                    let body_sum = self.aggregator.round.checked().unwrap().body_sum();
                    self.checker.opens(&self.world, fixed.list(), &body_sum, &answers);
                }
                Effect::AppendLog(leaf) => self.append(&leaf),
                Effect::NextRound(round) => {
                    let Round::Finished(finished) = &self.aggregator.round else { panic!("finished") };
                    let Verdict::Applied { state, .. } = finished.verdict() else { panic!("applied") };
                    self.aggregator.history.push(Past {
                        announcement: finished.fixed().announced().signed().clone(),
                        cohort: finished.fixed().digest(),
                        outcomes: finished.outcomes().to_vec(),
                    });
                    assert_eq!(self.aggregator.history.len() as u32, round.get() - 1);
                    self.aggregator.done = round.get() > self.rounds;
                    self.begin(Start {
                        round,
                        attempt: Attempt::FIRST,
                        adapter: state,
                        ..self.aggregator.start.clone()
                    });
                }
                Effect::NextAttempt(attempt) => {
                    self.begin(Start { attempt, ..self.aggregator.start.clone() });
                }
                Effect::FederationDone | Effect::AttemptsUsedUp => panic!("{effect:?}"),
            }
        }
    }

    fn append(&mut self, leaf: &RecordLeaf) {
        let key = Some((leaf.round, leaf.attempt));
        // The record's own key makes a repeated append harmless.
        if self.aggregator.last_leaf != key {
            self.checker.ends(&self.world, leaf);
            self.aggregator.past.push(Ended::from(leaf));
            self.aggregator.log.append(leaf);
            self.aggregator.last_leaf = key;
        }
    }

    fn begin(&mut self, start: Start) {
        let aggregator = &mut self.aggregator;
        aggregator.start = Start { record: aggregator.log.head(), ..start };
        aggregator.rows.clear();
        aggregator.folded = None;
        aggregator.round = Round::start(Arc::clone(&self.world.federation), aggregator.start.clone());
        for effect in aggregator.round.pending() {
            let Effect::Publish(notice) = effect else { continue };
            self.publish(&notice);
        }
    }
}
