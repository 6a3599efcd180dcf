//! `pause`, `resume` and `leave`: the house's own say about taking part.

use std::path::Path;

use super::{Failure, ledger};
use crate::identity::Identity;
use crate::round::{RunError, now_ms, under_way};
use crate::standing::Standing;
use crate::store::{self, Store, StoreError};

pub(super) fn pause(dir: &Path) -> Result<(), Failure> {
    let identity = house(dir)?;
    Standing::Paused { since_ms: now_ms() }.write(&dir.join("state")).map_err(Failure::usage)?;
    println!(
        "{} has paused: it says ready for no round, trains for none, and sends nothing that was not on its way already. A client that runs heeds it before its next step.\n\
         It still answers for sums of others: keep it running. An attempt that it said ready for counts on its contribution where nobody may vanish: it is tried again, and charged again to the others. `plainchant-client resume {}` ends the pause.\n",
        identity.name(),
        dir.display()
    );
    println!("{}", what_stays(dir, &identity)?);
    Ok(())
}

pub(super) fn resume(dir: &Path) -> Result<(), Failure> {
    let identity = house(dir)?;
    Standing::TakesPart.write(&dir.join("state")).map_err(Failure::usage)?;
    println!("{} takes part again, in the attempt that gathers and all later ones.", identity.name());
    Ok(())
}

pub(super) fn leave(dir: &Path, yes: bool) -> Result<(), Failure> {
    let identity = Identity::load(dir).map_err(RunError::from)?;
    let stays = what_stays(dir, &identity)?;
    if !yes {
        println!(
            "To leave is for good: {} sends nothing more, its one-time keys and what it had not sent are erased, and it can not come back to this federation. `pause` can be ended.\n\n{stays}",
            identity.name()
        );
        return Err(Failure::usage(format!(
            "nothing was done; to leave, say: plainchant-client leave {} --yes",
            dir.display()
        )));
    }
    Standing::Left { since_ms: now_ms() }.write(&dir.join("state")).map_err(Failure::usage)?;
    let how = match Store::open(dir) {
        Ok(store) => match store.memory().map_err(RunError::from)?.as_ref().and_then(under_way) {
            None => {
                store.withdraw().map_err(RunError::from)?;
                "Its one-time keys and what it had not sent are erased."
            }
            Some(_) => {
                "It was in an attempt that may still want its answer: let `run` answer, which then erases its one-time keys and what it had not sent, and ends."
            }
        },
        Err(StoreError::InUse(_)) => {
            "The client that runs answers for the attempt that it said ready for or is in, then erases its one-time keys and what it had not sent, and ends."
        }
        Err(other) => return Err(RunError::from(other).into()),
    };
    println!(
        "{} has left the federation. {how}\nAsk the model builder to `revoke` its certificate. Keep the folder: the ledger in it says what this data has spent.\n\n{stays}",
        identity.name()
    );
    Ok(())
}

/// Only houses have something to pause.
fn house(dir: &Path) -> Result<Identity, Failure> {
    let identity = Identity::load(dir).map_err(RunError::from)?;
    match identity.charter.house(identity.name()) {
        Some(_) => Ok(identity),
        None => Err(Failure::usage(format!(
            "{} is a trustee, which holds no data: stop its program instead",
            identity.name()
        ))),
    }
}

/// What no pause and no leaving takes back.
fn what_stays(dir: &Path, identity: &Identity) -> Result<String, Failure> {
    let memory = store::peek_memory(dir).map_err(RunError::from)?;
    let applied = memory.map_or(0, |memory| memory.next_round.get() - 1);
    let mut text = format!(
        "What can not be withdrawn: {applied} of {} rounds are applied, and everybody in them holds what they came to; sums that were opened stay opened.",
        identity.charter.rounds.count
    );
    if let Some((epsilon, delta)) = ledger::spent(dir, identity)? {
        text += &format!(" The ledger stands: epsilon {epsilon:.3} at delta {delta:e} stays spent.");
    }
    text += " The final adapter can be handed over by the others.";
    Ok(text)
}
