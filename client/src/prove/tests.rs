//! Each check fails where it must: contributions, and what came of them, are spoilt on purpose.
#![expect(clippy::unwrap_used, reason = "tests")]

use privacy::NoiseShare;
use protocol::Charter;
use protos::v1::submit_request::Part;
use secure_sum::Committee;

use super::canary::Made;
use super::far_end::Arrived;
use super::*;

/// Four houses of which all must open, so that shares of three are too few; a small grid and a vector long enough for statistics.
fn charter(change: &dyn Fn(String) -> String) -> Charter {
    let text =
        protocol::charter::SAMPLE.replace("threshold = 3", "threshold = 4").replace("may_vanish = 1", "may_vanish = 0");
    Charter::parse(&change(text)).unwrap()
}

fn config() -> Config {
    let agreed = crate::config::SAMPLE
        .replace("approve = \"\"", "approve = \"any\"")
        .replace("roster = \"\"", "roster = \"any\"");
    Config::parse(&agreed, Path::new("client.toml")).unwrap()
}

/// A canary of `charter`, as it arrived.
struct Rehearsed {
    rehearsal: Rehearsal,
    arrived: Arrived,
    again: Encrypted,
    made: [Made; 3],
    shares: Option<[NoiseShare; 2]>,
    signed: protocol::Signed<protocol::Contribution>,
}

impl Rehearsed {
    async fn of(charter: &Charter) -> Self {
        Self::by(charter, |trainer| trainer, |rehearsal| rehearsal.committee).await
    }

    /// With another trainer, or dealt to another committee.
    async fn by(
        charter: &Charter,
        other: impl FnOnce(CanaryTrainer) -> CanaryTrainer,
        dealt: impl FnOnce(&Rehearsal) -> Committee,
    ) -> Self {
        let name = charter.houses[0].name.clone();
        let rehearsal = Rehearsal::new(charter, &name).unwrap();
        let trainer = CanaryTrainer::new(charter, charter.house(&name).unwrap(), rehearsal.state.update_len()).unwrap();
        let committee = dealt(&rehearsal);
        let (contribution, again, made) = make(&rehearsal, other(trainer), committee).unwrap();
        let signed = contribution.signed.clone();
        let (whole, state) = whole(contribution, &rehearsal).unwrap();
        let arrived = far_end::receive(&rehearsal, |client| send(client, whole, state)).await.unwrap();
        let shares = shares(&rehearsal).unwrap();
        Self { rehearsal, arrived, again, made, shares, signed }
    }

    /// Names of the checks that do not pass.
    fn failed(&self) -> Vec<&'static str> {
        let Self { rehearsal, arrived, again, made, shares, .. } = self;
        let (checks, _) = Shown { rehearsal, arrived, again, made, shares: shares.clone() }.checks();
        assert!([1, 11].contains(&checks.len()));
        checks.iter().filter(|check| !check.passed).map(|check| check.name).collect()
    }
}

#[tokio::test]
async fn an_honest_canary_passes_and_each_thing_that_is_spoilt_is_named() {
    let mut shown = Rehearsed::of(&charter(&|text| text)).await;
    assert_eq!(shown.failed(), [""; 0]);

    // A program that writes its update somewhere beside the ciphertext, before or after its noise: a run of it, under TLS or out of it.
    let made = &shown.made[0];
    let encodings = [search::encodings(&made.values), search::encodings(&made.clipped), search::floats(&made.gradient)];
    for (at, encoded) in encodings.iter().flatten().enumerate() {
        let leaked = &encoded.bytes[encoded.bytes.len() / 2..][..1024];
        let bytes =
            |shown: &mut Rehearsed| if at % 2 == 0 { shown.arrived.wire.clone() } else { shown.arrived.read.clone() };
        let before = bytes(&mut shown);
        if at % 2 == 0 { &mut shown.arrived.wire } else { &mut shown.arrived.read }.extend_from_slice(leaked);
        assert!(shown.failed().contains(&"not-plaintext"), "{}", encoded.name);
        *if at % 2 == 0 { &mut shown.arrived.wire } else { &mut shown.arrived.read } = before;
    }

    // Something beside the messages: a frame of headers that is too large, and data that no message accounts for.
    for kind in [1, 0] {
        let before = shown.arrived.read.clone();
        shown.arrived.read.extend_from_slice(&[&[0, 0x40, 0, kind, 0, 0, 0, 0, 9][..], &[b'x'; 0x4000]].concat());
        assert_eq!(shown.failed(), ["nothing-else"]);
        shown.arrived.read = before;
    }
    // One sealed share more, for somebody else; a run that comes twice.
    let Some(Part::Header(header)) = &mut shown.arrived.came.parts[0].part else { panic!("no header") };
    header.sealed_shares.push(header.sealed_shares[0].clone());
    assert_eq!(shown.failed(), ["arrived"]);
    let Some(Part::Header(header)) = &mut shown.arrived.came.parts[0].part else { panic!("no header") };
    header.sealed_shares.pop();
    let run = shown.arrived.came.parts[1].clone();
    shown.arrived.came.parts.push(run);
    assert_eq!(shown.failed(), ["arrived"]);
    shown.arrived.came.parts.pop();

    // Encryption that gives the same bytes again.
    let body = opened::Opened::read(&shown.rehearsal, &shown.arrived).unwrap().body;
    let again = std::mem::replace(&mut shown.again.body, body);
    assert_eq!(shown.failed(), ["fresh"]);
    shown.again.body = again;

    // Noise that is missing, is not of the stated size, was drawn before, or of which the sum holds another.
    let noise = std::mem::take(&mut shown.made[0].noise);
    assert_eq!(shown.failed(), ["noised", "noise-anew"]);
    shown.made[0].noise = noise;
    let wider = |share: &NoiseShare| NoiseShare::local(1.01 * share.deviation(), 1).unwrap();
    let shares = shown.shares.clone();
    let [share, fewest] = shares.as_ref().unwrap();
    shown.shares = Some([wider(share), fewest.clone()]);
    assert_eq!(shown.failed(), ["noised"]);
    shown.shares = Some([share.clone(), wider(fewest)]);
    assert_eq!(shown.failed(), ["noise-anew"]);
    shown.shares = None;
    assert_eq!(shown.failed(), ["noised", "noise-anew"]);
    shown.shares = shares;
    let old = shown.made[0].noise.clone();
    let lot = std::mem::replace(&mut shown.made[1].noise, old);
    assert_eq!(shown.failed(), ["noise-anew"]);
    shown.made[1].noise = lot;
    shown.made[0].clipped[7] += 1;
    assert_eq!(shown.failed(), ["noised"]);
    shown.made[0].clipped[7] -= 1;
    shown.made[0].values[3] += 1;
    assert_eq!(shown.failed(), ["opens"]);
    shown.made[0].values[3] -= 1;
    assert_eq!(shown.failed(), [""; 0]);
}

