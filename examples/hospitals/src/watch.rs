//! Follows the hospitals' progress files, and shows the rounds as they end.
//!
//! In a real federation each of these files stays in its house; here they all lie on this machine. Of the figures in them
//! only times, sizes and epsilon are used: the loss that is shown is the example's own, on public rows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use adapter::Adapter;
use anyhow::bail;
use client::progress::Seconds;
use serde::Deserialize;

use crate::children::Children;
use crate::clear::Point;
use crate::plan::{Plan, SHOWN_EVERY};
use crate::progress::Ui;
use crate::task::Task;

const POLL: Duration = Duration::from_millis(50);
/// Beyond the deadlines of an attempt.
const PATIENCE: Duration = Duration::from_secs(180);

/// One line of a progress file, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
struct Line {
    round: u32,
    phase: String,
    #[serde(default)]
    seconds: Seconds,
    epsilon: Option<f64>,
    #[serde(default)]
    bytes_up: u64,
    reason: Option<String>,
}

/// The houses that are followed.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    houses: Vec<House>,
    first: Option<(u32, Instant)>,
    last: Option<(u32, Instant)>,
}

#[derive(Debug)]
struct House {
    name: String,
    file: PathBuf,
    read: usize,
    applied: BTreeMap<u32, Line>,
    completed: bool,
    epsilon: f64,
}

/// What the progress files came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watched {
    /// Rounds that every house applied.
    pub rounds: u32,
    /// The largest epsilon of a house's ledger.
    pub epsilon: f64,
    /// Bytes of a contribution.
    pub bytes_up: u64,
    /// Means over rounds and houses.
    pub seconds: Seconds,
}

impl Watch {
    /// Follows a house's file, which may not be there yet.
    pub(crate) fn follow(&mut self, name: &str, file: PathBuf) {
        let name = name.to_owned();
        self.houses.push(House { name, file, read: 0, applied: BTreeMap::new(), completed: false, epsilon: 0.0 });
    }

    /// Shows rounds until every house has completed. Gives the curve on public rows back; `adapters` holds the houses'
    /// folders, each with its newest adapter.
    pub(crate) fn until_completed(
        &mut self,
        task: &mut Task,
        plan: &Plan,
        adapters: &Path,
        children: &mut Children,
        ui: Ui,
    ) -> anyhow::Result<Vec<Point>> {
        let bar = ui.steps("round", u64::from(plan.rounds));
        let (mut curve, mut shown, mut moved) = (Vec::<Point>::new(), 0, Instant::now());
        task.learner.classifier.set_threads(1);
        loop {
            children.check()?;
            for house in &mut self.houses {
                house.read(ui)?;
            }
            let round = self.houses.iter().map(House::round).min().unwrap_or(0);
            if round > shown {
                (shown, moved) = (round, Instant::now());
                self.first.get_or_insert((round, moved));
                self.last = Some((round, moved));
                if round % SHOWN_EVERY == 0 || round == plan.rounds || round == 1 {
                    curve.extend(self.evaluate(task, round, adapters)?);
                }
                let loss = curve.last().map_or_else(String::new, |point| {
                    format!("loss {:.3} on public rows (round {}), ", point.loss, point.round)
                });
                bar.at(u64::from(round), &format!("{loss}epsilon {:.2}", self.epsilon()));
            }
            if self.houses.iter().all(|house| house.completed) {
                return Ok(curve);
            }
            if moved.elapsed() > plan.submit_at + PATIENCE {
                bail!("no round ended for {} s; the logs are in the run's folder", moved.elapsed().as_secs());
            }
            thread::sleep(POLL);
        }
    }

    /// The loss of the newest adapter of the first house.
    fn evaluate(&self, task: &mut Task, round: u32, adapters: &Path) -> anyhow::Result<Option<Point>> {
        let Some(house) = self.houses.first() else { return Ok(None) };
        let adapter = Adapter::load_dir(&adapters.join(&house.name).join("adapter"), &task.model)?;
        let found = task.evaluate_public(&adapter)?;
        Ok(Some(Point { round, loss: found.loss, plain: found.plain }))
    }

