//! Disk and memory.

use std::fs;
use std::path::Path;

use protocol::RoundNumber;

use super::Report;
use crate::files;
use crate::identity::Identity;
use crate::round::{RunError, room_needed};
use crate::store;
use terms::Terms;

const MIB: u64 = 1 << 20;

/// Free bytes against what a round needs.
pub(super) fn disk(dir: &Path, identity: &Identity, report: &mut Report) {
    let needed_and_free = || -> Result<(u64, u64), RunError> {
        let charter = &identity.charter;
        let next = store::peek_memory(dir)?.map_or(RoundNumber::FIRST, |memory| memory.next_round);
        // No round comes after the last.
        let round = if next.get() > charter.rounds.count { RoundNumber::FIRST } else { next };
        let needed = room_needed(charter, round, &Terms::of(charter)?.first_state()?)?;
        Ok((needed, files::room(dir)?))
    };
    match needed_and_free() {
        Err(error) => report.fail("disk", error, "see that the folder's disk can be read"),
        Ok((needed, free)) => {
            let said = format!("{} MiB free, and a round needs {} MiB", free / MIB, needed.div_ceil(MIB));
            if free < needed {
                report.fail("disk", said, "make room on the disk of this folder");
            } else {
                report.ok("disk", said);
            }
        }
    }
}

/// Available memory against the model's files.
pub(super) fn memory(folder: &Path, report: &mut Report) {
    let size = adapter::weight_files(folder).ok().and_then(|names| {
        names.iter().map(|name| fs::metadata(folder.join(name)).ok().map(|file| file.len())).sum::<Option<u64>>()
    });
    let Some(size) = size else {
        report.skip(&["memory"], "the model's files come first");
        return;
    };
    let available = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(available);
    let Some(available) = available else {
        report.warn("memory", "what is free is not known on this system", "");
        return;
    };
    let said = format!("{} MiB available, and the model's files have {} MiB", available / MIB, size.div_ceil(MIB));
    if available < size {
        report.fail("memory", said, "end other programs, or take a machine with more memory");
    } else if available < 2 * size {
        report.warn("memory", said, "training needs more than the model alone: see that nothing else runs beside it");
    } else {
        report.ok("memory", said);
    }
}

/// `MemAvailable` of Linux's `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::available;

    #[test]
    fn available_memory_is_read_in_bytes_and_nothing_is_made_up() {
        let text = "MemTotal:       16384 kB\nMemFree:          512 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available(text), Some(2 << 20));
        for other in ["", "MemFree: 5 kB\n", "MemAvailable: many kB\n", "MemAvailable: 18446744073709551615 kB\n"] {
            assert_eq!(available(other), None, "{other}");
        }
    }
}
