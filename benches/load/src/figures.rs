//! What a process takes, as Linux says it in /proc.

use anyhow::Context as _;

/// A process by its number; `self` is this one.
pub(crate) struct Figures(String);

impl Figures {
    pub(crate) fn of(process: impl ToString) -> Self {
        Self(process.to_string())
    }

    /// A figure of /proc/PID/status, in MiB; `VmHWM` is the most memory that it has held since [`Self::forget_most`].
    pub(crate) fn mib(&self, key: &str) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.with_context(|| format!("no {key} in /proc"))? / 1024.0)
    }

    /// Seconds of processors so far.
    pub(crate) fn processor_seconds(&self) -> anyhow::Result<f64> {
        /// Clock ticks a second, as all Linux machines have them.
        const TICKS: f64 = 100.0;
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // After the name, which may hold anything: state is the first, utime and stime are the 12th and 13th.
        let (_, rest) = text.rsplit_once(')').context("/proc/PID/stat")?;
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
    }

    /// From now on the most memory is counted anew; gives what it was.
    pub(crate) fn forget_most(&self) -> anyhow::Result<f64> {
        let most = self.mib("VmHWM")?;
        std::fs::write(format!("/proc/{}/clear_refs", self.0), "5")?;
        Ok(most)
    }
}
