//! What is looked at: the bytes that came, without any key; with too few shares; and with enough.

use std::collections::BTreeMap;

use privacy::NoiseShare;
use protocol::message::{SHARE_INFO, ciphertext_digest, share_aad};
use protocol::{Contribution, Signed};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use secure_sum::{
    Accumulator, Commitments, KeyShare, KeySum, Layout, MaskSeed, OneTimeKey, ShareSum, combine, combine_unchecked,
};
use zeroize::Zeroizing;

use super::ProveError;
use super::canary::{Made, TOO_LARGE};
use super::far_end::Arrived;
use super::rehearsal::Rehearsal;
use super::report::{Check, Left};
use super::search::{self, Encoded, Pieces, compressed_share, encodings, equal_share};

/// Sums are of at least so many contributions ([`Layout::COHORT_MIN`]): the canary, and zeros.
const COHORT: usize = Layout::COHORT_MIN;
/// Sets of members that are tried, of each size.
const MOST_SETS: usize = 50;
/// What DEFLATE must leave of a ciphertext at the least.
const LEAST_LEFT: f64 = 0.999;

/// A contribution that came, read as an aggregator and a committee read it.
pub(super) struct Opened<'a> {
    rehearsal: &'a Rehearsal,
    arrived: &'a Arrived,
    made: &'a Made,
    manifest: Contribution,
    sum: Accumulator,
    commitments: Commitments,
    /// Each member's shares of the canary's key, by its index.
    canary: Shares,
    /// Each member's shares of the other keys.
    others: Shares,
    /// Their sums: a member's answer.
    answers: Shares,
}

/// Share sums as bytes, by their member's index.
type Shares = BTreeMap<u8, Zeroizing<Vec<u8>>>;

