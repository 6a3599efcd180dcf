//! Opening: t true answers give the sum of the keys, the sum of the ciphertexts decodes, and the state takes a step.

use std::sync::Arc;
use std::time::Instant;

use adapter::State;
use protocol::client::Event;
use protocol::message::{ANSWER_INFO, answer_aad};
use protocol::{
    Announcement, Answer, AnswerPayload, Checked, CohortList, Digest, HouseName, MemberIndex, Message as _, Signed,
    Verdict, VoidReason, check,
};
use protos::convert;
use protos::limits::COHORT_BYTES;
use protos::v1;
use protos::v1::federation_client::FederationClient;
use secure_sum::{Accumulator, CombineError, Commitments, Committee, Layout, MaskSeed, OpenError, ShareSum};
use terms::{CurvePoint, RoundSum};

use super::answer::commitments;
use super::member::Member;
use super::{RunError, is_refusal, lost};
use crate::identity::Identity;
use crate::progress::Phase;
use crate::store::Slot;
use crate::version::Speaking;

/// Beside the values, an accumulator's bytes hold a few numbers.
const SUM_OVERHEAD: usize = 1024;

/// What opening a round needs, for another thread.
struct Opening {
    identity: Arc<Identity>,
    committee: Committee,
    announcement: Arc<Announcement>,
    list: Arc<CohortList>,
    answers: Vec<Signed<Answer>>,
    sum: Arc<Accumulator>,
    state: State,
}

/// What came of it.
enum Opened {
    /// The state, and what the sum says of held-out units in a round with an evaluation.
    Applied(Box<State>, Option<CurvePoint>),
    Void(VoidReason),
    FalseAnswer(MemberIndex),
}

impl Member {
    /// Combines the answers, opens the sum and applies it to a copy of the state; the verdict goes to the protocol.
    pub(super) async fn combine(
        &mut self,
        announcement: Arc<Announcement>,
        list: Arc<CohortList>,
        checked: &Checked,
        answers: Vec<Signed<Answer>>,
    ) -> Result<(), RunError> {
        let opened = self.check_and_open(announcement, list, checked, answers).await?;
        let Some(opened) = opened else { return Ok(()) };
        let verdict = match opened {
            Opened::FalseAnswer(index) => {
                let member = self.me.federation().roster().seated(index).map(|member| member.name().to_string());
                let place = self.view.as_ref().map(|view| (view.announcement.round, view.announcement.attempt));
                if let (Some((round, attempt)), Some(member)) = (place, member) {
                    let reason = format!("`{member}` answered with a false sum of shares");
                    self.report(round, attempt, Phase::Accused, Some(reason));
                }
                return self.offer(Event::FalseAnswer(index));
            }
            Opened::Void(reason) => Verdict::Void { reason },
            Opened::Applied(state, metrics) => self.keep_candidate(*state, metrics)?,
        };
        self.offer(Event::Combined(verdict))
    }

    /// The cohort list that t houses signed, checked, and against this house's ledger too.
    pub(super) async fn settled_cohort(
        &mut self,
        announcement: &Announcement,
        cohort: Digest,
    ) -> Result<Option<CohortList>, RunError> {
        let Some(list) = self.fetch_cohort(announcement.digest()).await? else { return Ok(None) };
        let found = list.digest();
        if found != cohort {
            tracing::error!(%found, %cohort, "the aggregator shows another cohort list than t houses signed");
            return Ok(None);
        }
        check::cohort_list(self.me.federation(), announcement, announcement.digest(), &list)?;
        self.check_ledger(&list)?;
        Ok(Some(list))
    }

