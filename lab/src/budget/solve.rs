//! The answer, by every accountant.

use privacy::accountant::{self, Accountant, AccountantError, Rounds, SMALLEST_DEVIATION};

use super::advice::{self, Advice};
use super::{BudgetError, Mode, Question, Setting, Wanted};

/// Noise multipliers are rounded up to this many parts of one: what a charter states is what was counted.
const NOISE_PARTS: f64 = 1e4;

/// What was worked out.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// One for each accountant; the first is the one that charters use.
    pub by: Vec<By>,
    /// The noise in the sum when all are there, as a multiple of central DP-SGD's.
    pub noise_factor: f64,
    /// Deviation of one house's share of the noise, over the clipping norm.
    pub share: f64,
    /// What protects several units together, by the first accountant.
    pub groups: Vec<Group>,
    /// What an expert would say.
    pub advice: Vec<Advice>,
}

/// One accountant's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct By {
    /// Which one.
    pub accountant: Accountant,
    /// Epsilon of the whole run; infinite where it has none.
    pub epsilon: f64,
    /// Noise multiplier.
    pub noise_multiplier: f64,
    /// Rounds.
    pub rounds: u64,
    /// How it was found.
    pub how: String,
}

/// Several units together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// How many.
    pub size: u64,
    /// Their epsilon; none where no order gives one.
    pub epsilon: Option<f64>,
}

