//! A sum opened as a house opens it, from what the aggregator has: by no code of the aggregator.

use protocol::{Announcement, Answer, AnswerPayload, CohortList, Signed};
use secure_sum::{Accumulator, Commitments, Committee, Layout, MaskSeed, ShareSum};

/// The summed integers of an attempt under release policy `aggregator`, three of whose members open.
pub(crate) fn open(announcement: &Announcement, list: &CohortList, sum: &[u8], answers: &[Signed<Answer>]) -> Vec<i64> {
    let layout = Layout::from_bytes(&announcement.layout).unwrap();
    let committee = Committee::new(u8::try_from(announcement.committee.len()).unwrap(), 3).unwrap();
    let mut commitments = Commitments::zero(&layout, &committee);
    for one in &list.contributions {
        let dealt = one.unverified().unwrap().commitments;
        commitments.add(&Commitments::from_bytes(&layout, &committee, &dealt).unwrap()).unwrap();
    }
    let answers = answers.iter().map(|answer| {
        let answer = answer.unverified().unwrap();
        let AnswerPayload::Open(shares) = answer.payload else { panic!("under `aggregator` it is open") };
        (answer.index.get(), ShareSum::from_bytes(&layout, &shares).unwrap())
    });
    let answers: Vec<_> = answers.collect();
    let cohort = list.contributions.len();
    let key = secure_sum::combine(&layout, &committee, &commitments, &answers, cohort).unwrap();
    let sum = Accumulator::from_bytes(&layout, sum).unwrap();
    secure_sum::open(&layout, &MaskSeed(announcement.mask_seed()), &sum, &key, cohort).unwrap()
}
