//! The figures of a report, from the rows of its runs.

use std::collections::BTreeMap;

use crate::plot::{Chart, Line, Scale};
use crate::rows::{CurveRow, RunRow};
use crate::simulate::Finished;

/// A chart and what to read in it.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The chart.
    pub chart: Chart,
    /// A sentence or two.
    pub about: String,
}

/// Runs that differ in their seed only.
type Group<'a> = (String, Vec<&'a RunRow>);

/// The figures that these runs have something to say for.
#[must_use]
pub fn figures(finished: &Finished) -> Vec<Figure> {
    let all = [
        utility(&finished.runs, "Plain accuracy", |run| run.plain),
        utility(&finished.runs, "Macro accuracy", |run| run.macro_),
        convergence(finished),
        fairness(&finished.runs),
        cost(&finished.runs),
    ];
    all.into_iter().flatten().collect()
}

/// What tells two lines apart beside epsilon: the mode, and every value that is not the same in all runs.
fn label(run: &RunRow, runs: &[RunRow], with_epsilon: bool) -> String {
    let mut name = run.mode.clone();
    let mut add = |differs: bool, text: String| {
        if differs {
            name += &format!(", {text}");
        }
    };
    let any = |differs: fn(&RunRow, &RunRow) -> bool| runs.iter().any(|other| differs(run, other));
    if with_epsilon && run.epsilon.is_finite() {
        add(any(|a, b| a.epsilon != b.epsilon && b.epsilon.is_finite()), format!("epsilon {}", run.epsilon));
    }
    let private = run.epsilon.is_finite();
    add(
        private && any(|a, b| a.clipping_norm != b.clipping_norm && b.epsilon.is_finite()),
        format!("norm {}", run.clipping_norm),
    );
    add(any(|a, b| a.rank != b.rank), format!("rank {}", run.rank));
    add(any(|a, b| a.learning_rate != b.learning_rate), format!("rate {}", run.learning_rate));
    add(any(|a, b| a.clients != b.clients), format!("{} clients", run.clients));
    name
}

fn grouped(runs: &[RunRow], with_epsilon: bool) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in runs {
        let name = label(run, runs, with_epsilon);
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, own)) => own.push(run),
            None => groups.push((name, vec![run])),
        }
    }
    groups
}

