//! The answer for people and for scripts.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::advice::{best_guess, found_at, percent};
use super::{Answer, By, Level, Mode, Unit, Wanted};

/// False alarms at which attacks are compared (Carlini et al. 2022 ask for low ones).
const FALSE_ALARMS: f64 = 0.01;

/// The answer as text, with lines no longer than `width`.
#[must_use]
pub fn text(answer: &Answer, width: usize) -> String {
    let sections = [plan(answer), accountants(answer), meaning(answer), noise(answer), charter(answer), advice(answer)];
    let mut out = String::new();
    for section in sections {
        for line in section.lines() {
            wrap(&mut out, line, width);
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// The answer as one JSON object.
#[must_use]
pub fn json(answer: &Answer) -> Value {
    let (setting, first) = (&answer.question.setting, &answer.by[0]);
    let by = |by: &By| {
        json!({ "accountant": by.accountant.as_str(), "epsilon": by.epsilon, "noise_multiplier": by.noise_multiplier,
            "rounds": by.rounds, "how": by.how })
    };
    let level = |level: Level| if level == Level::Warning { "warning" } else { "note" };
    json!({
        "mode": setting.mode.name(),
        "wanted": wanted(answer),
        "epsilon": first.epsilon,
        "delta": setting.delta,
        "noise_multiplier": first.noise_multiplier,
        "rounds": first.rounds,
        "rate": setting.rate,
        "cohort": setting.cohort,
        "may_vanish": setting.may_vanish,
        "colluders": setting.colluders,
        "steps": setting.noised_steps(),
        "by_accountant": answer.by.iter().map(by).collect::<Vec<_>>(),
        "noise_factor": answer.noise_factor,
        "noise_share": answer.share,
        "groups": answer.groups.iter().map(|group| json!({ "size": group.size, "epsilon": group.epsilon })).collect::<Vec<_>>(),
        "best_guess": best_guess(first.epsilon, setting.delta),
        "found_at_1_percent": found_at(FALSE_ALARMS, first.epsilon, setting.delta),
        "advice": answer.advice.iter().map(|one| json!({ "level": level(one.level), "code": one.code, "text": one.text })).collect::<Vec<_>>(),
    })
}

fn wanted(answer: &Answer) -> &'static str {
    match answer.question.wanted {
        Wanted::Epsilon { .. } => "epsilon",
        Wanted::NoiseMultiplier { .. } => "noise_multiplier",
        Wanted::Rounds { .. } => "rounds",
    }
}

fn plan(answer: &Answer) -> String {
    let (setting, first) = (&answer.question.setting, &answer.by[0]);
    let line = |name: &str, key: &str, value: String| {
        let mark = if key == wanted(answer) { "  <- worked out" } else { "" };
        format!("  {name:<18}{value}{mark}\n")
    };
    let sampling =
        if setting.rate == 1.0 { "every unit in every round".to_owned() } else { format!("rate {}", setting.rate) };
    let mut out =
        format!("{}, {} houses, {sampling}, delta {:e}\n\n", setting.mode.name(), setting.cohort, setting.delta);
    out += &line("epsilon", "epsilon", format!("{:.4}", first.epsilon));
    out += &line("noise multiplier", "noise_multiplier", first.noise_multiplier.to_string());
    out += &line("rounds", "rounds", first.rounds.to_string());
    out
}

fn accountants(answer: &Answer) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["accountant", "epsilon", "noise multiplier", "rounds", "how"]);
    for by in &answer.by {
        let cells = [
            by.accountant.as_str().to_owned(),
            format!("{:.4}", by.epsilon),
            by.noise_multiplier.to_string(),
            by.rounds.to_string(),
        ];
        table.add_row(cells.into_iter().chain([by.how.clone()]));
    }
    table.to_string()
}

fn meaning(answer: &Answer) -> String {
    let (setting, first) = (&answer.question.setting, &answer.by[0]);
    let unit = match (setting.mode, setting.unit) {
        (Mode::Client, _) => "house",
        (_, Unit::Row) => "row",
        (_, Unit::Person) => "person",
    };
    let mut out = format!(
        "What it promises: whoever knows everything else and guesses whether one {unit} was in the data, even odds before, is right at most {} of the time, and finds at most {} of the members when accusing {:.0} % of the others.\n",
        percent(best_guess(first.epsilon, setting.delta)),
        percent(found_at(FALSE_ALARMS, first.epsilon, setting.delta)),
        FALSE_ALARMS * 100.0
    );
    if setting.mode != Mode::Client && !answer.groups.is_empty() {
        let several = if unit == "row" { "rows of one person" } else { "persons" };
        let one = |epsilon: Option<f64>| epsilon.map_or_else(|| "no bound".to_owned(), |x| format!("{x:.2}"));
        let groups: Vec<_> =
            answer.groups.iter().map(|group| format!("{}: {}", group.size, one(group.epsilon))).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "Epsilon for several {several} together: {}", groups.join(", "));
    }
    out
}

fn noise(answer: &Answer) -> String {
    let setting = &answer.question.setting;
    let counted = if setting.mode == Mode::RecordLocal {
        "every house carries all it needs".to_owned()
    } else {
        format!("{} of {} houses are counted on", setting.honest(), setting.cohort)
    };
    let mut out = format!(
        "Noise: {counted}, so the sum over all carries {:.3} times the noise of central DP-SGD. One house adds a deviation of {:.4} clipping norms",
        answer.noise_factor, answer.share
    );
    if let Some(grid) = setting.grid {
        let _ = write!(out, ", {:.1} grid units", answer.share * grid.integer_norm as f64);
    }
    out + ".\n"
}

/// What to write into a charter: its epsilon rounded up to what its four digits state.
fn charter(answer: &Answer) -> String {
    let (setting, first) = (&answer.question.setting, &answer.by[0]);
    let epsilon = match answer.question.wanted {
        Wanted::Epsilon { .. } => (first.epsilon * 1e4).ceil() / 1e4,
        Wanted::NoiseMultiplier { epsilon, .. } | Wanted::Rounds { epsilon, .. } => epsilon,
    };
    let mut out = format!(
        "In a charter:\n  [privacy]\n  mode = \"{}\"\n  epsilon = {epsilon:?}\n  delta = {:e}\n  noise_multiplier = {:?}\n  colluders = {}\n",
        setting.mode.name(),
        setting.delta,
        first.noise_multiplier,
        setting.colluders
    );
    if let Some(grid) = setting.grid {
        let _ = writeln!(out, "  integer_norm = {}", grid.integer_norm);
    }
    let _ = writeln!(out, "  [rounds]\n  charged = {}\n  may_vanish = {}", first.rounds, setting.may_vanish);
    if setting.noised_steps() > 1 {
        let _ = writeln!(out, "  [local]\n  steps = {}", setting.steps);
    }
    let _ = writeln!(out, "  [[house]]\n  sampling_rate = {:?}", setting.rate);
    out
}

fn advice(answer: &Answer) -> String {
    let line = |level: Level, text: &str| {
        let word = if level == Level::Warning { "warning" } else { "note" };
        format!("{word}: {text}\n")
    };
    answer.advice.iter().map(|one| line(one.level, &one.text)).collect()
}

/// Breaks a line of words at `width`; lines that are indented or drawn are left as they are.
fn wrap(out: &mut String, line: &str, width: usize) {
    if line.chars().count() <= width || line.starts_with(' ') {
        out.push_str(line);
        out.push('\n');
        return;
    }
    let mut column = 0;
    for word in line.split(' ') {
        let long = word.chars().count();
        if column > 0 && column + 1 + long > width {
            out.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += long;
    }
    out.push('\n');
}