    /// Computes the state of a round that this house missed. `true` when it is the one that was signed.
    pub(super) async fn catch_up(
        &mut self,
        announcement: Arc<Announcement>,
        cohort: Digest,
        signed: Digest,
    ) -> Result<bool, RunError> {
        let Some(list) = self.settled_cohort(&announcement, cohort).await? else { return Ok(false) };
        let federation = Arc::clone(self.me.federation());
        let Some((claim, _)) = self.fetch_checked(announcement.digest()).await? else { return Ok(false) };
        let claim = check::claim(&federation, announcement.digest(), cohort, &claim)?;
        let mut answers = self.fetch_answers(announcement.digest()).await?;
        answers.retain(|answer| {
            let checked = check::answer(&federation, &claim, answer);
            checked.map_err(|rejection| tracing::warn!("{rejection}")).is_ok()
        });
        let list = Arc::new(list);
        // t houses signed what this sum came to, and checked it before.
        let sum = self.fetch_sum(&announcement, claim.body_sum).await?;
        let Some(bytes) = sum else { return Ok(false) };
        let sum = self.read_sum(&announcement, bytes).await?.map_err(RunError::Malformed)?;
        loop {
            let sum = Arc::clone(&sum);
            let opened = self.open(Arc::clone(&announcement), Arc::clone(&list), answers.clone(), sum).await?;
            let own = match opened {
                Opened::FalseAnswer(index) => {
                    answers.retain(|answer| answer.unverified().is_ok_and(|answer| answer.index != index));
                    continue;
                }
                Opened::Applied(state, metrics) if state.digest() == *signed.as_bytes() => {
                    self.keep_candidate(*state, metrics)?;
                    return Ok(true);
                }
                Opened::Applied(state, _) => Digest::from_bytes(state.digest()).to_string(),
                Opened::Void(reason) => reason.to_string(),
            };
            let round = announcement.round.get();
            return Err(RunError::Diverged { round, own, signed: signed.to_string() });
        }
    }

    /// The signed list that fixed an attempt's cohort, as the aggregator shows it.
    pub(super) async fn fetch_cohort(&mut self, announcement: Digest) -> Result<Option<CohortList>, RunError> {
        fetch_cohort(&mut self.client, announcement).await
    }

    /// The answers of an attempt's committee, unchecked.
    pub(super) async fn fetch_answers(&mut self, announcement: Digest) -> Result<Vec<Signed<Answer>>, RunError> {
        let request = v1::GetAnswersRequest { announcement: announcement.as_bytes().to_vec().into() };
        let answers = match self.client.get_answers(request).await {
            Ok(response) => response.into_inner().answers,
            Err(status) if is_refusal(&status) => {
                tracing::warn!("no answers: {}", status.message());
                return Ok(Vec::new());
            }
            Err(status) => return Err(lost(&status)),
        };
        let signed = answers.into_iter().map(|answer| convert::signed("answers", Some(answer)));
        signed.collect::<Result<_, _>>().map_err(|e| RunError::Malformed(e.to_string()))
    }

    /// Opens a sum that holds exactly the cohort's bodies; finds any other void.
    async fn check_and_open(
        &mut self,
        announcement: Arc<Announcement>,
        list: Arc<CohortList>,
        checked: &Checked,
        answers: Vec<Signed<Answer>>,
    ) -> Result<Option<Opened>, RunError> {
        let (round, attempt) = (announcement.round, announcement.attempt);
        let sum = self.fetch_sum(&announcement, checked.body_sum()).await?;
        let Some(bytes) = sum else { return Ok(None) };
        let holds = match self.read_sum(&announcement, bytes).await? {
            Ok(sum) => self.sum_holds(&announcement, &list, checked, &sum).await?.map(|holds| holds.then_some(sum)),
            Err(error) => {
                tracing::error!("the claimed sum: {error}");
                Some(None)
            }
        };
        match holds {
            None => Ok(None),
            Some(None) => {
                let reason = "the aggregator claims a sum that is not the sum of the cohort's contributions".to_owned();
                self.report(round, attempt, Phase::Accused, Some(reason));
                Ok(Some(Opened::Void(VoidReason::WrongSum)))
            }
            Some(Some(sum)) => self.open(announcement, list, answers, sum).await.map(Some),
        }
    }

    async fn open(
        &mut self,
        announcement: Arc<Announcement>,
        list: Arc<CohortList>,
        answers: Vec<Signed<Answer>>,
        sum: Arc<Accumulator>,
    ) -> Result<Opened, RunError> {
        let opening = Opening {
            identity: Arc::clone(&self.identity),
            committee: self.committee,
            announcement,
            list,
            answers,
            sum,
            state: self.state.clone(),
        };
        let start = Instant::now();
        let opened = tokio::task::spawn_blocking(move || opening.run()).await.map_err(|_| RunError::Task)?;
        if let Some(view) = &mut self.view {
            view.seconds.open += start.elapsed().as_secs_f64();
        }
        opened.map_err(RunError::Malformed)
    }

