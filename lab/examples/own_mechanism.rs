//! A mechanism of one's own in a simulated federation: each house sends only the signs of its clipped sum, as in a vote.
//! It has no noise, so it runs under mode `none`, which claims nothing.
//!
//!     cargo run --release -p lab --example own_mechanism -- DATA.tsv TEST.tsv MODEL_FOLDER

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::simulate::{self, Plan};
use privacy::poisson_sample;
use protocol::charter::PrivacyMode;
use training::{DpSgd, House, Mechanism, Part, Tools, TrainError, Trained};

/// The size of a vote, in grid units.
const VOTE: i64 = 1 << 22;

struct Signs(DpSgd);

impl Mechanism for Signs {
    fn contribute(
        &self,
        part: &Part<'_>,
        state: &adapter::State,
        house: &House,
        tools: &mut Tools<'_>,
    ) -> Result<Trained, TrainError> {
        let start = Instant::now();
        let chosen = poisson_sample(house.units.len(), part.sampling_rate()?, tools.rng)?;
        let batch: Vec<&[usize]> = chosen.iter().map(|unit| &house.units[*unit]).collect();
        let (mut values, loss) = self.0.clipped_sum(tools, &batch, &state.round_adapter())?;
        values.resize(state.update_len(), 0);
        values.iter_mut().for_each(|value| *value = value.signum() * VOTE);
        Ok(Trained { values, loss, train: start.elapsed(), noise: Duration::ZERO })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = std::env::args_os().skip(1).map(PathBuf::from);
    let mut next = || files.next().ok_or("usage: own_mechanism DATA TEST MODEL_FOLDER");
    let mut plan: Plan = toml::from_str(simulate::SAMPLE)?;
    (plan.task.data, plan.task.test, plan.task.model) = (next()?, next()?, next()?);
    plan.privacy.modes = vec![PrivacyMode::None];
    plan.training.rounds = 10;
    let folder = std::env::temp_dir().join("own-mechanism");
    let make: &simulate::MakeMechanism<'_> = &|charter| Ok(Box::new(Signs(DpSgd::new(charter)?)));
    let finished = simulate::run_with(&plan, &folder, make, &mut |step| {
        eprintln!("round {} of {}, accuracy {:?}", step.round, step.rounds, step.plain);
    })?;
    for run in finished.runs {
        println!("{}: accuracy {:.3}, macro {:.3}, {} bytes up", run.run, run.plain, run.macro_, run.bytes_up);
    }
    Ok(())
}
