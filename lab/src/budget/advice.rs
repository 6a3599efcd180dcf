//! What somebody who has done this before would say.

use super::{Answer, Mode, Unit};

/// Above this, epsilon bounds little.
const WEAK_EPSILON: f64 = 10.0;
/// Above this, delta is no small failure.
const LARGE_DELTA: f64 = 1e-3;
/// Below this, Renyi orders bound the noise loosely.
const QUIET: f64 = 0.5;
/// From this on, noise that is not counted on is worth a word.
const COSTLY_FACTOR: f64 = 1.3;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The guarantee is weaker, or of something else, than it looks.
    Warning,
    /// Worth knowing.
    Note,
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// How much it matters.
    pub level: Level,
    /// A name for scripts.
    pub code: &'static str,
    /// The remark, with what to write.
    pub text: String,
}

/// All remarks on an answer.
pub(super) fn of(answer: &Answer) -> Vec<Advice> {
    let mut all: Vec<Advice> = [delta(answer), epsilon(answer), unit(answer), sampling(answer), noise(answer)].concat();
    all.sort_by_key(|advice| advice.level == Level::Note);
    all
}

fn warning(code: &'static str, text: String) -> Advice {
    Advice { level: Level::Warning, code, text }
}

fn note(code: &'static str, text: String) -> Advice {
    Advice { level: Level::Note, code, text }
}

fn delta(answer: &Answer) -> Vec<Advice> {
    let setting = &answer.question.setting;
    let delta = setting.delta;
    let mut all = Vec::new();
    if delta > LARGE_DELTA {
        all.push(warning(
            "delta-large",
            format!("delta {delta:e} is the chance that nothing is promised at all; 1e-5 and smaller are usual"),
        ));
    }
    let protected = if setting.mode == Mode::Client { Some(setting.cohort) } else { setting.units };
    let what = if setting.mode == Mode::Client { "houses" } else { "units" };
    match protected {
        Some(n) if delta >= 1.0 / n as f64 => all.push(warning("delta-above-1-over-n", format!(
            "delta {delta:e} is not below 1/n = {:.1e} for {n} {what}: a program that publishes one of them at random would pass; write --delta {:.0e} or smaller",
            1.0 / n as f64,
            power_below(0.1 / n as f64)
        ))),
        Some(_) => {}
        None => all.push(note("units-unknown", format!(
            "delta should be well below 1/n: give --units, how many the smallest data set holds, and it is checked (delta {delta:e} asks for more than {:.0})",
            1.0 / delta
        ))),
    }
    all
}

fn epsilon(answer: &Answer) -> Vec<Advice> {
    let epsilon = answer.by[0].epsilon;
    if epsilon <= WEAK_EPSILON {
        return Vec::new();
    }
    vec![warning(
        "epsilon-large",
        format!(
            "epsilon {epsilon:.1} bounds an attacker's certainty at {}: that is close to no bound; what it is worth only an audit can tell",
            percent(best_guess(epsilon, answer.question.setting.delta))
        ),
    )]
}

fn unit(answer: &Answer) -> Vec<Advice> {
    let setting = &answer.question.setting;
    match (setting.mode, setting.unit) {
        (Mode::Client, _) => vec![note("unit-house", format!(
            "the unit is a whole house, against a neighbour in which its update is zero; replaced by another update: epsilon {}. Every round that a house joins is charged. The mean over {} houses carries noise of {:.3} clipping norms in each coordinate: such budgets want hundreds of houses",
            words(answer.groups.first().and_then(|group| group.epsilon)),
            setting.cohort,
            answer.by[0].noise_multiplier * answer.noise_factor / setting.cohort as f64
        ))],
        (_, Unit::Row) => vec![warning("unit-is-a-row", format!(
            "this protects one row, not one person: somebody with {} rows has epsilon {}; name the person's column in the client's configuration (unit_column) and say --unit person",
            answer.groups.first().map_or(2, |group| group.size),
            words(answer.groups.first().and_then(|group| group.epsilon)),
        ))],
        (_, Unit::Person) => vec![note("unit-is-within-a-house", "a person is protected within each house; whoever is in two houses has both guarantees together, at worst twice epsilon and delta".to_owned())],
    }
}

