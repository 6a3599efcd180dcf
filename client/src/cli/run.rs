//! `run`.

use std::path::{Path, PathBuf};

use super::{Failure, runtime};
use crate::identity::Identity;
use crate::progress::Progress;
use crate::round::{self, Home, Options, RunError};
use crate::trainer::{HouseTrainer, Trainer, group_epsilons};
use protocol::charter::PrivacyMode;
use terms::Terms;
use training::TrainError;

pub(super) fn run(dir: &Path, progress: Option<PathBuf>) -> Result<(), Failure> {
    let home = Home::open(dir)?;
    // Refused before the model is loaded, which takes a while.
    home.check_policy()?;
    terms::check(&home.identity.charter).map_err(RunError::from)?;
    let runtime = runtime()?;
    runtime.block_on(round::ask_first(&home))?;
    let mut options = Options::for_dir(dir);
    if let Some(file) = progress {
        options.progress = Progress::to_file(&file).map_err(Failure::usage)?;
    }
    let trainer = trainer(&home, dir)?;
    let completed = runtime.block_on(async {
        tokio::select! {
            result = round::run(home, trainer, options) => result.map(Some),
            () = stopped() => Ok(None),
        }
    });
    // A batch that is still being trained is not waited for.
    runtime.shutdown_background();
    let completed = completed?;
    match completed {
        Some(completed) => println!("completed: {} rounds, final state {}", completed.rounds, completed.state),
        None => println!("stopped; run it again to go on"),
    }
    Ok(())
}

fn trainer(home: &Home, dir: &Path) -> Result<Option<Box<dyn Trainer>>, Failure> {
    if !home.is_house() {
        return Ok(None);
    }
    let (Some(data), Some(training)) = (&home.config.data, &home.config.training) else {
        return Err(RunError::NoTrainer(home.identity.name().clone()).into());
    };
    if let Some(threads) = training.threads {
        // An embedding program may have made the pool already; its size then stands.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    if home.identity.charter.privacy.mode == PrivacyMode::Client {
        say_house(&home.identity).map_err(RunError::from)?;
    } else if data.unit_column.is_none() {
        say_unit(&home.identity).map_err(RunError::from)?;
    }
    let mut trainer = HouseTrainer::load(&home.identity.charter, data, training, dir)?;
    match trainer.test_noise(&home.identity.charter, home.identity.name()).map_err(RunError::from)? {
        Some(found) => tracing::info!(
            "the noise of {} test draws has deviation {:.1}, as asked: {:.1}; its distribution is off by {:.4}, of {:.4} that chance allows",
            found.samples,
            found.found,
            found.deviation,
            found.distance.0,
            found.distance.1
        ),
        None => tracing::warn!("the charter's mode is `none`: NO NOISE is added, and nothing protects single rows"),
    }
    Ok(Some(Box::new(trainer)))
}

/// Mode `client` protects the house as a whole: says so, for both neighbouring relations. A replaced contribution is one taken
/// away and one added, a group of two.
fn say_house(identity: &Identity) -> Result<(), TrainError> {
    let count = Terms::of(&identity.charter)?.first_state()?.update_len();
    let groups = group_epsilons(&identity.charter, identity.name(), count)?;
    if let [(_, zero), (_, replaced), ..] = groups.as_slice() {
        tracing::info!(
            "mode `client` protects this house as a whole; epsilon of the whole run, against its contribution being zero: {zero:.2}, against any other in its place: {replaced:.2}"
        );
    }
    Ok(())
}

/// Without a unit column the guarantee is a row's: says so, and what somebody with several rows has of it.
fn say_unit(identity: &Identity) -> Result<(), TrainError> {
    let count = Terms::of(&identity.charter)?.first_state()?.update_len();
    let groups = group_epsilons(&identity.charter, identity.name(), count)?;
    let costs: Vec<String> = groups.iter().map(|(size, epsilon)| format!("{size}: {epsilon:.2}")).collect();
    tracing::warn!(
        "no unit_column: this protects one row, not one patient; epsilon of the whole run for a patient with so many rows: {}",
        if costs.is_empty() { "none is promised".to_owned() } else { costs.join(", ") }
    );
    Ok(())
}

/// Resolves when the program is asked to end. Everything promised is on the disk, so ending at once is safe.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
