//! Why no round can begin, whoever says ready.

use std::collections::BTreeSet;

use protocol::{Charter, Role};

/// What an operator must change before a round can begin; `None` where waiting may help. `out` are houses that may not take part, each with why, and `keys` the
/// unused one-time keys of each member.
pub(super) fn stall(charter: &Charter, out: &[(String, &'static str)], keys: &[(String, u64)]) -> Option<String> {
    let needed = charter.rounds.smallest_expected() as usize;
    let houses: BTreeSet<String> = charter.houses.iter().map(|house| house.name.to_string()).collect();
    let gone: Vec<_> = out.iter().filter(|(name, _)| houses.contains(name)).collect();
    let left = houses.len() - gone.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len();
    if left < needed {
        let gone = gone.iter().map(|(name, why)| format!("{name} is {why}")).collect::<Vec<_>>().join(", ");
        return Some(format!(
            "{left} houses may take part, and a round needs {needed} (min_cohort and may_vanish): {gone}"
        ));
    }
    let committee: BTreeSet<String> =
        charter.members().filter(|(_, role)| *role != Role::Contributor).map(|(name, _)| name.to_string()).collect();
    let revoked = |name: &String| out.iter().any(|(other, why)| other == name && *why == REVOKED);
    let without = keys.iter().find(|(name, stock)| *stock == 0 && committee.contains(name) && revoked(name));
    without.map(|(name, _)| {
        format!("every member of the committee gives a one-time key to each attempt, {name} is {REVOKED} and has none left: `invite` it again")
    })
}

/// Why a member is out whose certificates are all revoked.
pub(super) const REVOKED: &str = "revoked";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use protocol::charter::SAMPLE;

    use super::*;

    /// The sample has four houses, all in the committee, and needs all four.
    #[test]
    fn a_round_that_no_readiness_can_begin_is_told_from_one_that_waits() {
        let charter = Charter::parse(SAMPLE).unwrap();
        let names: Vec<String> = charter.houses.iter().map(|house| house.name.to_string()).collect();
        let keys = |first: u64| -> Vec<(String, u64)> {
            names.iter().enumerate().map(|(at, name)| (name.clone(), if at == 0 { first } else { 9 })).collect()
        };
        assert_eq!(stall(&charter, &[], &keys(9)), None);
        // It fills its stock up by itself.
        assert_eq!(stall(&charter, &[], &keys(0)), None);
        let said = stall(&charter, &[(names[0].clone(), "revoked"), (names[0].clone(), "isolated")], &keys(9)).unwrap();
        assert!(said.starts_with("3 houses may take part, and a round needs 4"), "{said}");
        assert!(said.contains(&format!("{} is revoked", names[0])), "{said}");

        let spare = Charter::parse(&SAMPLE.replace("may_vanish = 1", "may_vanish = 0")).unwrap();
        let revoked = [(names[0].clone(), "revoked")];
        assert_eq!(stall(&spare, &revoked, &keys(1)), None);
        let said = stall(&spare, &revoked, &keys(0)).unwrap();
        assert!(said.contains("one-time key") && said.contains(&names[0]), "{said}");
        let isolated = [(names[0].clone(), "isolated")];
        assert_eq!(stall(&spare, &isolated, &keys(0)), None, "an isolated member still brings keys");
    }
}
