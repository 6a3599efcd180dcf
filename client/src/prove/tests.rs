//! Each check fails where it must: contributions, and what came of them, are spoilt on purpose.
#![expect(clippy::unwrap_used, reason = "tests")]

use privacy::NoiseShare;
use protocol::Charter;
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
    Config::parse(crate::config::SAMPLE, Path::new("client.toml")).unwrap()
}

/// A canary of `charter`, dealt by a committee as `dealt` says.
struct Shown {
    rehearsal: Rehearsal,
    arrived: Arrived,
    made: Made,
    second: Vec<u8>,
    share: Option<NoiseShare>,
    signed: protocol::Signed<protocol::Contribution>,
}

impl Shown {
    async fn of(charter: &Charter, dealt: Option<Committee>) -> Self {
        let name = charter.houses[0].name.clone();
        let rehearsal = Rehearsal::new(charter, &name).unwrap();
        let house = charter.house(&name).unwrap();
        let (trainer, made) = CanaryTrainer::new(charter, house.sampling_rate, house.nominal_batch).unwrap();
        let job = job(&rehearsal, trainer, dealt.unwrap_or(rehearsal.committee));
        let contribution = job.make().unwrap();
        let made = std::mem::take(&mut *made.lock().unwrap());
        let second = job.encrypt(&made.values).unwrap().body;
        let (signed, state) = (contribution.signed.clone(), rehearsal.state_dir());
        let whole = Whole {
            signed: contribution.signed,
            sealed: contribution.sealed,
            body: contribution.body.into(),
            chunk: rehearsal.layout.chunk_bytes(),
        };
        let arrived = far_end::receive(&rehearsal, |client| send(client, whole, state)).await.unwrap();
        let share = Part::announced(charter, &name, &rehearsal.announcement).noise_share().unwrap();
        Self { rehearsal, arrived, made, second, share, signed }
    }

    /// Names of the checks that do not pass.
    fn failed(&self) -> Vec<&'static str> {
        let opened = Opened::read(&self.rehearsal, &self.arrived, &self.made).unwrap();
        let checks = opened.checks(&self.second, self.share.as_ref());
        assert_eq!(checks.len(), 7);
        checks.iter().filter(|check| !check.passed).map(|check| check.name).collect()
    }
}

#[tokio::test]
async fn an_honest_canary_passes_and_each_thing_that_is_spoilt_is_named() {
    let mut shown = Shown::of(&charter(&|text| text), None).await;
    assert_eq!(shown.failed(), [""; 0]);

    // A program that writes its update somewhere beside the ciphertext: a run of 32 values, in either place.
    for (at, encoded) in search::encodings(&shown.made.values).iter().enumerate() {
        let leaked = &encoded.bytes[encoded.bytes.len() / 2..][..1024];
        let bytes = if at % 2 == 0 { &mut shown.arrived.read } else { &mut shown.arrived.wire };
        let length = bytes.len();
        bytes.extend_from_slice(leaked);
        assert_eq!(shown.failed(), ["not-plaintext"], "{}", encoded.name);
        let bytes = if at % 2 == 0 { &mut shown.arrived.read } else { &mut shown.arrived.wire };
        bytes.truncate(length);
    }

    // Encryption that gives the same bytes again.
    let second = std::mem::replace(&mut shown.second, shown.arrived.body.clone());
    assert_eq!(shown.failed(), ["fresh"]);
    shown.second = second;

    // Noise that is missing, smaller than stated, or more than was drawn; an update that is not cut down.
    let noise = std::mem::take(&mut shown.made.noise);
    assert_eq!(shown.failed(), ["noised"]);
    shown.made.noise = noise;
    let share = shown.share.replace(NoiseShare::local(1.5 * shown.share.as_ref().unwrap().deviation(), 1).unwrap());
    assert_eq!(shown.failed(), ["noised"]);
    shown.share = share;
    shown.made.clipped[7] += 1;
    assert_eq!(shown.failed(), ["noised"]);
    shown.made.clipped[7] -= 1;
    let rows = std::mem::replace(&mut shown.made.rows, 1);
    assert_eq!(shown.failed(), ["clipped"]);
    shown.made.rows = rows;
    let share = shown.share.take();
    assert_eq!(shown.failed(), ["noised"], "no noise at all");
    shown.share = share;
    shown.made.values[3] += 1;
    assert_eq!(shown.failed(), ["opens"]);
    shown.made.values[3] -= 1;
    assert_eq!(shown.failed(), [""; 0]);
}

/// The shares are of a polynomial of a lower degree than the charter's threshold asks for: everything else is in order.
#[tokio::test]
async fn a_key_that_fewer_members_can_open_is_found() {
    let shown = Shown::of(&charter(&|text| text), Some(Committee::new(4, 3).unwrap())).await;
    assert_eq!(shown.failed(), ["not-decryptable"]);
}

#[tokio::test]
async fn every_mode_passes_and_mode_none_is_said_to_protect_nobody() {
    let local = "\n[local]\nsteps = 3\nlearning_rate = 0.1\nbatch = 8\n";
    let shown = Shown::of(&charter(&|text| text.replace("\"record-shared\"", "\"record-local\"") + local), None).await;
    assert_eq!((shown.failed(), shown.made.noise.len()), (vec![], 3));
    let client = |text: String| {
        text.replace("\"record-shared\"", "\"client\"")
            .replace("sampling_rate = 0.02", "sampling_rate = 1.0")
            .replace("integer_norm = 4096", "integer_norm = 1048576")
            .replace("clamp = 32768", "clamp = 4194304")
            + local
    };
    let shown = Shown::of(&charter(&client), None).await;
    assert_eq!((shown.failed(), shown.made.values.len().is_power_of_two()), (vec![], true));
    let none = |text: String| {
        text.replace("\"record-shared\"", "\"none\"")
            .replace("epsilon = 3.0", "epsilon = 0.0")
            .replace("delta = 1e-5", "delta = 0.0")
            .replace("noise_multiplier = 0.81", "noise_multiplier = 0.0")
    };
    let shown = Shown::of(&charter(&none), None).await;
    assert_eq!(shown.failed(), ["noised"]);
}

#[tokio::test]
async fn every_attempt_to_weaken_a_round_is_refused_and_the_honest_round_is_not() {
    let shown = Shown::of(&charter(&|text| text), None).await;
    let rules = policy(&config());
    weaken::hear(&shown.rehearsal, &rules).unwrap();
    let refused = weaken::all(&shown.rehearsal, &rules, &shown.signed).unwrap();
    assert!(refused.len() >= 18, "{}", refused.len());
    assert!(refused.iter().all(|one| one.refused), "{refused:#?}");
    // Each is refused for a reason of its own, but for two or three that break one rule in two ways.
    let answers: std::collections::BTreeSet<&str> = refused.iter().map(|one| one.answer.as_str()).collect();
    assert!(answers.len() + 2 >= refused.len(), "{refused:#?}");
}
