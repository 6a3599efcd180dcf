//! `doctor`: what a house's machine and network must give, checked one by one before a federation waits for it.
//!
//! Nothing is written, announced, reserved or spent; the aggregator is asked for the roster only, as `roster show` does.

mod house;
mod machine;
mod network;

use std::path::Path;

use serde_json::{Value, json};

use super::{Failure, runtime};

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It can go on, and somebody should look.
    Warn,
    /// `run` would not work.
    Fail,
    /// As [`Verdict::Fail`], and it may work later with nothing changed here.
    Unreached,
    /// Not looked at, since something before it failed or is not needed.
    Skipped,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail | Self::Unreached => "FAIL",
            Self::Skipped => "skip",
        }
    }
}

/// What was found, printed as it comes; for scripts, at the end.
struct Report {
    as_json: bool,
    findings: Vec<Value>,
    failed: usize,
    unreached: usize,
}

impl Report {
    fn ok(&mut self, check: &str, said: impl ToString) {
        self.add(check, Verdict::Ok, &said.to_string(), "");
    }

    fn warn(&mut self, check: &str, said: impl ToString, todo: &str) {
        self.add(check, Verdict::Warn, &said.to_string(), todo);
    }

    fn fail(&mut self, check: &str, said: impl ToString, todo: &str) {
        self.add(check, Verdict::Fail, &said.to_string(), todo);
    }

    fn unreached(&mut self, check: &str, said: impl ToString, todo: &str) {
        self.add(check, Verdict::Unreached, &said.to_string(), todo);
    }

    fn skip(&mut self, checks: &[&str], why: &str) {
        for check in checks {
            self.add(check, Verdict::Skipped, why, "");
        }
    }

    fn add(&mut self, check: &str, verdict: Verdict, said: &str, todo: &str) {
        // Some of it comes from the network or a file, and may hold what a terminal obeys.
        let said: String = said.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        self.failed += usize::from(verdict == Verdict::Fail);
        self.unreached += usize::from(verdict == Verdict::Unreached);
        if self.as_json {
            self.findings
                .push(json!({ "check": check, "verdict": verdict.as_str().to_lowercase(), "said": said, "do": todo }));
            return;
        }
        println!("{:<5} {check:<12} {}", verdict.as_str(), said.replace('\n', "\n                   "));
        if !todo.is_empty() {
            println!("{:<18} do: {todo}", "");
        }
    }

    /// Exit 0 without a failure, 75 if only the network failed, else 2.
    fn end(self) -> Result<(), Failure> {
        let Self { as_json, findings, failed, unreached } = self;
        if as_json {
            println!("{}", json!({ "checks": findings, "failed": failed + unreached }));
        }
        match (failed, unreached) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::later(format!("{unreached} failed, all of the network; see above"))),
            _ => Err(Failure::usage(format!("{} failed; see above", failed + unreached))),
        }
    }
}

pub(super) fn run(dir: &Path, as_json: bool) -> Result<(), Failure> {
    let mut report = Report { as_json, findings: Vec::new(), failed: 0, unreached: 0 };
    let identity = house::folder(dir, &mut report);
    house::secrets(dir, &mut report);
    let config = house::config(dir, identity.as_ref(), &mut report);
    let (Some(identity), Some(config)) = (identity, config) else {
        report.skip(
            &[
                "address",
                "name",
                "port",
                "tls",
                "version",
                "certificate",
                "clock",
                "disk",
                "device",
                "model",
                "memory",
                "data",
            ],
            "the folder or client.toml comes first",
        );
        return report.end();
    };
    tell("looking for the aggregator");
    runtime()?.block_on(network::look(&identity, &config.network, &mut report));
    machine::disk(dir, &identity, &mut report);
    house::training(dir, &identity, &config, &mut report);
    report.end()
}

/// What a long check is about to do, for whoever waits.
fn tell(what: &str) {
    eprintln!("{what} ...");
}
