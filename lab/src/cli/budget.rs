//! `plainchant-lab budget`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::budget::{self, Answer, BudgetError, Grid, Mode, Question, Setting, Unit, Wanted};
use crate::{plot, table};

/// Text is broken here: as wide as a page is read well.
const WIDTH: usize = 100;

/// Two of epsilon, noise multiplier and rounds.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// What the whole run may spend: the privacy loss of one unit
    #[arg(long, value_name = "E", help_heading = "Two of these")]
    epsilon: Option<f64>,
    /// Deviation of the noise that is counted on, over the clipping norm
    #[arg(long, value_name = "Z", help_heading = "Two of these")]
    noise_multiplier: Option<f64>,
    /// Rounds of the whole run that are charged, tries that fail among them
    #[arg(long, value_name = "N", help_heading = "Two of these")]
    rounds: Option<u64>,

    /// Chance of a unit to be in a round's batch (Poisson sampling)
    #[arg(long, value_name = "Q")]
    rate: Option<f64>,
    /// Mean batch of one house, instead of --rate; needs --units
    #[arg(long, value_name = "B")]
    batch: Option<u64>,
    /// Chance that nothing is promised: well below one over the number of units
    #[arg(long, default_value_t = 1e-5, value_name = "D")]
    delta: f64,
    /// Privacy units of the smallest house
    #[arg(long, value_name = "COUNT")]
    units: Option<u64>,
    /// What a unit is
    #[arg(long, value_enum, default_value_t = Unit::Row)]
    unit: Unit,
    /// Sizes of groups (rows of one person) to show the epsilon of
    #[arg(long, value_delimiter = ',', default_value = "2,4,8", value_name = "SIZES")]
    group: Vec<u64>,

    /// Who is protected, and who adds the noise
    #[arg(long, value_enum, default_value_t = Mode::RecordShared, help_heading = "The federation")]
    mode: Mode,
    /// Houses that a round expects
    #[arg(long, default_value_t = 10, value_name = "HOUSES", help_heading = "The federation")]
    cohort: u64,
    /// Of these, how many may vanish before the sum is opened
    #[arg(long, default_value_t = 0, value_name = "HOUSES", help_heading = "The federation")]
    may_vanish: u64,
    /// Of a cohort, how many may collude
    #[arg(long, default_value_t = 1, value_name = "HOUSES", help_heading = "The federation")]
    colluders: u64,
    /// Local steps of a round (record-local: each is noised and charged)
    #[arg(long, default_value_t = 1, value_name = "COUNT", help_heading = "The federation")]
    steps: u64,
    /// Trained weights: counts what the integer grid costs
    #[arg(long, value_name = "COUNT", help_heading = "The federation")]
    dimension: Option<u64>,
    /// Clipping norm in grid units
    #[arg(long, default_value_t = 4096, requires = "dimension", value_name = "UNITS", help_heading = "The federation")]
    integer_norm: u64,

    /// A file .svg or .png with epsilon over rounds and over noise, or a folder for both and their tables
    #[arg(long, value_name = "FILE|FOLDER", help_heading = "Output")]
    plot: Option<PathBuf>,
    /// One JSON object, for scripts
    #[arg(long, help_heading = "Output")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  How much noise gives epsilon 3 over 60 rounds, when each round takes 64 of a house's 3,200 patients?
    plainchant-lab budget --epsilon 3 --rounds 60 --units 3200 --batch 64 --unit person
  How many rounds are there for that epsilon with noise 0.9?
    plainchant-lab budget --epsilon 3 --noise-multiplier 0.9 --rate 0.02
  What does a house spend on four local steps in each of 30 rounds, with pictures?
    plainchant-lab budget --mode record-local --steps 4 --rounds 30 --noise-multiplier 1.1 --rate 0.02 --plot plots
  What protects whole houses, 500 of them?
    plainchant-lab budget --mode client --cohort 500 --colluders 20 --epsilon 8 --rounds 100