impl<'a> Opened<'a> {
    /// Verifies what came, unseals every share, and adds two contributions of zeros, since nothing opens one alone.
    pub(super) fn read(rehearsal: &'a Rehearsal, arrived: &'a Arrived, made: &'a Made) -> Result<Self, ProveError> {
        let failed = |error: &dyn std::fmt::Display| ProveError::Contribution(error.to_string());
        let (layout, committee) = (&rehearsal.layout, &rehearsal.committee);
        let signed: Signed<Contribution> =
            protos::convert::signed("contribution", arrived.header.contribution.clone()).map_err(|e| failed(&e))?;
        let manifest = signed.verify(rehearsal.federation.roster()).map_err(|e| failed(&e))?;
        if ciphertext_digest(arrived.body.chunks(layout.chunk_bytes())) != manifest.ciphertext {
            return Err(failed(&"the body is not the signed one"));
        }
        let mut commitments =
            Commitments::from_bytes(layout, committee, &manifest.commitments).map_err(|e| failed(&e))?;
        commitments.check_degree(committee).map_err(|e| failed(&e))?;
        let (mut canary, mut others, mut answers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (sealed, (index, key)) in arrived.header.sealed_shares.iter().zip(&rehearsal.keys) {
            let seat = rehearsal.announcement.committee.iter().find(|seat| seat.index.get() == *index);
            let Some(seat) = seat else { continue };
            let aad = share_aad(&manifest.announcement, &manifest.member, seat.index, &manifest.ciphertext);
            let bytes = secure_sum::unseal(key, SHARE_INFO, &aad, sealed).map_err(|e| failed(&e))?;
            let share = KeyShare::from_bytes(layout, &bytes).map_err(|e| failed(&e))?;
            share.check(&commitments, *index).map_err(|e| failed(&e))?;
            let mut sum = ShareSum::new(layout);
            sum.add(&share).map_err(|e| failed(&e))?;
            canary.insert(*index, sum.to_bytes());
            answers.insert(*index, sum);
            others.insert(*index, ShareSum::new(layout));
        }
        let mut sum = Accumulator::new(layout);
        sum.add(&arrived.body).map_err(|e| failed(&e))?;
        for _ in 1..COHORT {
            let rng = &mut UnwrapErr(SysRng);
            let key = OneTimeKey::generate(layout, rng);
            let dealing = secure_sum::deal(&key, layout, committee, rng).map_err(|e| failed(&e))?;
            let zeros = vec![0; layout.values().count];
            let body = secure_sum::encrypt(layout, &rehearsal.seed(), key, &zeros, rng).map_err(|e| failed(&e))?;
            sum.add(&body).map_err(|e| failed(&e))?;
            commitments.add(&dealing.commitments).map_err(|e| failed(&e))?;
            for (index, sum) in answers.iter_mut().chain(&mut others) {
                if let Some(share) = dealing.shares.get(usize::from(*index) - 1) {
                    sum.add(share).map_err(|e| failed(&e))?;
                }
            }
        }
        let written =
            |sums: BTreeMap<u8, ShareSum>| sums.into_iter().map(|(index, sum)| (index, sum.to_bytes())).collect();
        let (others, answers) = (written(others), written(answers));
        Ok(Self { rehearsal, arrived, made, manifest, sum, commitments, canary, others, answers })
    }

    /// The parts of what came.
    pub(super) fn left(&self) -> Vec<Left> {
        let header = &self.arrived.header;
        let signed = header.contribution.as_ref().map_or(0, |signed| signed.body.len());
        let sealed: usize = header.sealed_shares.iter().map(|share| share.len()).sum();
        let commitments = self.manifest.commitments.len();
        let messages = self.arrived.body.len() + sealed + signed;
        vec![
            Left { what: "the update, encrypted", bytes: self.arrived.body.len() },
            Left { what: "shares of its key, one sealed to each member of the committee", bytes: sealed },
            Left {
                what: "commitments to these shares, which show that they are right and nothing else",
                bytes: commitments,
            },
            Left {
                what: "digests of all that, the round, this house's name, the digest of its ledger, signed",
                bytes: signed.saturating_sub(commitments),
            },
            Left { what: "framing and headers of gRPC", bytes: self.arrived.read.len().saturating_sub(messages) },
            Left {
                what: "framing and authentication of TLS",
                bytes: self.arrived.wire.len().saturating_sub(self.arrived.read.len()),
            },
        ]
    }

    /// All checks but those of the noise's size, which are of what was opened.
    pub(super) fn checks(&self, second: &[u8], share: Option<&NoiseShare>) -> Vec<Check> {
        let opened = self.with_enough();
        let mut checks = vec![self.not_plain(), self.not_compressible(), self.fresh(second), self.too_few()];
        checks.push(self.opens(&opened));
        let values = opened.ok().and_then(|mut opened| opened.pop());
        checks.push(self.clipped());
        checks.push(self.noised(values.as_deref(), share));
        checks
    }

    fn not_plain(&self) -> Check {
        let vectors = [&self.made.values, &self.made.clipped];
        let encoded: Vec<Encoded> =
            vectors.into_iter().flat_map(|vector| encodings(&search::runs_of(vector))).collect();
        let pieces = Pieces::of(&encoded);
        let (known, places) =
            (pieces.len(), pieces.places_in(&self.arrived.wire) + pieces.places_in(&self.arrived.read));
        let each = || encoded.iter().map(|encoded| (Pieces::of([encoded]), encoded)).filter(|(own, _)| own.len() > 0);
        let blind: Vec<&str> =
            each().filter(|(own, encoded)| own.places_in(&encoded.bytes) == 0).map(|(_, one)| one.name).collect();
        Check {
            name: "not-plaintext",
            question: "Is the update, before or after its noise, anywhere in what left, as numbers or as text?",
            passed: places == 0 && known > 0 && blind.is_empty(),
            found: format!(
                "{places} places in {} bytes, under TLS and out of it, hold any of {known} pieces of it",
                self.arrived.wire.len() + self.arrived.read.len()
            ),
            control: Some(if blind.is_empty() {
                format!(
                    "in the update as it is without encryption it is found, in each of {} encodings",
                    each().count()
                )
            } else {
                format!("it is NOT FOUND in the update itself, as {}", blind.join(", "))
            }),
        }
    }

    fn not_compressible(&self) -> Check {
        let share = compressed_share(&self.arrived.body);
        let plain = encodings(&search::runs_of(&self.made.values));
        let plain = plain.iter().map(|encoded| compressed_share(&encoded.bytes)).fold(1.0, f64::min);
        Check {
            name: "not-compressible",
            question: "Has what left any structure that a compressor finds?",
            passed: share >= LEAST_LEFT,
            found: format!("DEFLATE leaves {:.2} % of it, as of random bytes", 100.0 * share),
            control: Some(format!("of the update without encryption it leaves {:.0} %", 100.0 * plain)),
        }
    }

    fn fresh(&self, second: &[u8]) -> Check {
        let (share, most) = equal_share(&self.arrived.body, second);
        Check {
            name: "fresh",
            question: "Does the same update, encrypted once more, look like the first time?",
            passed: second.len() == self.arrived.body.len() && (share - 1.0 / 256.0).abs() <= most,
            found: format!(
                "{:.3} % of the bytes are the same; two random texts have {:.3} % (+- {:.3})",
                100.0 * share,
                100.0 / 256.0,
                100.0 * most
            ),
            control: None,
        }
    }

    /// What these members hold of `shares`.
    fn held(&self, shares: &Shares, set: &[u8]) -> Vec<(u8, ShareSum)> {
        let layout = &self.rehearsal.layout;
        let of = |index: &u8| Some((*index, ShareSum::from_bytes(layout, shares.get(index)?).ok()?));
        set.iter().filter_map(of).collect()
    }

    fn try_open(&self, key: &KeySum) -> Option<Vec<i64>> {
        secure_sum::open(&self.rehearsal.layout, &self.rehearsal.seed(), &self.sum, key, COHORT).ok()
    }

    fn too_few(&self) -> Check {
        let (layout, t) = (&self.rehearsal.layout, usize::from(self.rehearsal.committee.threshold()));
        let members: Vec<u8> = self.answers.keys().copied().collect();
        // The other keys are none of the canary's protection: whoever tries has them.
        let key = |shares, set: &Vec<u8>| combine_unchecked(layout, &self.held(shares, set), COHORT);
        let (few, enough) = (sets_of(&members, t - 1, MOST_SETS), sets_of(&members, t, MOST_SETS));
        let keys = |sets: &[Vec<u8>]| sets.iter().filter(|set| key(&self.canary, set).is_some()).count();
        let (found, control) = (keys(&few), keys(&enough));
        // What a program that forgot to encrypt would need.
        let without = enough.first().and_then(|set| key(&self.others, set)).map(|others| self.try_open(&others));
        Check {
            name: "not-decryptable",
            question: "Can fewer members than the charter says, or nobody at all, decrypt it?",
            passed: found == 0 && without == Some(None) && !few.is_empty() && control == enough.len(),
            found: format!(
                "the shares of {} members give a key in {found} of {} sets of them; without any key it {}",
                t - 1,
                few.len(),
                if without == Some(None) { "does not open" } else { "OPENS" }
            ),
            control: Some(format!("the shares of {t} members give one in {control} of {} sets", enough.len())),
        }
    }

    /// What sets of t members open it to, as a committee and houses do.
    fn with_enough(&self) -> Result<Vec<Vec<i64>>, ProveError> {
        let failed = |error: &dyn std::fmt::Display| ProveError::Contribution(error.to_string());
        let Rehearsal { layout, committee, .. } = self.rehearsal;
        let members: Vec<u8> = self.answers.keys().copied().collect();
        // The first set and the last one have as few members in common as any two.
        let mut sets = sets_of(&members, usize::from(committee.threshold()), MOST_SETS);
        let last = sets.pop();
        sets.truncate(1);
        let open = |set: &Vec<u8>| {
            let key = combine(layout, committee, &self.commitments, &self.held(&self.answers, set), COHORT);
            let key = key.map_err(|e| failed(&e))?;
            secure_sum::open(layout, &self.rehearsal.seed(), &self.sum, &key, COHORT).map_err(|e| failed(&e))
        };
        sets.iter().chain(&last).map(open).collect()
    }

    fn opens(&self, opened: &Result<Vec<Vec<i64>>, ProveError>) -> Check {
        let (passed, found) = match opened {
            Err(error) => (false, error.to_string()),
            Ok(opened) => {
                let right = opened.iter().filter(|values| **values == self.made.values).count();
                let count = self.made.values.len();
                let found = format!("{right} of {} quorums open all {count} values, each exactly", opened.len());
                (right == opened.len() && right > 0, found)
            }
        };
        Check {
            name: "opens",
            question: "Do enough members open exactly what was put in: the canary with this house's noise?",
            passed,
            found,
            control: None,
        }
    }

    fn clipped(&self) -> Check {
        let charter = self.rehearsal.federation.charter();
        let round = self.rehearsal.announcement.round;
        let update = terms::RoundShape::of(charter, round, self.rehearsal.state.update_len()).update;
        let weight = norm(self.made.clipped.iter().take(update));
        let client = charter.privacy.mode == protocol::charter::PrivacyMode::Client;
        let units = if client { 1 } else { self.made.rows };
        let most = units as f64 * terms::Norms::of(charter, round).update as f64;
        Check {
            name: "clipped",
            question: "Is an update that pushes a thousand times harder than allowed cut down before it leaves?",
            // Sums of 2^53 and more are rounded in 64-bit floats.
            passed: self.made.rows > 0 && weight > 0.0 && weight <= most * (1.0 + 1e-9),
            found: format!(
                "each value of {} gradients was {TOO_LARGE} clipping norms large; together they weigh {:.4} of what {units} {} may",
                self.made.rows,
                weight / most,
                if client { "house" } else { "units" }
            ),
            control: None,
        }
    }

    fn noised(&self, values: Option<&[i64]>, share: Option<&NoiseShare>) -> Check {
        let question = "Is what opens the canary plus noise of the size that the charter states, and nothing else?";
        let failed = |found: String| Check { name: "noised", question, passed: false, found, control: None };
        let Some(share) = share else {
            return failed(
                "the charter's mode is `none`: NO NOISE is added, and nothing protects single rows".to_owned(),
            );
        };
        let Some(values) = values else { return failed("nothing was opened".to_owned()) };
        let residual: Vec<i64> =
            values.iter().zip(&self.made.clipped).map(|(opened, clipped)| opened.saturating_sub(*clipped)).collect();
        let mut added = vec![0_i64; residual.len()];
        for lot in &self.made.noise {
            added.iter_mut().zip(lot).for_each(|(sum, one)| *sum = sum.saturating_add(*one));
        }
        if added != residual || values.len() != self.made.clipped.len() {
            return failed("what opens is not the canary plus the noise that was drawn for it".to_owned());
        }
        // Each local step has a lot of its own; of one step, the lot is the residual.
        let tested: Result<Vec<_>, _> = self.made.noise.iter().map(|lot| share.self_test(lot)).collect();
        match tested {
            Err(fault) => failed(fault.to_string()),
            Ok(tests) => {
                let largest = tests.iter().map(|test| test.distance.0).fold(0.0, f64::max);
                let allowed = tests.iter().map(|test| test.distance.1).fold(0.0, f64::max);
                let deviation: f64 =
                    (tests.iter().map(|test| test.found.powi(2)).sum::<f64>() / tests.len().max(1) as f64).sqrt();
                let signal: f64 = self.made.clipped.iter().map(|one| (*one as f64).powi(2)).sum();
                let both = values.iter().zip(&self.made.clipped).map(|(one, other)| *one as f64 * *other as f64);
                Check {
                    name: "noised",
                    question,
                    passed: !tests.is_empty(),
                    found: format!(
                        "less the canary, {} values have deviation {deviation:.2}; stated: {:.2}; their distribution is off by {largest:.4}, of {allowed:.4} that chance allows",
                        residual.len(),
                        share.deviation()
                    ),
                    control: Some(format!(
                        "the canary stands in it {:.3} times, +- {:.3} by the noise",
                        both.sum::<f64>() / signal,
                        share.deviation() * (self.made.noise.len() as f64).sqrt() / signal.sqrt()
                    )),
                }
            }
        }
    }
}

impl Rehearsal {
    /// The seed of the round's common mask.
    pub(super) fn seed(&self) -> MaskSeed {
        MaskSeed(self.announcement.mask_seed())
    }
}

fn norm<'a>(values: impl Iterator<Item = &'a i64>) -> f64 {
    values.map(|value| (*value as f64).powi(2)).sum::<f64>().sqrt()
}

