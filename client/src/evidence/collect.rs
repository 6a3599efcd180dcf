//! From what a member keeps, and the record, to what the evidence says.

use std::collections::BTreeMap;

use privacy::{Kind, Ledger, LedgerError, Limit};
use protocol::charter::ReleasePolicy;
use protocol::log::audit::{Audited, AuditedAttempt};
use protocol::{Charter, Digest, HouseName};

use super::facts::{
    Attempt, Charge, DataSet, Era, Evidence, House, Member, Own, Pinned, Policy, Record, Software, Terms,
};
use crate::config::{self, Release};
use crate::record::{Kept, own};

/// All but the digests of the files beside it.
pub(super) fn collect(kept: &Kept, audited: &Audited, made_at_ms: u64) -> Result<Evidence, LedgerError> {
    let Kept { identity, config, ledger, .. } = kept;
    let (charter, roster) = (&identity.charter, audited.federation.roster_digest());
    let pinned = |digest: Digest, approved: &str| Pinned {
        digest,
        approved: approved.eq_ignore_ascii_case(&digest.to_string()),
    };
    let members = members(audited);
    let own_name = identity.name().as_str();
    let role = members.iter().find(|member| member.house.name == own_name).map_or("no member", |one| one.house.role);
    let key_sha256 = Digest::sha256(identity.signer.public_key().as_bytes());
    let data = config.data.as_ref().and_then(|data| data.file.file_name()).unwrap_or_default();
    let data_sets = ledger.as_ref().map(|ledger| data_set(ledger, &data.to_string_lossy(), config, charter));
    Ok(Evidence {
        format: "plainchant-evidence/1",
        made_at_ms,
        federation: charter.name.to_string(),
        house: House { name: own_name.to_owned(), role, key_sha256 },
        software: Software {
            program: concat!("plainchant-client ", env!("CARGO_PKG_VERSION")),
            protocol: protocol::PROTOCOL_VERSION,
            model: charter.model.name.clone(),
            model_sha256: charter.model.sha256,
        },
        policy: policy(&config.policy, charter),
        charter: pinned(charter.digest(), &config.policy.approve),
        terms: terms(charter),
        roster: pinned(roster, &config.policy.roster),
        members,
        history: vec![Era { charter: charter.digest(), roster, entries: audited.attempts.len() }],
        data_sets: data_sets.transpose()?.into_iter().collect(),
        record: Record {
            root: audited.head.root,
            countersigned_by: audited.cosignatures.iter().map(|one| one.member.to_string()).collect(),
            attempts: audited.attempts.iter().map(|attempt| entry(attempt, identity.name())).collect(),
        },
        files: BTreeMap::new(),
    })
}

fn members(audited: &Audited) -> Vec<Member> {
    let leaves = || audited.attempts.iter().map(|attempt| &attempt.leaf);
    let roster = audited.federation.roster().members().iter();
    let member = roster.map(|member| Member {
        house: House::of(member),
        contributions: leaves().filter(|leaf| leaf.houses.contains(member.name())).count(),
        verdicts: leaves().filter(|leaf| leaf.signers.contains(member.name())).count(),
    });
    member.collect()
}

fn policy(policy: &config::Policy, charter: &Charter) -> Policy {
    Policy {
        approve: policy.approve.clone(),
        roster: policy.roster.clone(),
        epsilon_ceiling: policy.epsilon_ceiling,
        delta: policy.delta_of(charter),
        min_cohort: policy.min_cohort,
        min_colluding_members: policy.min_colluding_members,
        release: policy
            .release
            .iter()
            .map(|release| match release {
                Release::Aggregator => "aggregator",
                Release::Clients => "clients",
            })
            .collect(),
        hand_over: policy.hand_over,
        allow_no_privacy: policy.allow_no_privacy,
        models: policy.models.clone(),
        targets: policy.targets.clone(),
        hours: policy.hours.as_ref().map(|hours| hours.entries().to_vec()),
        max_bytes_per_attempt: policy.max_bytes_per_attempt,
    }
}

fn terms(charter: &Charter) -> Terms {
    let (privacy, rounds) = (&charter.privacy, &charter.rounds);
    Terms {
        mode: privacy.mode.as_str(),
        epsilon: privacy.epsilon,
        delta: privacy.delta,
        noise_multiplier: privacy.noise_multiplier,
        colluders: privacy.colluders,
        rounds: rounds.count,
        min_cohort: rounds.min_cohort,
        max_cohort: rounds.max_cohort,
        may_vanish: rounds.may_vanish,
        committee: charter.committee_size(),
        threshold: charter.committee.threshold,
        release: match charter.release.policy {
            ReleasePolicy::Aggregator => "aggregator",
            ReleasePolicy::Clients => "clients",
        },
    }
}

fn data_set(ledger: &Ledger, file: &str, config: &config::Config, charter: &Charter) -> Result<DataSet, LedgerError> {
    let delta = ledger.limit().map_or(config.policy.delta_of(charter), Limit::delta);
    let epsilon = if ledger.is_unprotected() { None } else { Some(ledger.epsilon(delta)?.epsilon) };
    let charges = ledger.entries().iter().map(|line| Charge {
        charter: Digest::from_bytes(line.federation),
        house: line.house.clone(),
        round: line.round,
        attempt: line.attempt,
        kind: match line.kind {
            Kind::Training => "training",
            Kind::Evaluation => "evaluation",
        },
        rate: line.rate,
        noise_multiplier: line.noise_multiplier,
        contribution: ledger.contribution(line).map(Digest::from_bytes),
    });
    let head = ledger.head();
    Ok(DataSet {
        file: file.to_owned(),
        unit: ledger.unit().map(ToString::to_string),
        epsilon,
        ceiling: ledger.limit().map(Limit::ceiling),
        delta,
        unprotected: ledger.is_unprotected(),
        charges: charges.collect(),
        lines: head.lines,
        head: Digest::from_bytes(head.digest),
    })
}

fn entry(attempt: &AuditedAttempt, name: &HouseName) -> Attempt {
    let names = |names: &[HouseName]| names.iter().map(ToString::to_string).collect();
    Attempt {
        round: attempt.leaf.round.get(),
        attempt: attempt.leaf.attempt.get(),
        announced_at_ms: attempt.announced_at_ms,
        expected: attempt.expected,
        cohort: names(&attempt.leaf.houses),
        ended: attempt.ended(),
        signed_by: names(&attempt.leaf.signers),
        state_before: attempt.adapter,
        state_after: attempt.applied(),
        own: own(attempt, name).map(|(contribution, manifest)| Own {
            contribution: *contribution,
            ciphertext: manifest.ciphertext,
            chunks: manifest.chunk_count,
            ledger_head: manifest.ledger_head,
        }),
    }
}
