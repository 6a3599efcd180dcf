//! `prove`: shows what leaves this house.

use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, approve, runtime};
use crate::config::Config;
use crate::identity::Identity;
use crate::prove::{self, Proof, ProveError, verdict};
use crate::round::RunError;

/// Columns of a table where the terminal does not say.
const WIDTH: u16 = 120;

pub(super) fn run(dir: &Path, out: &Path) -> Result<(), Failure> {
    if out.exists() {
        return Err(ProveError::Exists(out.to_owned()).into());
    }
    let identity = Identity::load(dir).map_err(RunError::from)?;
    let config = Config::load(dir).map_err(RunError::from)?;
    let (roster, pinned) = approve::roster_of(dir, &identity)?;
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::default_spinner());
    let step = |text| {
        progress.set_message(text);
        progress.tick();
    };
    let proof = runtime()?.block_on(prove::prove(&identity, &config, (&roster, pinned), out, &step));
    progress.finish_and_clear();
    let proof = proof?;
    print(&proof);
    if proof.passed {
        println!("\nEverything is as it should be. {}: begin with proof.html", out.display());
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "something is not as it should be; do not take part before it is explained: {}",
            out.join("proof.html").display()
        )))
    }
}

fn print(proof: &Proof) {
    let mut table = plain(["", "what", "found"]);
    for check in &proof.checks {
        table.add_row([verdict(check.passed), check.name.to_owned(), check.found.clone()]);
    }
    println!("{table}\n");
    let mut table = plain(["", "the aggregator", "this house"]);
    for one in &proof.refused {
        table.add_row([verdict(one.refused), one.tried.clone(), one.answer.clone()]);
    }
    println!("{table}\n");
    let mut table = plain(["member", "role", "signs with", "answers sealed to"]);
    for prove::Site { house, mailbox_sha256 } in &proof.members {
        let keys = [approve::aloud(&house.key_sha256), approve::aloud(mailbox_sha256)];
        table.add_row([house.name.clone(), house.role.to_owned()].into_iter().chain(keys));
    }
    println!("{table}");
}

fn plain<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(head);
    table
}

impl From<ProveError> for Failure {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::Roster(error) => error.into(),
            ProveError::Exists(_)
            | ProveError::NotAHouse(_)
            | ProveError::Policy(_)
            | ProveError::Refused(_)
            | ProveError::Terms(_)
            | ProveError::Train(_) => Self::usage(error),
            _ => Self::failed(error),
        }
    }
}
