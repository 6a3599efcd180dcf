//! Follows the houses' progress files, and shows the rounds as they end.
//!
//! In a real federation each of these files stays in its house; here they all lie on this machine. Of the figures in them
//! only times, sizes and epsilon are used: a loss that is shown is the example's own, on public rows.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use client::progress::Seconds;
use protocol::Charter;
use serde::Deserialize;

use crate::children::Children;
use crate::progress::Ui;

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

    /// Shows rounds until every house has completed. `round` is told of each that all have applied, with the name of the first house, and says
    /// what else to show.
    pub(crate) fn until_completed(
        &mut self,
        charter: &Charter,
        children: &mut Children,
        ui: Ui,
        mut round: impl FnMut(u32, &str) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let bar = ui.steps("round", u64::from(charter.rounds.count));
        let (mut shown, mut moved) = (0, Instant::now());
        let submit_at = Duration::from_millis(charter.rounds.submit_at_ms);
        loop {
            children.check()?;
            for house in &mut self.houses {
                house.read(ui)?;
            }
            let applied = self.houses.iter().map(House::round).min().unwrap_or(0);
            if applied > shown {
                (shown, moved) = (applied, Instant::now());
                self.first.get_or_insert((applied, moved));
                self.last = Some((applied, moved));
                let more =
                    self.houses.first().map_or_else(|| Ok(String::new()), |house| round(applied, &house.name))?;
                bar.at(u64::from(applied), &format!("{more}epsilon {:.2}", self.epsilon()));
            }
            if self.houses.iter().all(|house| house.completed) {
                return Ok(());
            }
            if moved.elapsed() > submit_at + PATIENCE {
                bail!("no round ended for {} s; the logs are in the run's folder", moved.elapsed().as_secs());
            }
            thread::sleep(POLL);
        }
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
        let file = std::env::temp_dir().join(format!("examples-watch-{}.jsonl", std::process::id()));
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
