//! Policy `aggregator`: checking the answers, opening the sum and applying it, from what is stored of an attempt.

use adapter::State;
use protocol::server::{Event, Input};
use protocol::{
    Announcement, Answer, AnswerPayload, Attempt, Charter, CohortList, Contribution, HouseName, MemberIndex,
    Message as _, RoundNumber, Verdict, VoidReason,
};
use secure_sum::{
    Accumulator, CombineError, Commitments, Committee, Layout, MaskSeed, OpenError, ShareSum, combine, open,
};

use terms::{CurvePoint, RoundSum};

use super::fold::blocking;
use crate::refusal::Refusal;
use crate::store::{Shelf, Store};

/// What came of opening an attempt's sum.
pub(super) struct Opened {
    /// Members whose answers do not fit the summed commitments.
    pub(super) false_answers: Vec<MemberIndex>,
    /// The verdict, when t true answers were there.
    pub(super) verdict: Option<Verdict>,
    /// What came of it, when the sum was applied.
    pub(super) applied: Option<Applied>,
}

/// An applied sum.
pub(super) struct Applied {
    /// The new state.
    pub(super) state: State,
    /// What the sum says of held-out units, in a round with an evaluation.
    pub(super) metrics: Option<CurvePoint>,
}

/// Everything an opening works on.
struct Material {
    announcement: Announcement,
    contributions: Vec<Contribution>,
    answers: Vec<Answer>,
    sum: bytes::Bytes,
    seed: MaskSeed,
}

/// Opens what is stored of an attempt and applies it to `state`.
pub(super) async fn open_attempt(
    store: &Store,
    charter: Charter,
    committee: Committee,
    (round, attempt): (RoundNumber, Attempt),
    state: State,
) -> Result<Opened, Refusal> {
    let material = read(store, round, attempt).await?;
    blocking(move || compute(&charter, &committee, &material, state)).await
}

async fn read(store: &Store, round: RoundNumber, attempt: Attempt) -> Result<Material, Refusal> {
    let damaged =
        |what: &str| Refusal::Failure(format!("round {round} attempt {attempt}: stored {what} cannot be read"));
    let (mut announcement, mut answers) = (None, Vec::new());
    for step in store.steps(round, attempt).await? {
        match Input::from_bytes(&step.body).map_err(|_| damaged("step"))?.event {
            Event::Announced(signed) => announcement = signed.unverified().ok(),
            Event::Answer(signed) => answers.push(signed.unverified().map_err(|_| damaged("answer"))?),
            Event::FalseAnswer(index) => answers.retain(|answer: &Answer| answer.index != index),
            _ => {}
        }
    }
    let announcement: Announcement = announcement.ok_or_else(|| damaged("announcement"))?;
    let stored = store.attempt(&announcement.digest()).await?.ok_or_else(|| damaged("attempt"))?;
    let cohort = store.cohort(&announcement.digest()).await?;
    let cohort = cohort.and_then(|body| CohortList::from_bytes(&body).ok()).ok_or_else(|| damaged("cohort"))?;
    let contributions: Result<_, _> = cohort.contributions.iter().map(protocol::Signed::unverified).collect();
    let sum = stored.sum.ok_or_else(|| damaged("sum"))?;
    Ok(Material {
        contributions: contributions.map_err(|_| damaged("contribution"))?,
        answers,
        sum: store.blobs().get(Shelf::Kept, &sum).await?,
        seed: MaskSeed(announcement.mask_seed()),
        announcement,
    })
}

fn compute(charter: &Charter, committee: &Committee, material: &Material, mut state: State) -> Result<Opened, Refusal> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Refusal::Failure(format!("{what}: {error}"));
    let layout = Layout::from_bytes(&material.announcement.layout).map_err(|error| failed("layout", &error))?;
    let mut commitments = Commitments::zero(&layout, committee);
    for contribution in &material.contributions {
        let one = Commitments::from_bytes(&layout, committee, &contribution.commitments)
            .map_err(|error| failed("commitments", &error))?;
        commitments.add(&one).map_err(|error| failed("commitments", &error))?;
    }
    let (mut answers, mut false_answers) = (Vec::new(), Vec::new());
    for answer in &material.answers {
        let share_sum = match &answer.payload {
            AnswerPayload::Open(bytes) => ShareSum::from_bytes(&layout, bytes).ok(),
            AnswerPayload::Sealed(_) => None,
        };
        let index = answer.index.get();
        match share_sum.filter(|share_sum| share_sum.check(&commitments, index).is_ok()) {
            Some(share_sum) => answers.push((index, share_sum)),
            None => false_answers.push(answer.index),
        }
    }
    let mut opened = Opened { false_answers, verdict: None, applied: None };
    let cohort = material.contributions.len();
    let void = |reason| Some(Verdict::Void { reason });
    let key = match combine(&layout, committee, &commitments, &answers, cohort) {
        Ok(key) => key,
        Err(CombineError::TooFew { .. }) => return Ok(opened),
        Err(CombineError::KeyNotSmall { .. }) => {
            opened.verdict = void(VoidReason::KeySum);
            return Ok(opened);
        }
        Err(error) => return Err(failed("answers", &error)),
    };
    let sum = Accumulator::from_bytes(&layout, &material.sum).map_err(|error| failed("sum", &error))?;
    let values = match open(&layout, &material.seed, &sum, &key, cohort) {
        Ok(values) => values,
        Err(OpenError::Residual { .. }) => {
            opened.verdict = void(VoidReason::Residual);
            return Ok(opened);
        }
        Err(OpenError::Range { .. } | OpenError::Overflow { .. }) => {
            opened.verdict = void(VoidReason::FieldRange);
            return Ok(opened);
        }
        Err(error) => return Err(failed("sum", &error)),
    };
    let houses: Vec<&HouseName> = material.contributions.iter().map(|one| &one.member).collect();
    let seed = material.announcement.digest();
    let round = RoundSum {
        round: material.announcement.round,
        seed: seed.as_bytes(),
        cohort: &houses,
        values: &values,
        expected: material.announcement.expected.len(),
        may_vanish: material.announcement.may_vanish,
    };
    let metrics = round.metrics(charter, state.update_len());
    if round.apply(charter, &mut state).is_err() {
        // The sum drives a weight out of the numbers: as malformed as one that is out of range.
        opened.verdict = void(VoidReason::FieldRange);
        return Ok(opened);
    }
    if let Some(metrics) = &metrics {
        tracing::info!("round {}: {metrics}", material.announcement.round);
    }
    let metrics = metrics.map(|metrics| CurvePoint::of(material.announcement.round, cohort, &metrics));
    opened.verdict = Some(terms::applied(charter, &state));
    opened.applied = Some(Applied { state, metrics });
    Ok(opened)
}