/// Sets of `size` members: all of them where there are at most `most`, else so many, the first and the last among them.
fn sets_of(members: &[u8], size: usize, most: usize) -> Vec<Vec<u8>> {
    if size == 0 || size > members.len() {
        return Vec::new();
    }
    let mut sets = Vec::new();
    let mut places: Vec<usize> = (0..size).collect();
    loop {
        sets.push(places.iter().filter_map(|place| members.get(*place).copied()).collect());
        // The next one in order: the last place that can move does, and those after it follow.
        let movable = (0..size).rev().find(|at| places[*at] < members.len() - size + at);
        let Some(at) = movable else { return sets };
        if sets.len() + 1 == most {
            sets.push(members[members.len() - size..].to_vec());
            return sets;
        }
        places[at] += 1;
        for next in at + 1..size {
            places[next] = places[next - 1] + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_all_there_are_or_as_many_as_asked_with_the_last_one() {
        assert_eq!(sets_of(&[1, 2, 3], 2, 50), [[1, 2], [1, 3], [2, 3]]);
        assert_eq!(sets_of(&[1, 2, 3], 3, 50), [[1, 2, 3]]);
        assert!(sets_of(&[1, 2], 3, 50).is_empty() && sets_of(&[1, 2], 0, 50).is_empty());
        let many = sets_of(&(1..=30).collect::<Vec<_>>(), 5, 50);
        assert_eq!(many.len(), 50);
        assert_eq!(many.last(), Some(&vec![26, 27, 28, 29, 30]));
        assert!(many.iter().enumerate().all(|(at, set)| !many[..at].contains(set)));
    }
}