/// The noise of the largest round in every round: too little where fewer houses share it.
#[tokio::test]
async fn a_share_that_does_not_follow_the_announcement_is_found() {
    let mut shown = Rehearsed::of(&charter(&|text| text)).await;
    shown.made[2].noise = shown.made[1].noise.clone();
    assert_eq!(shown.failed(), ["noise-anew"]);
}

/// The shares are of a polynomial of a lower degree than the charter's threshold asks for: everything else is in order.
#[tokio::test]
async fn a_key_that_fewer_members_can_open_is_found() {
    let shown = Rehearsed::by(&charter(&|text| text), |trainer| trainer, |_| Committee::new(4, 3).unwrap()).await;
    assert_eq!(shown.failed(), ["not-decryptable"]);
}

/// A real mechanism that cuts gradients down to a hundred times what the charter allows.
#[tokio::test]
async fn a_mechanism_that_does_not_clip_is_found() {
    let weak = charter(&|text| text.replace("integer_norm = 4096", "integer_norm = 409600"));
    let (mechanism, honest) = (training::mechanism(&weak).unwrap(), charter(&|text| text));
    let shown = Rehearsed::by(&honest, |trainer| trainer.with(mechanism), |rehearsal| rehearsal.committee).await;
    // Its every number is the clamp, which nobody could tell from other repeated bytes.
    assert_eq!(shown.failed(), ["not-plaintext", "clipped"]);
}

#[tokio::test]
async fn every_mode_passes_and_mode_none_is_said_to_protect_nobody() {
    let local = "\n[local]\nsteps = 3\nlearning_rate = 0.1\nbatch = 8\n";
    let shown = Rehearsed::of(&charter(&|text| text.replace("\"record-shared\"", "\"record-local\"") + local)).await;
    assert_eq!((shown.failed(), shown.made[0].noise.len()), (vec![], 3));
    let client = |text: String| {
        text.replace("\"record-shared\"", "\"client\"")
            .replace("sampling_rate = 0.02", "sampling_rate = 1.0")
            .replace("integer_norm = 4096", "integer_norm = 1048576")
            .replace("clamp = 32768", "clamp = 4194304")
            + local
    };
    let shown = Rehearsed::of(&charter(&client)).await;
    assert_eq!((shown.failed(), shown.made[0].values.len().is_power_of_two()), (vec![], true));
    let none = |text: String| {
        text.replace("\"record-shared\"", "\"none\"")
            .replace("epsilon = 3.0", "epsilon = 0.0")
            .replace("delta = 1e-5", "delta = 0.0")
            .replace("noise_multiplier = 0.81", "noise_multiplier = 0.0")
    };
    let shown = Rehearsed::of(&charter(&none)).await;
    assert_eq!(shown.failed(), ["noised", "noise-anew"]);
}

#[tokio::test]
async fn every_attempt_to_weaken_a_round_is_refused_and_the_honest_round_is_not() {
    let shown = Rehearsed::of(&charter(&|text| text)).await;
    let rules = policy(&config());
    weaken::hear(&shown.rehearsal, &rules).unwrap();
    let refused = weaken::all(&shown.rehearsal, &rules, &shown.signed).unwrap();
    assert!(refused.len() >= 18, "{}", refused.len());
    assert!(refused.iter().all(|one| one.refused), "{refused:#?}");
    // Each is refused for a reason of its own, but for two or three that break one rule in two ways.
    let answers: std::collections::BTreeSet<&str> = refused.iter().map(|one| one.answer.as_str()).collect();
    assert!(answers.len() + 2 >= refused.len(), "{refused:#?}");
}
