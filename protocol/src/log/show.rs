//! A record that holds, for people.

use std::fmt;

use super::audit::{Audited, AuditedAttempt};
use crate::message::Verdict;
use crate::record::Conclusion;

impl fmt::Display for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (charter, roster) = (self.federation.charter(), self.federation.roster());
        let houses = roster.houses().count();
        writeln!(f, "federation     {}", charter.name)?;
        writeln!(f, "charter        {}", charter.digest())?;
        writeln!(f, "roster         {}", self.federation.roster_digest())?;
        writeln!(f, "members        {houses} houses, {} trustees", roster.members().len() - houses)?;
        writeln!(f, "record         {} entries, root {}", self.head.size, self.head.root)?;
        let names: Vec<&str> = self.cosignatures.iter().map(|one| one.member.as_str()).collect();
        let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        writeln!(f, "countersigned  by {names}")?;
        writeln!(
            f,
            "\n{:>5} {:>5} {:>7} {:>8} {:>6} {:>6}  ended",
            "entry", "round", "attempt", "expected", "cohort", "signed"
        )?;
        for (position, attempt) in self.attempts.iter().enumerate() {
            writeln!(
                f,
                "{position:>5} {:>5} {:>7} {:>8} {:>6} {:>6}  {}",
                attempt.leaf.round,
                attempt.leaf.attempt,
                attempt.expected,
                attempt.leaf.houses.len(),
                attempt.leaf.signers.len(),
                attempt.ended()
            )?;
        }
        Ok(())
    }
}

impl AuditedAttempt {
    /// How it ended, in a few words.
    pub fn ended(&self) -> String {
        match &self.leaf.conclusion {
            Conclusion::Settled(Verdict::Applied { state, last }) => {
                let end = if *last { ", the last" } else { "" };
                format!("applied{end}: state {state}")
            }
            Conclusion::Settled(Verdict::Void { reason }) => format!("void: {reason}"),
            Conclusion::Abandoned(reason) => format!("abandoned: {reason}"),
        }
    }
}
