//! What is looked at: the bytes that came, without any key; with too few shares; and with enough.

use privacy::NoiseShare;
use protocol::charter::PrivacyMode;
use secure_sum::MaskSeed;

use super::canary::{Made, TOO_LARGE};
use super::far_end::Arrived;
use super::frames;
use super::opened::{COHORT, Opened, sets_of};
use super::rehearsal::Rehearsal;
use super::report::{Check, Left};
use super::search::{self, Encoded, Pieces, compressed_share, encodings, equal_share, floats};
use crate::round::Encrypted;

/// Sets of members that are tried, of each size.
const MOST_SETS: usize = 50;
/// What DEFLATE must leave of a ciphertext at the least.
const LEAST_LEFT: f64 = 0.999;
/// Bytes of settings, headers and windows of HTTP/2 at the most.
const MOST_FRAMING: usize = 8 << 10;
/// Noise is tested in pieces of so many samples at most: the test's reference is the continuous distribution, from which the discrete one differs by
/// less than a test of so many can see.
const PIECE: usize = 1 << 20;
/// Deviations that a figure may be off by, where chance has a part in it.
const SIGMAS: f64 = 8.0;

/// A contribution that came, and all that is known of how it was made.
pub(super) struct Shown<'a> {
    pub(super) rehearsal: &'a Rehearsal,
    pub(super) arrived: &'a Arrived,
    /// The same values, encrypted once more.
    pub(super) again: &'a Encrypted,
    /// What was sent; the same round made once more; and one with the fewest houses.
    pub(super) made: &'a [Made; 3],
    /// The noise that this house owes in the round, and in the one with the fewest houses.
    pub(super) shares: Option<[NoiseShare; 2]>,
}