fn sampling(answer: &Answer) -> Vec<Advice> {
    let setting = &answer.question.setting;
    let mut all = Vec::new();
    if setting.rate < 1.0 {
        all.push(note("poisson", format!(
            "counted for Poisson sampling: each unit joins a batch by itself with chance {}, and batches differ in size. Shuffled batches of a fixed size have no such guarantee",
            setting.rate
        )));
        let mean = setting.units.map(|units| units as f64 * setting.rate);
        if let Some(mean) = mean.filter(|mean| *mean < 1.0) {
            all.push(warning(
                "batch-empty",
                format!(
                    "a batch holds {mean:.2} units on average: most rounds add nothing but noise; write a larger --rate"
                ),
            ));
        }
    }
    if setting.mode == Mode::RecordLocal && setting.steps > 1 {
        all.push(note(
            "steps-charged",
            format!(
                "each of the {} local steps is noised and charged: {} in all",
                setting.steps,
                answer.by[0].rounds.saturating_mul(setting.steps)
            ),
        ));
    }
    if setting.mode != Mode::RecordLocal && setting.steps > 1 {
        let why =
            if setting.mode == Mode::Client { "they cost no privacy" } else { "record-shared takes one step a round" };
        all.push(note("steps-free", format!("--steps {} changes nothing here: {why}", setting.steps)));
    }
    all.push(note("attempts", "a round that was tried and failed is spent too: count the attempts that may fail among the rounds (rounds.charged)".to_owned()));
    all
}

fn noise(answer: &Answer) -> Vec<Advice> {
    let setting = &answer.question.setting;
    let mut all = Vec::new();
    if answer.by[0].noise_multiplier < QUIET {
        all.push(note(
            "noise-small",
            format!("below a noise multiplier of {QUIET} epsilon grows fast, and Renyi divergences bound it loosely"),
        ));
    }
    if setting.mode == Mode::RecordShared && answer.noise_factor > COSTLY_FACTOR {
        all.push(note("noise-factor", format!(
            "{} of {} houses are counted on, so the sum carries {:.2} times the noise of central training; a smaller --may-vanish or more houses bring it down",
            setting.honest(), setting.cohort, answer.noise_factor
        )));
    }
    if setting.mode == Mode::RecordLocal {
        all.push(note("local-noise", format!(
            "every house adds all the noise, so the sum carries {:.2} times that of central training; record-shared with the same houses: {:.2}",
            answer.noise_factor,
            (setting.cohort as f64 / setting.honest() as f64).sqrt()
        )));
    }
    if setting.grid.is_none() {
        all.push(note("continuous", "noise is taken for continuous; --dimension and --integer-norm count what the integer grid costs, which from 4 grid units a share on is less than the last digit".to_owned()));
    }
    all
}

/// The largest power of ten that is not above `x`.
fn power_below(x: f64) -> f64 {
    10f64.powf(x.log10().floor())
}

fn words(epsilon: Option<f64>) -> String {
    epsilon.map_or_else(|| "without a bound".to_owned(), |epsilon| format!("{epsilon:.2}"))
}

/// How often somebody is right at most who guesses from the model whether one unit was in, with both equally likely
/// before: errors of both kinds obey `a + e^epsilon b >= 1 - delta` (Kairouz, Oh, Viswanath 2015, theorem 2.1).
pub(super) fn best_guess(epsilon: f64, delta: f64) -> f64 {
    1.0 - (1.0 - delta) / (1.0 + epsilon.exp())
}

/// How many members at most are found by somebody who accuses a part `false_alarms` of the others.
pub(super) fn found_at(false_alarms: f64, epsilon: f64, delta: f64) -> f64 {
    let many = epsilon.exp() * false_alarms + delta;
    let few = 1.0 - (1.0 - delta - false_alarms) * (-epsilon).exp();
    many.min(few).clamp(0.0, 1.0)
}

/// A part as percent, never rounded to certainty.
pub(super) fn percent(part: f64) -> String {
    let digits = if part > 0.9999 {
        4
    } else if part > 0.999 {
        2
    } else {
        1
    };
    format!("{:.digits$} %", part * 100.0)
}