/// Mean, and sample standard deviation (0 for a single one).
fn spread(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

/// Accuracy over epsilon; runs without privacy as a line across.
fn utility(runs: &[RunRow], what: &str, of: fn(&RunRow) -> f64) -> Option<Figure> {
    let epsilons: Vec<f64> = runs.iter().map(|run| run.epsilon).filter(|epsilon| epsilon.is_finite()).collect();
    let (low, high) = epsilons.iter().fold((f64::INFINITY, 0.0f64), |(low, high), e| (low.min(*e), high.max(*e)));
    let mut lines = Vec::new();
    for (name, own) in grouped(runs, false) {
        let mut by_epsilon: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for run in own {
            // Without privacy epsilon is infinite, or, read back from JSON, no number.
            let epsilon = if run.epsilon.is_finite() { run.epsilon } else { f64::INFINITY };
            by_epsilon.entry(epsilon.to_bits()).or_default().push(of(run));
        }
        let (mut points, mut errors) = (Vec::new(), Vec::new());
        for (epsilon, values) in by_epsilon {
            let (mean, deviation) = spread(&values);
            let epsilon = f64::from_bits(epsilon);
            let places = if epsilon.is_finite() {
                vec![epsilon]
            } else if low < high {
                vec![low, high]
            } else {
                vec![]
            };
            for place in places {
                points.push((place, mean));
                errors.push(deviation);
            }
        }
        points.retain(|point| point.0.is_finite());
        if !points.is_empty() {
            lines.push(Line { name, points, errors });
        }
    }
    if lines.is_empty() || epsilons.is_empty() {
        return None;
    }
    let chart = Chart {
        title: format!("{what} over epsilon"),
        x: "epsilon of the whole run".to_owned(),
        y: what.to_lowercase(),
        scales: [Scale::Logarithmic, Scale::Linear],
        lines,
        mark: None,
    };
    let about = "Each point is the mean over the seeds, its bar one standard deviation of a run up and down. Runs without privacy are drawn across.";
    Some(Figure { chart, about: about.to_owned() })
}

fn convergence(finished: &Finished) -> Option<Figure> {
    let lines = grouped(&finished.runs, true).into_iter().map(|(name, own)| {
        let mut by_round: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        let is_own = |row: &&CurveRow| own.iter().any(|run| run.run == row.run);
        for row in finished.curve.iter().filter(is_own) {
            by_round.entry(row.round).or_default().push(row.plain);
        }
        let points: Vec<(f64, f64)> =
            by_round.into_iter().map(|(round, values)| (round as f64, spread(&values).0)).collect();
        Line { name, points, errors: Vec::new() }
    });
    let lines: Vec<Line> = lines.filter(|line| !line.points.is_empty()).collect();
    if lines.is_empty() {
        return None;
    }
    let chart = Chart {
        title: "Accuracy while training".to_owned(),
        x: "round".to_owned(),
        y: "plain accuracy".to_owned(),
        scales: [Scale::Linear, Scale::Linear],
        lines,
        mark: None,
    };
    Some(Figure { chart, about: "Accuracy on the test rows after so many rounds, mean over the seeds.".to_owned() })
}

/// The worst client, and the mean of the clients, by accuracy on each client's own held-out rows.
fn fairness(runs: &[RunRow]) -> Option<Figure> {
    let told: Vec<&RunRow> = runs.iter().filter(|run| run.worst_client.is_finite()).collect();
    let mut lines = Vec::new();
    for (name, own) in grouped(runs, true) {
        let own: Vec<&&RunRow> = own.iter().filter(|run| run.worst_client.is_finite()).collect();
        if own.is_empty() {
            continue;
        }
        let (spreads, _) = spread(&own.iter().map(|run| run.client_spread).collect::<Vec<_>>());
        let (worst, error) = spread(&own.iter().map(|run| run.worst_client).collect::<Vec<_>>());
        lines.push(Line { name, points: vec![(spreads, worst)], errors: vec![error] });
    }
    if told.is_empty() || lines.is_empty() {
        return None;
    }
    let chart = Chart {
        title: "Fairness between clients".to_owned(),
        x: "standard deviation of the clients' accuracies".to_owned(),
        y: "accuracy of the worst client".to_owned(),
        scales: [Scale::Linear, Scale::Linear],
        lines,
        mark: None,
    };
    let about = "By each client's own held-out rows. Up and to the left is fairer: no client is far below the others.";
    Some(Figure { chart, about: about.to_owned() })
}

fn cost(runs: &[RunRow]) -> Option<Figure> {
    let lines = grouped(runs, true).into_iter().map(|(name, own)| {
        let (seconds, _) = spread(&own.iter().map(|run| run.seconds).collect::<Vec<_>>());
        let each = |run: &&RunRow| run.bytes_up as f64 / 1e6 / (run.clients * run.rounds).max(1) as f64;
        let (megabytes, _) = spread(&own.iter().map(each).collect::<Vec<_>>());
        Line { name, points: vec![(seconds, megabytes)], errors: Vec::new() }
    });
    let lines: Vec<Line> = lines.collect();
    let chart = Chart {
        title: "Cost".to_owned(),
        x: "seconds of the whole run in this process".to_owned(),
        y: "MB up for each client and round".to_owned(),
        scales: [Scale::Linear, Scale::Linear],
        lines,
        mark: None,
    };
    Some(Figure {
        chart,
        about: "Seconds are those of one machine that plays everybody; bytes are what the client program would send."
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mode: &str, epsilon: f64, seed: u64, plain: f64) -> RunRow {
        RunRow {
            run: format!("{mode}-{epsilon}-{seed}"),
            mode: mode.to_owned(),
            epsilon,
            delta: 1e-5,
            accountant: "rdp".to_owned(),
            noise_multiplier: 1.0,
            rounds: 2,
            clients: 4,
            clipping_norm: 1.0,
            rank: 8,
            learning_rate: 1.0,
            seed,
            plain,
            macro_: plain / 2.0,
            macro_f1: plain / 3.0,
            loss: 1.0,
            worst_client: 0.1,
            client_spread: 0.2,
            seconds: 3.0,
            bytes_up: 16_000_000,
            noise: "shares".to_owned(),
        }
    }

    #[test]
    fn accuracy_over_epsilon_has_means_and_deviations_by_hand_and_no_privacy_across() {
        let runs = vec![
            run("record-shared", 1.0, 1, 0.5),
            run("record-shared", 1.0, 2, 0.7),
            run("record-shared", 8.0, 1, 0.8),
            run("none", f64::INFINITY, 1, 0.9),
        ];
        let finished = Finished { runs, curve: Vec::new(), clients: Vec::new() };
        let all = figures(&finished);
        // Nothing was scored while training: that figure is left out.
        assert_eq!(all.len(), 4);
        let lines = &all[0].chart.lines;
        assert_eq!(lines[0].name, "record-shared");
        assert!((lines[0].points[0].1 - 0.6).abs() < 1e-12 && (lines[0].errors[0] - 0.02f64.sqrt()).abs() < 1e-12);
        assert_eq!((lines[0].points[1], lines[0].errors[1]), ((8.0, 0.8), 0.0));
        assert_eq!(lines[1].points, [(1.0, 0.9), (8.0, 0.9)]);
        // 16 MB over four clients and two rounds.
        assert_eq!(all[3].chart.lines[0].points[0], (3.0, 2.0));
        assert_eq!(all[3].chart.lines[0].name, "record-shared, epsilon 1");
    }
}
