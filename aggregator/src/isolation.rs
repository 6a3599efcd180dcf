//! Who is left out of attempts, from the stored record and the operator's word.

use protocol::server::{Isolation, Past};
use protocol::{HouseName, Message as _, RecordLeaf, Roster};

use crate::store::{Setting, Store, StoreError, Write};

/// Who is suspected, accused and isolated now; nobody before the roster is frozen.
///
/// # Errors
/// [`StoreError`].
pub async fn read(store: &Store) -> Result<Isolation, StoreError> {
    let Some(roster) = store.setting(Setting::Roster).await? else { return Ok(Isolation::default()) };
    let roster = Roster::from_bytes(&roster).map_err(|_| StoreError::Damaged { what: "the roster" })?;
    fold(&roster, &store.leaves().await?, &store.readmissions().await?)
}

/// The same, from what is at hand: the bodies of the record's leaves, and the readmissions.
pub(crate) fn fold(
    roster: &Roster,
    leaves: &[Vec<u8>],
    readmissions: &[(HouseName, u64)],
) -> Result<Isolation, StoreError> {
    let leaves: Result<Vec<_>, _> = leaves.iter().map(|body| RecordLeaf::from_bytes(body)).collect();
    let leaves = leaves.map_err(|_| StoreError::Damaged { what: "a leaf of the record" })?;
    Ok(Isolation::fold(roster, &past(&leaves, readmissions)))
}

/// Lets a house take part again; `false` when it is not isolated.
///
/// # Errors
/// [`StoreError`].
pub async fn readmit(store: &Store, house: &HouseName) -> Result<bool, StoreError> {
    if !read(store).await?.readmit(house) {
        return Ok(false);
    }
    let leaves = store.leaves().await?.len() as u64;
    store.commit(&[Write::Readmission { member: house.clone(), leaves }]).await?;
    Ok(true)
}

/// The ends of attempts and the readmissions, in their order; a readmission comes after the leaves that were there.
fn past(leaves: &[RecordLeaf], readmissions: &[(HouseName, u64)]) -> Vec<Past> {
    let mut past = Vec::with_capacity(leaves.len() + readmissions.len());
    let mut readmissions = readmissions.iter().peekable();
    for position in 0..=leaves.len() {
        while let Some((house, _)) = readmissions.next_if(|(_, leaves)| *leaves <= position as u64) {
            past.push(Past::Readmitted(house.clone()));
        }
        past.extend(leaves.get(position).map(Past::from));
    }
    past
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use protocol::{Attempt, Conclusion, Digest, RoundNumber, Verdict};

    use super::*;

    #[test]
    fn a_readmission_comes_after_the_leaves_that_were_there() {
        let leaf = |attempt: u32| RecordLeaf {
            round: RoundNumber::FIRST,
            attempt: Attempt::new(attempt).unwrap(),
            announcement: Digest::sha256(b"announcement"),
            cohort: None,
            houses: Vec::new(),
            conclusion: Conclusion::Settled(Verdict::Applied { state: Digest::sha256(&[attempt as u8]), last: false }),
            signers: Vec::new(),
        };
        let name = |name: &str| HouseName::new(name).unwrap();
        let leaves = [leaf(1), leaf(2)];
        let order = past(&leaves, &[(name("a"), 0), (name("b"), 1), (name("c"), 2), (name("d"), 2)]);
        let [one, two] = [Past::from(&leaves[0]), Past::from(&leaves[1])];
        let back = |house: &str| Past::Readmitted(name(house));
        assert_eq!(order, [back("a"), one, back("b"), two, back("c"), back("d")]);
    }
}