    /// The claimed sum. Another one is nothing to sign a verdict about: the other houses may be served the right one.
    async fn fetch_sum(&mut self, announcement: &Announcement, claimed: Digest) -> Result<Option<Vec<u8>>, RunError> {
        let start = Instant::now();
        let layout = Layout::from_bytes(&announcement.layout).map_err(|e| RunError::Malformed(e.to_string()))?;
        // Summed residues take at most a whole word each, where a contribution packs them.
        let limit = 2 * layout.contribution_bytes() + SUM_OVERHEAD;
        let request = v1::GetSumRequest { announcement: announcement.digest().as_bytes().to_vec().into() };
        let mut stream = match self.client.get_sum(request).await {
            Ok(response) => response.into_inner(),
            Err(status) if is_refusal(&status) => {
                tracing::warn!("no sum: {}", status.message());
                return Ok(None);
            }
            Err(status) => return Err(lost(&status)),
        };
        let mut sum = Vec::new();
        while let Some(chunk) = stream.message().await.map_err(|status| lost(&status))? {
            if sum.len() + chunk.data.len() > limit {
                return Err(RunError::Malformed(format!("a sum of more than {limit} bytes")));
            }
            sum.extend_from_slice(&chunk.data);
        }
        if let Some(view) = &mut self.view {
            view.seconds.network += start.elapsed().as_secs_f64();
        }
        let (sum, found) = self
            .timed(move || {
                let found = Digest::sha256(&sum);
                (sum, found)
            })
            .await?;
        if found != claimed {
            let reason = format!("the aggregator serves a sum with digest {found}; it claimed {claimed}");
            self.report(announcement.round, announcement.attempt, Phase::Accused, Some(reason.clone()));
            return Err(RunError::Lost(reason));
        }
        Ok(Some(sum))
    }

    /// Reads a served sum, beside the event loop.
    async fn read_sum(
        &mut self,
        announcement: &Announcement,
        bytes: Vec<u8>,
    ) -> Result<Result<Arc<Accumulator>, String>, RunError> {
        let layout = Layout::from_bytes(&announcement.layout).map_err(|e| RunError::Malformed(e.to_string()))?;
        let start = Instant::now();
        let read = move || Accumulator::from_bytes(&layout, &bytes).map(Arc::new).map_err(|e| e.to_string());
        let read = tokio::task::spawn_blocking(read).await.map_err(|_| RunError::Task)?;
        if let Some(view) = &mut self.view {
            view.seconds.open += start.elapsed().as_secs_f64();
        }
        Ok(read)
    }

    /// Keeps the applied copy before anything is signed about it.
    fn keep_candidate(&mut self, state: State, metrics: Option<CurvePoint>) -> Result<Verdict, RunError> {
        if let Some(point) = metrics {
            self.store.put_metrics(point)?;
        }
        self.store.put_state(Slot::Candidate, &state.to_bytes())?;
        let verdict = terms::applied(self.charter(), &state);
        self.candidate = Some(state);
        Ok(verdict)
    }
}

