//! A round by hand, from its announcement to its end.

use adapter::State;
use futures::TryStreamExt as _;
use protocol::{Announcement, Charter, CohortList, Digest, Message as _, Signed, Verdict};
use protos::v1;
use protos::v1::event::Kind;
use secure_sum::Layout;
use terms::unit;

use super::{Member, opened};

/// All contribute what `given` gives for a house and so many coordinates, check, answer, open the sum by no code of the aggregator, apply it to `state`
/// and sign that. Gives the opened sum, which is the sum of what went in.
pub async fn play(
    charter: &Charter,
    members: &mut [Member],
    announced: &Signed<Announcement>,
    state: &mut State,
    given: impl Fn(usize, usize) -> Vec<i64>,
) -> Vec<i64> {
    let (digest, announcement) = (announced.body_digest(), announced.unverified().unwrap());
    let count = Layout::from_bytes(&announcement.layout).unwrap().values().count;
    for (house, member) in members.iter_mut().enumerate() {
        member.submit(member.contribution(announced, &given(house, count))).await.unwrap();
    }
    let list = members[0].cohort(digest).await;
    assert_eq!(list.contributions.len(), members.len());
    for member in &mut *members {
        member.attest(announced).await;
    }
    members[0].checked(digest).await;
    for member in &mut *members {
        let answer = member.answer(announced).await;
        member.put_answer(&answer).await.unwrap();
    }
    let sum = open(&mut members[0], announced, &list).await;
    let put: Vec<i64> = (0..count).map(|i| (0..members.len()).map(|house| given(house, count)[i]).sum()).collect();
    assert!(sum == put, "the opened sum is not that of the integers that went in");
    apply(charter, state, &sum, members.len());
    let verdict = Verdict::Applied { state: Digest::from_bytes(state.digest()), last: false };
    for member in &mut *members {
        member.put_outcome(digest, list.digest(), verdict).await.unwrap();
    }
    members[0].settled(announcement.round.get()).await;
    sum
}

/// The sum that the aggregator shows once it can be opened, opened here.
pub async fn open(member: &mut Member, announced: &Signed<Announcement>, list: &CohortList) -> Vec<i64> {
    let digest = announced.body_digest();
    let this = digest.as_bytes().to_vec();
    member
        .event(|event| match &event.kind {
            Some(Kind::Opened(opened)) => (opened.announcement == this).then_some(()),
            _ => None,
        })
        .await;
    let request = v1::GetSumRequest { announcement: this.clone().into() };
    let sum: Vec<v1::SumChunk> =
        member.client.get_sum(request).await.unwrap().into_inner().try_collect().await.unwrap();
    let sum: Vec<u8> = sum.into_iter().flat_map(|chunk| chunk.data).collect();
    let request = v1::GetAnswersRequest { announcement: this.into() };
    let answers = member.client.get_answers(request).await.unwrap().into_inner().answers;
    let answers: Vec<_> =
        answers.into_iter().map(|answer| protos::convert::signed("answers", Some(answer)).unwrap()).collect();
    opened::open(&announced.unverified().unwrap(), list, &sum, &answers)
}

/// What a sum over so many houses, with a nominal batch of 4 each, does to a state.
pub fn apply(charter: &Charter, state: &mut State, sum: &[i64], houses: usize) {
    let update = &sum[..state.update_len()];
    state.apply(update, unit(charter), 4.0 * houses as f64).unwrap();
}