/// Works out what is asked.
///
/// # Errors
/// What is wrong with the question, or that nothing reaches what it asks.
pub fn answer(question: &Question) -> Result<Answer, BudgetError> {
    let setting = &question.setting;
    setting.check()?;
    let first = count(question, Accountant::Rdp)?;
    wide_enough(setting, first.noise_multiplier)?;
    let mut by = vec![first];
    let others: &[Accountant] =
        if setting.rate == 1.0 { &[Accountant::Pld, Accountant::Zcdp] } else { &[Accountant::Pld] };
    for &other in others {
        match count(question, other) {
            Ok(found) => by.push(found),
            // Less noise than by the first, for which the grid asked for is too coarse.
            Err(BudgetError::ShareTooNarrow { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let groups = groups(setting, &by[0])?;
    let share =
        by[0].noise_multiplier / if setting.mode == Mode::RecordLocal { 1.0 } else { (setting.honest() as f64).sqrt() };
    let mut answer = Answer {
        noise_factor: setting.noise_factor(),
        share,
        by,
        groups,
        advice: Vec::new(),
        question: question.clone(),
    };
    answer.advice = advice::of(&answer);
    Ok(answer)
}

/// One accountant's answer; ledgers count with Renyi divergences.
fn count(question: &Question, accountant: Accountant) -> Result<By, BudgetError> {
    let setting = &question.setting;
    let steps = setting.noised_steps();
    let (delta, rate) = (setting.delta, setting.rate);
    let (noise_multiplier, rounds, epsilon) = match question.wanted {
        Wanted::Epsilon { noise_multiplier, rounds } => {
            (noise_multiplier, rounds, accountant.epsilon(&[setting.rounds(noise_multiplier, rounds)], delta)?)
        }
        Wanted::NoiseMultiplier { epsilon, rounds } => {
            let continuous = accountant.noise_for(epsilon, delta, rate, rounds.saturating_mul(steps))?;
            let (noise, costs) = round_up(setting, accountant, continuous, rounds, epsilon)?;
            (noise, rounds, costs)
        }
        Wanted::Rounds { epsilon, noise_multiplier } => {
            let fits = accountant.rounds_for(epsilon, delta, rate, noise_multiplier)? / steps;
            let (rounds, costs) = round_down(setting, accountant, noise_multiplier, fits, epsilon)?;
            (noise_multiplier, rounds, costs)
        }
    };
    let how = match accountant {
        Accountant::Rdp => {
            format!("order {}", accountant::epsilon(&[setting.rounds(noise_multiplier, rounds)], delta)?.order)
        }
        Accountant::Pld => "composed loss, rounded up".to_owned(),
        Accountant::Zcdp => "best order of all".to_owned(),
    };
    Ok(By { accountant, epsilon, noise_multiplier, rounds, how })
}

/// The next noise multiplier with four digits whose epsilon, with the grid counted, is within `target`, and that epsilon.
fn round_up(
    setting: &Setting,
    accountant: Accountant,
    continuous: f64,
    rounds: u64,
    target: f64,
) -> Result<(f64, f64), BudgetError> {
    let mut parts = (continuous * NOISE_PARTS).ceil();
    wide_enough(setting, parts / NOISE_PARTS)?;
    // Where the grid counts at all, it is by far less than one part.
    let most = (parts * 1.01).ceil();
    loop {
        let noise = parts / NOISE_PARTS;
        let epsilon = accountant.epsilon(&[setting.rounds(noise, rounds)], setting.delta)?;
        if epsilon <= target {
            return Ok((noise, epsilon));
        }
        if parts > most {
            return Err(AccountantError::Unreachable { target, best: epsilon, with: "noise on this grid" }.into());
        }
        parts += 1.0;
    }
}

/// The most rounds up to `fits` whose epsilon, with the grid counted, is within `target`, and that epsilon.
fn round_down(
    setting: &Setting,
    accountant: Accountant,
    noise: f64,
    fits: u64,
    target: f64,
) -> Result<(u64, f64), BudgetError> {
    wide_enough(setting, noise)?;
    let mut rounds = fits;
    loop {
        let epsilon = accountant.epsilon(&[setting.rounds(noise, rounds.max(1))], setting.delta)?;
        if rounds == 0 {
            return Err(AccountantError::Unreachable { target, best: epsilon, with: "a single round" }.into());
        }
        if epsilon <= target {
            return Ok((rounds, epsilon));
        }
        rounds -= 1;
    }
}

fn wide_enough(setting: &Setting, noise: f64) -> Result<(), BudgetError> {
    let Some(grid) = setting.grid else { return Ok(()) };
    let per_unit = noise / setting.shares().sqrt();
    let deviation = per_unit * grid.integer_norm as f64;
    if deviation >= SMALLEST_DEVIATION || !deviation.is_finite() || per_unit <= 0.0 {
        return Ok(());
    }
    Err(BudgetError::ShareTooNarrow { deviation, needed: (SMALLEST_DEVIATION / per_unit).ceil() as u64 })
}

fn groups(setting: &Setting, by: &By) -> Result<Vec<Group>, BudgetError> {
    let rounds = [setting.rounds(by.noise_multiplier, by.rounds)];
    let bound = |size: u64| match accountant::group_epsilon(&rounds, setting.delta, size) {
        Ok(found) => Ok(Some(found.epsilon)),
        Err(AccountantError::NoOrder) => Ok(None),
        Err(error) => Err(BudgetError::from(error)),
    };
    // A house that is replaced by another moves the sum by two clipping norms: as a group of two.
    let sizes: &[u64] = if setting.mode == Mode::Client { &[2] } else { &setting.groups };
    sizes.iter().map(|&size| Ok(Group { size, epsilon: bound(size)? })).collect()
}

impl Setting {
    /// So many rounds of it, as the accountant takes them.
    pub(super) fn rounds(&self, noise_multiplier: f64, rounds: u64) -> Rounds {
        let plain = Rounds::new(self.rate, noise_multiplier, rounds.saturating_mul(self.noised_steps()));
        let Some(grid) = self.grid else { return plain };
        let shares = if self.mode == Mode::RecordLocal { 1 } else { self.honest() };
        plain.on_grid(accountant::Grid {
            dimension: grid.dimension,
            integer_norm: grid.integer_norm,
            shares,
            deviation: noise_multiplier * grid.integer_norm as f64 / self.shares().sqrt(),
        })
    }

    /// Shares that the noise which is counted on consists of.
    fn shares(&self) -> f64 {
        if self.mode == Mode::RecordLocal { 1.0 } else { self.honest() as f64 }
    }
}