The cohort does not change epsilon. It changes how much noise the sum carries for it: houses that may vanish or
collude are not counted on, so the others add more.";

/// Answers one question.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let (target, json) = (arguments.plot.clone(), arguments.json);
    let answer = question(arguments).and_then(|question| budget::answer(&question)).map_err(failure)?;
    let written = target.as_deref().map(|target| draw(target, &answer)).transpose()?.unwrap_or_default();
    let mut text = if json { format!("{:#}\n", budget::json(&answer)) } else { budget::text(&answer, WIDTH) };
    if !json && !written.is_empty() {
        text += &format!("\nWritten: {}\n", written.join(", "));
    }
    // A reader that has had enough, such as `head`, is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn failure(error: BudgetError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { Failure::failed(error) }
}

fn question(arguments: Arguments) -> Result<Question, BudgetError> {
    let wanted = wanted(&arguments)?;
    let rate = rate(&arguments)?;
    let Arguments { delta, units, unit, group, mode, cohort, may_vanish, colluders, steps, .. } = arguments;
    let grid = arguments.dimension.map(|dimension| Grid { dimension, integer_norm: arguments.integer_norm });
    let setting = Setting { mode, rate, delta, cohort, may_vanish, colluders, steps, grid, units, unit, groups: group };
    Ok(Question { wanted, setting })
}

fn wanted(arguments: &Arguments) -> Result<Wanted, BudgetError> {
    match (arguments.epsilon, arguments.noise_multiplier, arguments.rounds) {
        (None, Some(noise_multiplier), Some(rounds)) => Ok(Wanted::Epsilon { noise_multiplier, rounds }),
        (Some(epsilon), None, Some(rounds)) => Ok(Wanted::NoiseMultiplier { epsilon, rounds }),
        (Some(epsilon), Some(noise_multiplier), None) => Ok(Wanted::Rounds { epsilon, noise_multiplier }),
        (epsilon, noise, rounds) => {
            let given = [epsilon.is_some(), noise.is_some(), rounds.is_some()].iter().filter(|given| **given).count();
            Err(BudgetError::NotTwo { given })
        }
    }
}

fn rate(arguments: &Arguments) -> Result<f64, BudgetError> {
    match (arguments.rate, arguments.batch, arguments.units) {
        (None, None, _) if arguments.mode == Mode::Client => Ok(1.0),
        (Some(rate), None, _) => Ok(rate),
        (None, None, _) => Err(BudgetError::NoRate),
        (None, Some(batch), Some(units)) => Ok(batch as f64 / units as f64),
        (_, Some(batch), None) => Err(BudgetError::BatchWithoutUnits(batch)),
        (Some(rate), Some(batch), Some(units)) => Err(BudgetError::TwoRates { rate, batch, units }),
    }
}

/// Draws the curves and says which files were written.
fn draw(target: &Path, answer: &Answer) -> Result<Vec<String>, Failure> {
    let points = budget::curve_points(answer);
    let charts = budget::charts(answer, &points);
    let is_file = target.extension().is_some() && !target.is_dir();
    if is_file {
        plot::write(target, &charts).map_err(plot_failure)?;
        return Ok(vec![target.display().to_string()]);
    }
    table::write(target, "budget", &points).map_err(Failure::failed)?;
    let mut written: Vec<PathBuf> = ["budget.parquet", "budget.json"].map(|name| target.join(name)).into();
    for (chart, name) in charts.iter().zip(["epsilon-over-rounds", "epsilon-over-noise"]) {
        for ending in ["svg", "png"] {
            let path = target.join(format!("{name}.{ending}"));
            plot::write(&path, std::slice::from_ref(chart)).map_err(plot_failure)?;
            written.push(path);
        }
    }
    Ok(written.iter().map(|path| path.display().to_string()).collect())
}

fn plot_failure(error: plot::PlotError) -> Failure {
    if matches!(error, plot::PlotError::Ending(_)) { Failure::usage(error) } else { Failure::failed(error) }
}
