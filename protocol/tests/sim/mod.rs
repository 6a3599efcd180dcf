//! A federation in memory: virtual time, one queue, a network that loses, repeats, delays and reorders.

#![allow(unreachable_pub, reason = "test modules")]

mod aggregator;
mod checker;
mod member;
mod sums;

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::server::{self, Start};
use protocol::*;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::common::{NOW_MS, Shape, World};
use aggregator::Aggregator;
pub use checker::Checker;
use member::Member;

/// What the queue holds.
enum Parcel {
    ToServer(server::Event),
    ToMember(usize, Notice),
    /// A member's connection hears everything of the round so far, as after a reconnection.
    Poll(usize),
    Announce(Start),
    /// The aggregator has folded this cohort.
    Folded(Arc<CohortList>),
    Tick,
    /// A member, in one of its lives, has trained.
    Trained(usize, u32, Signed<Contribution>),
}

/// A round takes some hundred parcels an attempt. An aggregator's clock that jumps ahead ends an attempt and spoils the
/// next one, which is announced before the clock comes right: of 100,000 seeds a few have ten and more such in a row.
const PARCELS_BEFORE_STUCK: u64 = 200_000;

pub struct Simulation {
    pub world: World,
    aggregator: Aggregator,
    members: Vec<Member>,
    pub checker: Checker,
    rng: ChaCha8Rng,
    now_ms: u64,
    rounds: u32,
    /// By how much the aggregator's clock is wrong.
    server_clock_ms: i64,
    queue: BTreeMap<(u64, u64), Parcel>,
    parcels: u64,
}

impl Simulation {
    /// With a `culprit`, a house that spoils every round that it is in; nobody else then does wrong to a round.
    pub fn new(shape: &Shape, rounds: u32, seed: u64, culprit: Option<usize>) -> Self {
        let world = World::new(shape);
        let aggregator = Aggregator::new(Arc::clone(&world.federation), world.start());
        let members: Vec<Member> = (0..world.members.len()).map(|n| Member::new(&world, n)).collect();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let culprit = culprit.map(|n| world.members[n].name().clone());
        let (checker, queue) = (Checker::new(culprit), BTreeMap::new());
        let mut simulation = Self {
            world,
            aggregator,
            members,
            checker,
            rng,
            now_ms: NOW_MS,
            rounds,
            server_clock_ms: 0,
            queue,
            parcels: 0,
        };
        for member in 0..simulation.members.len() {
            simulation.at(NOW_MS + member as u64, Parcel::Poll(member));
        }
        simulation
    }

    /// Runs until the rounds are applied; then the record must show each of them once.
    pub fn run(&mut self) {
        while !self.aggregator.done {
            let Some(((at_ms, _), parcel)) = self.queue.pop_first() else { panic!("nothing is left to happen") };
            assert!(
                self.parcels < PARCELS_BEFORE_STUCK * u64::from(self.rounds),
                "stuck in round {:?}; abandoned {:?}, void {}, {:?}",
                self.aggregator.round.frame(),
                self.checker.abandoned,
                self.checker.voided,
                self.aggregator.isolation(&self.world.federation),
            );
            self.now_ms = at_ms;
            self.open(parcel);
        }
        assert_eq!(self.aggregator.history.len(), self.rounds as usize);
        assert!(self.aggregator.log.size() >= u64::from(self.rounds));
        self.checker.isolates(&self.aggregator.isolation(&self.world.federation), self.rounds);
    }

    fn open(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::ToServer(event) => self.serve(event),
            Parcel::ToMember(member, notice) if self.is_there(member) => self.deliver(member, &notice),
            Parcel::ToMember(..) => {}
            Parcel::Announce(start) => self.announce(&start),
            Parcel::Folded(list) => self.claim(&list),
            Parcel::Tick => self.serve(server::Event::Tick),
            Parcel::Trained(member, life, signed) => {
                if self.is_there(member) && self.members[member].life == life {
                    self.offer(member, client::Event::Contributed(signed));
                }
            }
            Parcel::Poll(member) => {
                for notice in self.aggregator.round.notices() {
                    if self.is_there(member) {
                        self.deliver(member, &notice);
                    }
                }
                self.look_after();
                self.clocks_jump(member);
                if one_in(&mut self.rng, 150) {
                    self.leave(member);
                }
                let wait_ms = self.rng.random_range(6_000..16_000);
                self.at(self.now_ms + wait_ms, Parcel::Poll(member));
            }
        }
    }

    /// Now and then a clock jumps by up to an hour, and comes right again later.
    fn clocks_jump(&mut self, member: usize) {
        let mut jump = |wrong_ms: i64| match wrong_ms {
            0 if one_in(&mut self.rng, 300) => self.rng.random_range(-3_600_000..3_600_000),
            0 => 0,
            _ if one_in(&mut self.rng, 10) => 0,
            wrong_ms => wrong_ms,
        };
        let before_ms = self.server_clock_ms;
        self.members[member].clock_ms = jump(self.members[member].clock_ms);
        self.server_clock_ms = jump(self.server_clock_ms);
        if self.server_clock_ms != before_ms {
            self.checker.clock_jumps += 1;
            self.tick_at_deadline();
        }
    }

    /// The aggregator's clock.
    fn server_ms(&self) -> u64 {
        self.now_ms.saturating_add_signed(self.server_clock_ms)
    }

    /// Wakes the aggregator when its own clock shows the next deadline.
    fn tick_at_deadline(&mut self) {
        if let Some(deadline_ms) = self.aggregator.round.next_deadline_ms() {
            let wait_ms = deadline_ms.saturating_sub(self.server_ms());
            self.at(self.now_ms + wait_ms, Parcel::Tick);
        }
    }

    fn is_there(&self, member: usize) -> bool {
        self.now_ms >= self.members[member].away_until_ms
    }

    fn publish(&mut self, notice: &Notice) {
        for member in 0..self.members.len() {
            for at_ms in self.arrivals() {
                self.at(at_ms, Parcel::ToMember(member, notice.clone()));
            }
        }
    }

    fn send(&mut self, event: server::Event) {
        for at_ms in self.arrivals() {
            self.at(at_ms, Parcel::ToServer(event.clone()));
        }
    }

    /// When copies of a message arrive: none, one or two, each after its own delay.
    fn arrivals(&mut self) -> Vec<u64> {
        let copies = match self.rng.random_range(0..100) {
            0..8 => 0,
            8..16 => 2,
            _ => 1,
        };
        (0..copies).map(|_| self.now_ms + self.rng.random_range(10..4_000)).collect()
    }

    fn at(&mut self, at_ms: u64, parcel: Parcel) {
        self.parcels += 1;
        self.queue.insert((at_ms, self.parcels), parcel);
    }
}

fn one_in(rng: &mut ChaCha8Rng, n: u32) -> bool {
    rng.random_range(0..n) == 0
}