    fn epsilon(&self) -> f64 {
        self.houses.iter().map(|house| house.epsilon).fold(0.0, f64::max)
    }

    /// Means over all that was seen.
    pub(crate) fn finish(&self) -> Watched {
        let lines: Vec<&Line> = self.houses.iter().flat_map(|house| house.applied.values()).collect();
        let mean =
            |of: &dyn Fn(&Line) -> f64| lines.iter().map(|line| of(line)).sum::<f64>() / lines.len().max(1) as f64;
        let total = match (self.first, self.last) {
            (Some((first, start)), Some((last, end))) if last > first => {
                (end - start).as_secs_f64() / f64::from(last - first)
            }
            _ => mean(&|line| line.seconds.total),
        };
        Watched {
            rounds: self.houses.iter().map(|house| house.applied.len() as u32).min().unwrap_or(0),
            epsilon: self.epsilon(),
            bytes_up: lines.iter().map(|line| line.bytes_up).max().unwrap_or(0),
            seconds: Seconds {
                train: mean(&|line| line.seconds.train),
                noise: mean(&|line| line.seconds.noise),
                encrypt: mean(&|line| line.seconds.encrypt),
                network: mean(&|line| line.seconds.network),
                check: mean(&|line| line.seconds.check),
                open: mean(&|line| line.seconds.open),
                total,
            },
        }
    }
}

impl House {
    /// The last round it applied.
    fn round(&self) -> u32 {
        self.applied.keys().next_back().copied().unwrap_or(0)
    }

    /// Takes up the whole lines that were added.
    fn read(&mut self, ui: Ui) -> anyhow::Result<()> {
        let bytes = match fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let fresh = bytes.get(self.read..).unwrap_or_default();
        let Some(end) = fresh.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        for line in fresh.get(..end).unwrap_or_default().split(|byte| *byte == b'\n') {
            let line: Line = serde_json::from_slice(line)?;
            self.epsilon = self.epsilon.max(line.epsilon.unwrap_or(0.0));
            match line.phase.as_str() {
                "applied" => drop(self.applied.insert(line.round, line)),
                "completed" => self.completed = true,
                "void" | "abandoned" | "refused" | "accused" => {
                    let why = line.reason.as_deref().unwrap_or("see its log");
                    ui.say(&format!("{}: round {} {}: {why}", self.name, line.round, line.phase));
                }
                _ => {}
            }
        }
        self.read += end + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_whole_lines_are_read_and_each_once() {
        let file = std::env::temp_dir().join(format!("hospitals-watch-{}.jsonl", std::process::id()));
        let mut watch = Watch::default();
        watch.follow("a", file.clone());
        let line = |round: u32, train: f64, end: &str| {
            let seconds = format!(r#"{{"train":{train},"noise":0,"encrypt":0,"network":0,"open":0,"total":0}}"#);
            format!(
                r#"{{"round":{round},"attempt":1,"phase":"applied","seconds":{seconds},"epsilon":0.5,"bytes_up":7,"loss":null,"reason":null}}{end}"#
            )
        };
        let Some(house) = watch.houses.first_mut() else { return };
        house.read(Ui).unwrap();
        fs::write(&file, line(1, 1.0, "\n") + &line(2, 3.0, "")).unwrap();
        house.read(Ui).unwrap();
        assert_eq!((house.round(), house.epsilon), (1, 0.5));
        fs::write(&file, line(1, 1.0, "\n") + &line(2, 3.0, "\n{\"round\":2,\"phase\":\"completed\"}\n")).unwrap();
        house.read(Ui).unwrap();
        assert!(house.completed);
        fs::remove_file(&file).unwrap();
        let watched = watch.finish();
        assert_eq!((watched.rounds, watched.bytes_up, watched.seconds.train), (2, 7, 2.0));
    }
}