impl Shown<'_> {
    /// All checks. Where what came is no contribution, that is the one that fails.
    pub(super) fn checks(&self) -> (Vec<Check>, Vec<Left>) {
        let question = "Did one contribution of this house arrive, signed, whole, its key sealed to the members and to nobody else?";
        match Opened::read(self.rehearsal, self.arrived) {
            Err(error) => {
                let failed =
                    Check { name: "arrived", question, passed: false, found: error.to_string(), control: None };
                (vec![failed], Vec::new())
            }
            Ok(opened) => {
                let found = format!("{} chunks, {} sealed shares", opened.manifest.chunk_count, opened.members().len());
                let arrived = Check { name: "arrived", question, passed: true, found, control: None };
                let (enough, values) = self.opens(&opened);
                let checks = vec![
                    arrived,
                    self.nothing_else(),
                    self.not_plain(),
                    not_compressible(&opened.body, &self.made[0].values),
                    self.fresh(&opened),
                    self.too_few(&opened),
                    enough,
                    self.bound(&opened),
                    self.clipped(),
                    self.noised(values.as_deref()),
                    self.noised_anew(),
                ];
                (checks, self.left(&opened))
            }
        }
    }

    /// The parts of what came.
    fn left(&self, opened: &Opened<'_>) -> Vec<Left> {
        let (header, (wire, read)) = (opened.header, (self.arrived.wire.len(), self.arrived.read.len()));
        let signed = header.contribution.as_ref().map_or(0, |signed| signed.body.len());
        let sealed: usize = header.sealed_shares.iter().map(|share| share.len()).sum();
        let commitments = opened.manifest.commitments.len();
        let messages = opened.body.len() + sealed + signed;
        vec![
            Left { what: "the update, encrypted", bytes: opened.body.len() },
            Left { what: "shares of its key, one sealed to each member of the committee", bytes: sealed },
            Left {
                what: "commitments to these shares, which show that they are right and nothing else",
                bytes: commitments,
            },
            Left {
                what: "digests of all that, the round, this house's name, the digest of its ledger, signed",
                bytes: signed.saturating_sub(commitments),
            },
            Left { what: "framing and headers of gRPC", bytes: read.saturating_sub(messages) },
            Left { what: "framing and authentication of TLS", bytes: wire.saturating_sub(read) },
        ]
    }

    fn nothing_else(&self) -> Check {
        let came = &self.arrived.came;
        let messages = [frames::written(&came.finds), frames::written(&came.parts)];
        let (passed, found) = match frames::read(&self.arrived.read) {
            None => (false, "what came is no whole sequence of HTTP/2's frames".to_owned()),
            Some(frames) => {
                let exact = frames.data == messages;
                let said = if exact { "are" } else { "are NOT" };
                let bytes: usize = frames.data.iter().map(Vec::len).sum();
                let found = format!(
                    "{bytes} bytes of data {said} the two messages of the protocol, to the byte; {} bytes of headers and frames without data, of {MOST_FRAMING} at most",
                    frames.other
                );
                (exact && frames.other <= MOST_FRAMING, found)
            }
        };
        let question = "Is there anything beside the protocol's messages, for instance in headers or in fields that it does not know?";
        Check { name: "nothing-else", question, passed, found, control: None }
    }

    fn not_plain(&self) -> Check {
        let made = &self.made[0];
        let gradient = search::runs_of(&made.gradient);
        let unit = self.rehearsal.unit() as f32;
        let in_units: Vec<f32> = search::runs_of(&made.values).iter().map(|value| *value as f32 * unit).collect();
        let encoded: Vec<Encoded> = [&made.values, &made.clipped]
            .into_iter()
            .flat_map(|vector| encodings(&search::runs_of(vector)))
            .chain(floats(&gradient))
            .chain(floats(&in_units))
            .collect();
        let pieces = Pieces::of(&encoded);
        let (known, places) =
            (pieces.len(), pieces.places_in(&self.arrived.wire) + pieces.places_in(&self.arrived.read));
        let unseen = |encoded: &&Encoded| Pieces::of([*encoded]).places_in(&encoded.bytes) == 0;
        let blind: Vec<&str> = encoded.iter().filter(unseen).map(|encoded| encoded.name).collect();
        Check {
            name: "not-plaintext",
            question: "Is the update, before or after its noise, anywhere in what left, as numbers or as text?",
            passed: places == 0 && blind.is_empty(),
            found: format!(
                "{places} places in {} bytes, under TLS and out of it, hold any of {known} pieces of it",
                self.arrived.wire.len() + self.arrived.read.len()
            ),
            control: Some(if blind.is_empty() {
                format!("in the update without encryption it is found in each of {} encodings", encoded.len())
            } else {
                format!("it is NOT FOUND in the update itself, as {}", blind.join(", "))
            }),
        }
    }

    fn fresh(&self, opened: &Opened<'_>) -> Check {
        let Encrypted { sealed, body, signed } = self.again;
        let (share, most) = equal_share(&opened.body, body);
        let commitments = signed.unverified().map(|manifest| manifest.commitments).unwrap_or_default();
        let repeated = opened.header.sealed_shares.iter().zip(sealed).filter(|(one, other)| **one == **other).count();
        Check {
            name: "fresh",
            question: "Does the same update, encrypted once more, look like the first time?",
            passed: body.len() == opened.body.len()
                && (share - 1.0 / 256.0).abs() <= most
                && repeated == 0
                && commitments != opened.manifest.commitments,
            found: format!(
                "{:.3} % of the bytes are the same; two random texts have {:.3} % (+- {:.3}); {repeated} sealed shares are",
                100.0 * share,
                100.0 / 256.0,
                100.0 * most
            ),
            control: None,
        }
    }

    fn too_few(&self, opened: &Opened<'_>) -> Check {
        let (members, t) = (opened.members(), usize::from(self.rehearsal.committee.threshold()));
        let (few, enough) = (sets_of(&members, t - 1, MOST_SETS), sets_of(&members, t, MOST_SETS));
        let keys = |sets: &[Vec<u8>]| sets.iter().filter(|set| opened.force(set).is_some()).count();
        let (found, control) = (keys(&few), keys(&enough));
        let without = enough.first().and_then(|set| opened.opens_without_a_key(set));
        Check {
            name: "not-decryptable",
            question: "Can fewer members than the charter says, or nobody at all, decrypt it?",
            passed: found == 0 && without == Some(false) && !few.is_empty() && control == enough.len(),
            found: format!(
                "the shares of {} members give a key in {found} of {} sets of them; without any key it {}",
                t - 1,
                few.len(),
                if without == Some(false) { "does not open" } else { "OPENS" }
            ),
            control: Some(format!("the shares of {t} members give one in {control} of {} sets", enough.len())),
        }
    }

    /// What the first and the last set of t members open; and the values.
    fn opens(&self, opened: &Opened<'_>) -> (Check, Option<Vec<i64>>) {
        let t = usize::from(self.rehearsal.committee.threshold());
        let mut sets = sets_of(&opened.members(), t, MOST_SETS);
        let last = sets.pop();
        sets.truncate(1);
        let (set, coefficients) = (self.rehearsal.layout.set(), self.rehearsal.layout.chunk_count());
        let expected = COHORT as f64 * set.sigma().powi(2);
        // A square of a normal variable has deviation sqrt 2.
        let off = SIGMAS * (2.0 / (coefficients * set.ring_degree()) as f64).sqrt();
        let (mut right, mut tried, mut values, mut said) = (0, 0, None, String::new());
        for set in sets.iter().chain(&last) {
            tried += 1;
            let result = opened.key(set).and_then(|key| {
                let found = opened.open_with(&key, self.rehearsal.seed(), &opened.body);
                found.map_err(|error| super::ProveError::Contribution(error.to_string()))
            });
            match result {
                Ok((found, square)) => {
                    let good = found == self.made[0].values && (square / expected - 1.0).abs() <= off;
                    right += usize::from(good);
                    said = format!(
                        "; its errors have mean square {square:.1}, of {expected:.1} (+- {:.0} %)",
                        100.0 * off
                    );
                    values = Some(found);
                }
                Err(error) => said = format!("; {error}"),
            }
        }
        let check = Check {
            name: "opens",
            question: "Do enough members open exactly what was put in, and has the encryption its errors?",
            passed: right == tried && right > 0,
            found: format!(
                "{right} of {tried} quorums open all {} values, each exactly{said}",
                self.made[0].values.len()
            ),
            control: None,
        };
        (check, values)
    }

    fn bound(&self, opened: &Opened<'_>) -> Check {
        let (layout, t) = (&self.rehearsal.layout, usize::from(self.rehearsal.committee.threshold()));
        let key = sets_of(&opened.members(), t, 1).first().and_then(|set| opened.key(set).ok());
        let opens = |seed, body: &[u8]| key.as_ref().is_some_and(|key| opened.open_with(key, seed, body).is_ok());
        let own = || self.rehearsal.seed();
        let mut other = own().0;
        other[0] ^= 1;
        let mut exchanged = opened.body.clone();
        let bytes = layout.chunk_bytes();
        if let Some((first, rest)) = exchanged.split_at_mut_checked(bytes)
            && let Some(second) = rest.get_mut(..bytes)
        {
            first.swap_with_slice(second);
        }
        let elsewhere = opens(MaskSeed(other), &opened.body);
        let moved = layout.chunk_count() > 1 && opens(own(), &exchanged);
        Check {
            name: "bound",
            question: "Is it bound to this round and every part of it to its place, so that nothing cancels out?",
            passed: !elsewhere && !moved && opens(own(), &opened.body),
            found: format!(
                "with the right key it {} under another round's mask, and {} with two parts exchanged",
                if elsewhere { "OPENS" } else { "does not open" },
                match (layout.chunk_count(), moved) {
                    (1, _) => "(it has one part only) not",
                    (_, true) => "OPENS",
                    _ => "does not",
                }
            ),
            control: Some("in its own round and place it opens".to_owned()),
        }
    }

    fn clipped(&self) -> Check {
        let (charter, round) = (self.rehearsal.federation.charter(), self.rehearsal.announcement.round);
        let made = &self.made[0];
        let update = terms::RoundShape::of(charter, round, self.rehearsal.state.update_len()).update;
        let weight = made.clipped.iter().take(update).map(|value| (*value as f64).powi(2)).sum::<f64>().sqrt();
        let client = charter.privacy.mode == PrivacyMode::Client;
        let units = if client { 1 } else { made.rows };
        let most = units as f64 * terms::Norms::of(charter, round).update as f64;
        Check {
            name: "clipped",
            question: "Is an update that pushes a thousand times harder than allowed cut down before it leaves?",
            // Sums of 2^53 and more are rounded in 64-bit floats.
            passed: made.rows > 0 && weight > 0.0 && weight <= most * (1.0 + 1e-9),
            found: format!(
                "each number of {} gradients was {TOO_LARGE} clipping norms or more; together they weigh {:.4} of what {units} {} may",
                made.rows,
                weight / most,
                if client { "house" } else { "units" }
            ),
            control: None,
        }
    }

    fn noised(&self, values: Option<&[i64]>) -> Check {
        let question = "Is what opens the canary plus noise of the size that the charter states, and nothing else?";
        let failed = |found: String| Check { name: "noised", question, passed: false, found, control: None };
        let Some([share, _]) = &self.shares else {
            return failed(
                "the charter's mode is `none`: NO NOISE is added, and nothing protects single rows".to_owned(),
            );
        };
        let (Some(values), made) = (values, &self.made[0]) else { return failed("nothing was opened".to_owned()) };
        let mut added = vec![0_i64; values.len()];
        for lot in &made.noise {
            added.iter_mut().zip(lot).for_each(|(sum, one)| *sum = sum.saturating_add(*one));
        }
        let residual = values.iter().zip(&made.clipped).map(|(opened, clipped)| opened.saturating_sub(*clipped));
        if values.len() != made.clipped.len() || !residual.eq(added) {
            return failed("what opens is not the canary plus the noise that was drawn for it".to_owned());
        }
        let stated = self.rehearsal.stated(self.rehearsal.announcement.expected.len());
        let tested = tested(made, share, stated);
        let signal: f64 = made.clipped.iter().map(|one| (*one as f64).powi(2)).sum();
        let both: f64 = values.iter().zip(&made.clipped).map(|(one, other)| *one as f64 * *other as f64).sum();
        let (times, by) = (both / signal, share.deviation() * (made.noise.len() as f64).sqrt() / signal.sqrt());
        match tested {
            Err(fault) => failed(fault),
            Ok(deviation) => Check {
                name: "noised",
                question,
                passed: (times - 1.0).abs() <= SIGMAS * by,
                found: format!(
                    "less the canary, {} values have deviation {deviation:.2}; the charter says {stated:.2}; mean, neighbours and distribution are as chance allows",
                    values.len()
                ),
                control: Some(format!("the canary stands in it {times:.3} times, +- {by:.3} by the noise")),
            },
        }
    }

    fn noised_anew(&self) -> Check {
        let question = "Is the noise drawn anew each time, and larger where fewer houses share it?";
        let failed = |found: String| Check { name: "noise-anew", question, passed: false, found, control: None };
        let Some([_, share]) = &self.shares else { return failed("there is none".to_owned()) };
        let [first, again, fewest] = self.made;
        let (Some(one), Some(other)) = (first.noise.first(), again.noise.first()) else {
            return failed("there is none".to_owned());
        };
        let product: f64 = one.iter().zip(other).map(|(one, other)| *one as f64 * *other as f64).sum();
        let square = |lot: &[i64]| lot.iter().map(|value| (*value as f64).powi(2)).sum::<f64>();
        let (correlation, most) =
            (product / (square(one) * square(other)).sqrt(), SIGMAS / (one.len().max(1) as f64).sqrt());
        let least = self.rehearsal.with_fewest().expected.len();
        let stated = self.rehearsal.stated(least);
        match tested(fewest, share, stated) {
            Err(fault) => failed(format!("with {least} houses: {fault}")),
            Ok(deviation) => Check {
                name: "noise-anew",
                question,
                passed: one != other && correlation.abs() <= most,
                found: format!(
                    "two draws correlate by {correlation:.4}, of {most:.4} that chance allows; with the fewest houses that may be expected, {least}, the deviation is {deviation:.2}, stated {stated:.2}"
                ),
                control: None,
            },
        }
    }
}