impl Opening {
    fn run(mut self) -> Result<Opened, String> {
        let layout = Layout::from_bytes(&self.announcement.layout).map_err(|e| e.to_string())?;
        let mut summed = Commitments::zero(&layout, &self.committee);
        for contribution in &self.list.contributions {
            let manifest = contribution.unverified().map_err(|e| e.to_string())?;
            let dealing = commitments(&layout, &self.committee, &manifest)
                .map_err(|e| format!("the commitments of `{}`: {e}", manifest.member))?;
            summed.add(&dealing).map_err(|e| e.to_string())?;
        }
        let mut answers = Vec::with_capacity(self.answers.len());
        for signed in &self.answers {
            let answer = signed.unverified().map_err(|e| e.to_string())?;
            match self.share_sum(&layout, &answer) {
                Some(sum) => answers.push((answer.index.get(), sum)),
                None => return Ok(Opened::FalseAnswer(answer.index)),
            }
        }
        let cohort = self.list.contributions.len();
        let key = match secure_sum::combine(&layout, &self.committee, &summed, &answers, cohort) {
            Ok(key) => key,
            Err(CombineError::FalseAnswer { index }) => {
                return MemberIndex::new(index).map(Opened::FalseAnswer).map_err(|e| e.to_string());
            }
            Err(CombineError::KeyNotSmall { .. }) => return Ok(Opened::Void(VoidReason::KeySum)),
            Err(CombineError::TooFew { .. }) => return Ok(Opened::Void(VoidReason::FalseAnswers)),
            Err(error) => return Err(error.to_string()),
        };
        let seed = MaskSeed(self.announcement.mask_seed());
        let values = match secure_sum::open(&layout, &seed, &self.sum, &key, cohort) {
            Ok(values) => values,
            Err(OpenError::Residual { .. }) => return Ok(Opened::Void(VoidReason::Residual)),
            Err(OpenError::Range { .. } | OpenError::Overflow { .. }) => {
                return Ok(Opened::Void(VoidReason::FieldRange));
            }
            Err(error) => return Err(error.to_string()),
        };
        let charter = &self.identity.charter;
        let cohort: Vec<&HouseName> = self.list.houses().collect();
        let seed = self.announcement.digest();
        let round = RoundSum {
            round: self.announcement.round,
            seed: seed.as_bytes(),
            cohort: &cohort,
            values: &values,
            expected: self.announcement.expected.len(),
            may_vanish: self.announcement.may_vanish,
        };
        let metrics = round.metrics(charter, self.state.update_len());
        match round.apply(charter, &mut self.state) {
            Ok(()) => {
                if let Some(metrics) = &metrics {
                    tracing::info!("round {}: {metrics}", self.announcement.round);
                }
                if terms::is_over(charter, &self.state) {
                    let since = self.state.best_loss().since;
                    tracing::info!(
                        "round {}: no lower loss for {since} evaluated rounds, as long as the charter's patience: the run ends here",
                        self.announcement.round
                    );
                }
                let metrics = metrics.map(|metrics| CurvePoint::of(self.announcement.round, cohort.len(), &metrics));
                Ok(Opened::Applied(Box::new(self.state), metrics))
            }
            Err(error) => {
                tracing::warn!("the opened sum cannot be applied: {error}");
                Ok(Opened::Void(VoidReason::FieldRange))
            }
        }
    }

    /// The sum of shares in an answer; `None` when it cannot be read, which makes the answer a false one.
    fn share_sum(&self, layout: &Layout, answer: &Answer) -> Option<ShareSum> {
        match &answer.payload {
            AnswerPayload::Open(bytes) => ShareSum::from_bytes(layout, bytes).ok(),
            AnswerPayload::Sealed(sealed) => {
                let own = self.identity.name();
                let sealed = sealed.iter().find(|one| one.house == *own)?;
                let aad = answer_aad(&answer.announcement, &answer.cohort, answer.index, own);
                let bytes = secure_sum::unseal(&self.identity.mailbox, ANSWER_INFO, &aad, &sealed.sealed).ok()?;
                ShareSum::from_bytes(layout, &bytes).ok()
            }
        }
    }
}

/// The cohort list of an attempt, unchecked; `None` where the aggregator has none.
pub(crate) async fn fetch_cohort(
    client: &mut FederationClient<Speaking>,
    announcement: Digest,
) -> Result<Option<CohortList>, RunError> {
    let request = v1::GetCohortRequest { announcement: announcement.as_bytes().to_vec().into() };
    let mut stream = match client.get_cohort(request).await {
        Ok(response) => response.into_inner(),
        Err(status) if is_refusal(&status) => {
            tracing::warn!("no cohort list: {}", status.message());
            return Ok(None);
        }
        Err(status) => return Err(lost(&status)),
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.message().await.map_err(|status| lost(&status))? {
        if bytes.len() + chunk.data.len() > COHORT_BYTES {
            return Err(RunError::Malformed(format!("a cohort list of more than {COHORT_BYTES} bytes")));
        }
        bytes.extend_from_slice(&chunk.data);
    }
    CohortList::from_bytes(&bytes).map(Some).map_err(|e| RunError::Malformed(format!("cohort list: {e}")))
}
