//! `plainchant-lab budget` as its users meet it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

use lab::budget::{Grid, Mode, Question, Setting, Unit, Wanted, answer};
use serde_json::Value;

fn lab(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_plainchant-lab")).args(arguments.split_whitespace()).output().unwrap()
}

fn json(arguments: &str) -> Value {
    let output = lab(&format!("budget --json {arguments}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The message and the exit code of a command that fails.
fn refusal(arguments: &str) -> (String, i32) {
    let output = lab(arguments);
    assert!(output.stdout.is_empty());
    (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

fn codes(answer: &Value) -> Vec<String> {
    answer["advice"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

fn setting() -> Setting {
    Setting {
        mode: Mode::RecordShared,
        rate: 0.02,
        delta: 1e-5,
        cohort: 10,
        may_vanish: 0,
        colluders: 1,
        steps: 1,
        grid: None,
        units: Some(3200),
        unit: Unit::Person,
        groups: vec![2, 3],
    }
}

#[test]
fn epsilons_are_those_of_dp_accounting() {
    let fixture = include_str!("../../privacy/tests/fixtures/dp_accounting.json");
    let fixture: Value = serde_json::from_str(fixture).unwrap();
    let mut checked = 0;
    for one in fixture["settings"].as_array().unwrap() {
        let number = |key: &str| one[key].as_f64().unwrap();
        let (rate, expected) = (number("rate"), number("integrated"));
        let wanted = Wanted::Epsilon { noise_multiplier: number("noise"), rounds: number("steps") as u64 };
        let question = Question { wanted, setting: Setting { rate, delta: number("delta"), ..setting() } };
        let found = answer(&question).unwrap().by[0].epsilon;
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} and not {expected} for {one}");
        checked += 1;
    }
    assert!(checked >= 60);
}

#[test]
fn the_three_questions_agree_with_each_other() {
    let noise = json("--epsilon 3 --rounds 60 --rate 0.02");
    let z = noise["noise_multiplier"].as_f64().unwrap();
    assert!(noise["epsilon"].as_f64().unwrap() <= 3.0 && noise["wanted"] == "noise_multiplier");
    let less = z - 1e-3;
    assert!(json(&format!("--noise-multiplier {less} --rounds 60 --rate 0.02"))["epsilon"].as_f64().unwrap() > 3.0);
    let rounds = json(&format!("--epsilon 3 --noise-multiplier {z} --rate 0.02"))["rounds"].as_u64().unwrap();
    assert!(rounds >= 60);
    let epsilon = |rounds: u64| {
        json(&format!("--noise-multiplier {z} --rounds {rounds} --rate 0.02"))["epsilon"].as_f64().unwrap()
    };
    assert!(epsilon(rounds) <= 3.0 && epsilon(rounds + 1) > 3.0);
}

#[test]
fn local_steps_are_charged_one_by_one() {
    let local = json("--mode record-local --steps 4 --noise-multiplier 1 --rounds 30 --rate 0.02");
    let plain = json("--noise-multiplier 1 --rounds 120 --rate 0.02");
    assert_eq!(local["epsilon"], plain["epsilon"]);
    assert_eq!(
        json("--mode record-local --steps 4 --epsilon 2 --noise-multiplier 1 --rate 0.02")["rounds"].as_u64(),
        { json("--epsilon 2 --noise-multiplier 1 --rate 0.02")["rounds"].as_u64().map(|rounds| rounds / 4) }
    );
}

#[test]
fn noise_factors_are_those_of_the_design() {
    for (flags, factor) in [
        ("--cohort 4", (4.0f64 / 3.0).sqrt()),
        ("--cohort 4 --may-vanish 1", 2f64.sqrt()),
        ("--cohort 10", (10.0f64 / 9.0).sqrt()),
        ("--cohort 4 --mode record-local", 2.0),
    ] {
        let found = json(&format!("--epsilon 3 --rounds 60 --rate 0.02 {flags}"));
        assert!((found["noise_factor"].as_f64().unwrap() - factor).abs() < 1e-12, "{flags}");
    }
}

/// Of one full-batch round the privacy profile is known exactly: that of a Gaussian with the sensitivity of the group
/// (Balle, Wang 2018, theorem 8). A bound for the group is not below it, and the chain bound is within reach of it.
#[test]
fn what_is_said_for_groups_is_above_the_exact_epsilon() {
    let exact = |sensitivity: f64, delta: f64| {
        let tail = |x: f64| 0.5 * erfc(x / std::f64::consts::SQRT_2);
        let profile =
            |e: f64| tail(e / sensitivity - sensitivity / 2.0) - e.exp() * tail(e / sensitivity + sensitivity / 2.0);
        let (mut low, mut high) = (0.0, 200.0);
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if profile(middle) > delta { low = middle } else { high = middle }
        }
        high
    };
    let wanted = Wanted::Epsilon { noise_multiplier: 4.0, rounds: 1 };
    let found = answer(&Question { wanted, setting: Setting { rate: 1.0, ..setting() } }).unwrap();
    for group in found.groups {
        let (bound, exact) = (group.epsilon.unwrap(), exact(group.size as f64 / 4.0, 1e-5));
        assert!(bound >= exact && bound < exact * 1.25, "{}: {bound} for {exact}", group.size);
    }
}

/// The complementary error function by its continued fraction (Abramowitz, Stegun 7.1.14) for x > 1, else by its series.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x > 1.0 {
        let fraction = (1..=200).rev().fold(x, |below, k| x + f64::from(k) / 2.0 / below);
        return (-x * x).exp() / fraction / std::f64::consts::PI.sqrt();
    }
    let (mut sum, mut term) = (0.0, x);
    for n in 0..60 {
        sum += term / f64::from(2 * n + 1);
        term *= -x * x / f64::from(n + 1);
    }
    1.0 - 2.0 / std::f64::consts::PI.sqrt() * sum
}

/// Little noise over many full batches: epsilon is in the hundreds of thousands, and a search for a group's must end.
#[test]
fn groups_of_a_budget_without_worth_are_answered_too() {
    let wanted = Wanted::Epsilon { noise_multiplier: 0.5, rounds: 100_000 };
    let found = answer(&Question { wanted, setting: Setting { rate: 1.0, ..setting() } }).unwrap();
    let one = found.by[0].epsilon;
    assert!(one > 1e5 && found.groups.iter().all(|group| group.epsilon.is_none_or(|several| several > one)));
}

#[test]
fn several_rows_cost_far_less_than_the_mixture_bound_alone_says() {
    let wanted = Wanted::Epsilon { noise_multiplier: 0.8, rounds: 60 };
    let found = answer(&Question { wanted, setting: setting() }).unwrap();
    // One unit that is sampled when either is, and moves the sum by two clipping norms.
    let either = privacy::accountant::Rounds::new(1.0 - 0.98 * 0.98, 0.4, 60);
    let mixture = privacy::accountant::epsilon(&[either], 1e-5).unwrap().epsilon;
    let pair = found.groups[0].epsilon.unwrap();
    assert!(pair > 2.0 * found.by[0].epsilon && pair < mixture / 2.0, "{pair} and {mixture}");
}

#[test]
fn an_expert_warns() {
    let warned = |flags: &str, code: &str| codes(&json(flags)).iter().any(|found| found == code);
    let plan = "--epsilon 3 --rounds 60 --rate 0.02";
    assert!(warned(&format!("{plan} --units 50000 --delta 1e-4"), "delta-above-1-over-n"));
    assert!(!warned(&format!("{plan} --units 5000"), "delta-above-1-over-n"));
    assert!(warned(&format!("{plan} --delta 0.01"), "delta-large"));
    assert!(warned("--epsilon 20 --rounds 60 --rate 0.02", "epsilon-large"));
    assert!(warned(plan, "unit-is-a-row"));
    assert!(!warned(&format!("{plan} --unit person"), "unit-is-a-row"));
    assert!(warned(plan, "poisson"));
    assert!(!warned("--epsilon 3 --rounds 60 --rate 1", "poisson"));
    assert!(warned(&format!("{plan} --units 20"), "batch-empty"));
    assert!(warned(&format!("{plan} --cohort 4 --may-vanish 1"), "noise-factor"));
    assert!(warned("--mode client --epsilon 8 --rounds 100", "unit-house"));
}

#[test]
fn mistakes_are_told_what_to_type_next() {
    for (arguments, said, code) in [
        ("budget --epsilon 3", "give two of --epsilon, --noise-multiplier and --rounds", 2),
        ("budget --epsilon 3 --rounds 60 --noise-multiplier 1 --rate 0.02", "(3 given)", 2),
        ("budget --epsilon 3 --rounds 60", "Give --rate", 2),
        ("budget --epsilon 3 --rounds 60 --batch 64", "Give --units too", 2),
        ("budget --epsilon 3 --rounds 60 --rate 0.1 --batch 64 --units 3200", "leave one out", 2),
        ("budget --epsilon 3 --rounds 60 --rate 0.02 --mode client", "write --rate 1, or leave --rate out", 2),
        ("budget --epsilon 3 --rounds 60 --rate 0.02 --cohort 3 --may-vanish 1", "write --cohort 4", 2),
        ("budget --epsilon 3 --rounds 60 --rate 0.02 --colluders 0", "at least 1", 2),
        ("budget --epsilon 3 --rounds 60 --rate 1.5", "sampling rate 1.5 is outside (0, 1]", 2),
        ("budget --epsilon -3 --rounds 60 --rate 0.02", "unexpected argument", 2),
        ("budget --epsilon=-3 --rounds 60 --rate 0.02", "epsilon -3 is not a positive finite number", 2),
        ("budget --epsilon NaN --rounds 60 --rate 0.02", "epsilon NaN is not a positive", 2),
        ("budget --epsilon 3 --rounds 0 --rate 0.02", "at least 1", 2),
        ("budget --epsilon 3 --rounds 60 --rate 0.02 --delta 1", "delta 1 is outside (0, 1)", 2),
        ("budget --epsilon 3 --rounds 60 --rate 0.02 --dimension 9000 --integer-norm 8", "write --integer-norm 16", 2),
        ("budget --epsilon 0.1 --noise-multiplier 0.5 --rate 0.5", "write a larger --epsilon", 1),
        ("budget --epsilon 3 --rounds 60 --rate 0.02 --plot plan.pdf", "ends in .svg or .png", 2),
        ("walk", "unrecognized subcommand", 2),
    ] {
        let (message, found) = refusal(arguments);
        assert!(message.contains(said), "{arguments}: {message}");
        assert_eq!(found, code, "{arguments}");
    }
}

#[test]
fn the_grid_that_is_advised_is_wide_enough() {
    let grid = |integer_norm| Some(Grid { dimension: 9000, integer_norm });
    let wanted = Wanted::NoiseMultiplier { epsilon: 3.0, rounds: 60 };
    let ask = |norm| answer(&Question { wanted, setting: Setting { grid: grid(norm), ..setting() } });
    let error = ask(8).unwrap_err().to_string();
    let advised: u64 = error.split("--integer-norm ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    ask(advised).unwrap();
    ask(advised - 1).unwrap_err();
}

#[test]
fn plots_and_their_tables_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("plots");
    let plan = "budget --epsilon 3 --rounds 60 --rate 0.02 --plot";
    assert!(lab(&format!("{plan} {}", target.display())).status.success());
    for name in ["epsilon-over-rounds", "epsilon-over-noise"] {
        let svg = std::fs::read_to_string(target.join(format!("{name}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("your plan") && svg.contains("<polyline"), "{name}");
        let png = std::fs::read(target.join(format!("{name}.png"))).unwrap();
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    }
    let points: Vec<lab::budget::CurvePoint> = lab::table::read(&target.join("budget.json")).unwrap();
    assert!(points.len() > 60 && target.join("budget.parquet").exists());
    let over = |accountant: &str| -> Vec<f64> {
        let fits = |point: &&lab::budget::CurvePoint| point.over == "rounds" && point.accountant == accountant;
        points.iter().filter(fits).map(|point| point.epsilon).collect()
    };
    let (rdp, pld) = (over("rdp"), over("pld"));
    assert!(rdp.is_sorted() && pld.is_sorted(), "epsilon grows with the rounds: {pld:?}");
    assert!(rdp.len() > 20 && rdp.iter().zip(&pld).all(|(rdp, pld)| pld < rdp), "PLD is tighter");
    let one = folder.path().join("plan.svg");
    assert!(lab(&format!("{plan} {}", one.display())).status.success() && one.exists());
}

/// A PNG holds ink where the line and the letters are: it is not a blank page.
#[test]
fn text_and_lines_reach_the_png() {
    let chart = |title: &str, points: Vec<(f64, f64)>| lab::plot::Chart {
        title: title.to_owned(),
        x: "x".to_owned(),
        y: "y".to_owned(),
        lines: vec![lab::plot::Line { name: "line".to_owned(), points, ..lab::plot::Line::default() }],
        mark: None,
        ..lab::plot::Chart::default()
    };
    let ink = |chart: lab::plot::Chart| {
        let bytes = lab::plot::png(&[chart]).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (1520, 960));
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels.chunks(3).filter(|pixel| pixel.iter().any(|&x| x < 128)).count()
    };
    let short = ink(chart("W", vec![(1.0, 1.0), (10.0, 1.1)]));
    let long = ink(chart("WWWWWWWWWWWWWWWW", vec![(1.0, 1.0), (10.0, 1.1)]));
    let no_line = ink(chart("W", vec![(1.0, 1.0)]));
    assert!(long > short + 1000 && short > no_line + 1000, "{long} {short} {no_line}");
    assert!(lab::plot::png(&[chart("none", vec![(0.0, f64::NAN)])]).is_err());
}

/// `LAB_GOLDEN=1` writes the golden files anew.
#[test]
fn help_is_as_it_was_read_last() {
    for (command, file) in [
        (None, "help"),
        (Some("budget"), "help-budget"),
        (Some("simulate"), "help-simulate"),
        (Some("sweep"), "help-sweep"),
        (Some("warm-up"), "help-warm-up"),
    ] {
        let path = format!("{}/tests/golden/{file}.txt", env!("CARGO_MANIFEST_DIR"));
        let found = lab::cli::help(command).unwrap();
        if std::env::var_os("LAB_GOLDEN").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(&path).unwrap(), "{path}");
    }
}
