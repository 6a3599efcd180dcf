//! The aggregator and the houses as processes of their own: this program started again with a hidden first argument.
//!
//! A child holds the read end of a pipe and ends when its other end closes, so that none outlives this program, however
//! it ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// The hidden first argument of the model builder's program.
pub const AGGREGATOR: &str = "aggregator";
/// The hidden first argument of a house's program.
pub const CLIENT: &str = "client";

/// Set for a child that is to end with its parent.
const TIED: &str = "PLAINCHANT_EXAMPLE_CHILD";
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 12;

/// Runs one of the two programs if the first argument names it.
pub fn dispatch(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let first = args.next()?;
    let name = first.to_str()?;
    let program: fn(Vec<OsString>) -> ExitCode = match name {
        AGGREGATOR => aggregator_program,
        CLIENT => client_program,
        _ => return None,
    };
    if std::env::var_os(TIED).is_some() {
        thread::spawn(|| {
            // Nothing is ever written: the read ends when the parent does.
            let _ended = io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(1);
        });
    }
    let program_name = OsString::from(format!("plainchant-{name}"));
    Some(program(std::iter::once(program_name).chain(args).collect()))
}

fn aggregator_program(args: Vec<OsString>) -> ExitCode {
    aggregator::cli::run(args)
}

fn client_program(args: Vec<OsString>) -> ExitCode {
    client::cli::run(args)
}

/// Runs a program to its end and gives its standard output back.
///
/// # Errors
/// It cannot be started, or it fails: then with what it said.
pub fn call(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(std::env::current_exe()?)
        .arg(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` failed ({}):\n{}", args.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Running children; dropping them ends them.
#[derive(Debug, Default)]
pub struct Children(Vec<Running>);

#[derive(Debug)]
struct Running {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Children {
    /// Starts a child whose output and log go to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, name: &str, program: &str, args: &[&str], log: &Path) -> anyhow::Result<()> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(std::env::current_exe()?)
            .arg(program)
            .args(args)
            .env(TIED, "1")
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        self.0.push(Running { name: name.to_owned(), log: log.to_owned(), child });
        Ok(())
    }

    /// Sees to it that every child is running, or has ended well.
    ///
    /// # Errors
    /// The first one that failed, with the end of its log.
    pub fn check(&mut self) -> anyhow::Result<()> {
        for running in &mut self.0 {
            if let Some(status) = running.child.try_wait()?.filter(|status| !status.success()) {
                bail!(
                    "{} ended ({status}); {} ends with:\n{}",
                    running.name,
                    running.log.display(),
                    tail(&running.log)
                );
            }
        }
        Ok(())
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for running in &mut self.0 {
            // Closing its standard input tells it to end; a second later it is killed.
            drop(running.child.stdin.take());
        }
        let patience = Instant::now() + Duration::from_secs(1);
        for running in &mut self.0 {
            while Instant::now() < patience && matches!(running.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(20));
            }
            // Both fail only for a child that has ended already.
            let _killed = running.child.kill();
            let _reaped = running.child.wait();
        }
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_else(|error| format!("(cannot be read: {error})"));
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}