fn not_compressible(body: &[u8], values: &[i64]) -> Check {
    let share = compressed_share(body);
    let plain = encodings(&search::runs_of(values));
    let plain = plain.iter().map(|encoded| compressed_share(&encoded.bytes)).fold(1.0, f64::min);
    Check {
        name: "not-compressible",
        question: "Has what left any structure that a compressor finds?",
        passed: share >= LEAST_LEFT && plain < 0.9,
        found: format!("DEFLATE leaves {:.2} % of it, as of random bytes", 100.0 * share),
        control: Some(format!("of the update without encryption it leaves {:.0} %", 100.0 * plain)),
    }
}

/// Whether every lot of the noise is as its share says, and that as the charter does, by a formula of its own. Gives its deviation.
fn tested(made: &Made, share: &NoiseShare, stated: f64) -> Result<f64, String> {
    // A share's deviation is rounded up to a fraction, never down.
    if !(stated * (1.0 - 1e-12)..=stated * 1.001).contains(&share.deviation()) {
        return Err(format!("the share's deviation is {}, the charter's {stated}", share.deviation()));
    }
    let (mut squares, mut pieces) = (0.0, 0);
    for lot in &made.noise {
        for piece in lot.chunks(lot.len().div_ceil(lot.len().div_ceil(PIECE).max(1)).max(1)) {
            let found = share.self_test(piece).map_err(|fault| fault.to_string())?;
            squares += found.found.powi(2);
            pieces += 1;
        }
    }
    if pieces == 0 { Err("none was drawn".to_owned()) } else { Ok((squares / f64::from(pieces)).sqrt()) }
}

impl Rehearsal {
    /// One grid unit in a gradient's unit.
    fn unit(&self) -> f64 {
        terms::unit(self.federation.charter())
    }

    /// The deviation of this house's noise where so many houses are expected, as the charter has it.
    fn stated(&self, expected: usize) -> f64 {
        let charter = self.federation.charter();
        charter.share_deviation(u32::try_from(expected).unwrap_or(u32::MAX), charter.rounds.may_vanish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of which some is always the same, as if a mask had run out.
    #[test]
    fn a_body_with_structure_in_a_hundredth_of_it_is_found() {
        let mut body = vec![0; 1 << 17];
        rand::Rng::fill_bytes(&mut rand::rng(), &mut body);
        let values: Vec<i64> = (0..4096).map(|i| i * 7919 % 2003).collect();
        assert!(not_compressible(&body, &values).passed);
        body[..1300].fill(7);
        assert!(!not_compressible(&body, &values).passed);
    }
}
