//! The program `plainchant-client`.

mod approve;
mod check;
mod doctor;
mod evaluate;
mod join;
mod ledger;
mod prove;
mod record;
mod run;
mod standing;
mod status;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use tracing_subscriber::EnvFilter;

use crate::round::RunError;

/// Exit code of a command or configuration that cannot work.
const USAGE: u8 = 2;
/// Exit code of what may work later (EX_TEMPFAIL).
const TRY_LATER: u8 = 75;

/// Takes part in a Plainchant federation with a house's own data, which never leaves the house.
#[derive(Debug, Parser)]
#[command(name = "plainchant-client", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  plainchant-client join my-house --invitation-file invitation.txt
  plainchant-client charter show my-house
  plainchant-client charter approve my-house DIGEST
  $EDITOR my-house/client.toml        # data file, model, your limits
  plainchant-client roster show my-house    # compare with the other houses, then `roster approve`
  plainchant-client doctor my-house   # proxy, firewall, certificate, clock, disk, model: what IT is asked
  plainchant-client prove my-house --out proof    # what leaves this house, shown with a canary
  plainchant-client check my-house    # every bad row, by line, before anything is trained
  plainchant-client run my-house
  plainchant-client ledger my-house
  plainchant-client evaluate my-house --data unseen.tsv
  plainchant-client verify record.plainchant --dir my-house    # is this the record that my house took part in?
  plainchant-client evidence my-house --out for-the-board
  HTTPS_PROXY=http://proxy.hospital.example:3128 plainchant-client join my-house --invitation-file invitation.txt

A proxy with a user and a password is better written in client.toml, `[network] proxy`, than in the environment.
Exit codes: 0 done, 1 failed, 2 wrong usage, configuration or policy, 75 try again later.
Logs go to standard error; RUST_LOG=debug shows more.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes this house's keys and exchanges an invitation for a certificate and the charter.
    #[command(after_help = "The keys are made here and stay here: only public keys and a signing request are sent. \
        Nothing is trained before `run`, and nothing is ever trained past the limits in client.toml.")]
    Join {
        /// The house's folder; it is made if need be.
        dir: PathBuf,
        /// The invitation, one line that starts with `plainchant1.`; it lets one member join, once.
        #[arg(long, conflicts_with = "invitation_file", required_unless_present = "invitation_file")]
        invitation: Option<String>,
        /// A file that holds the invitation: better, since other users of this machine can see command lines.
        #[arg(long)]
        invitation_file: Option<PathBuf>,
        /// The invitation's fingerprint as its sender read it out: with another one nothing is sent.
        #[arg(long)]
        fingerprint: Option<String>,
    },
    /// Shows the charter's terms and what changed from another, and approves it.
    #[command(subcommand)]
    Charter(approve::CharterCommand),
    /// Shows who the members are, by their keys' fingerprints, and approves them.
    #[command(subcommand)]
    Roster(approve::RosterCommand),
    /// Reads data and model as `run` does, and reports every bad row by line, before anything is trained or spent.
    Check {
        /// The house's folder, joined before.
        dir: PathBuf,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Looks at folder, network, machine, model and data, and says for each what to do where it fails.
    #[command(
        after_help = "Spends no privacy, announces nothing, fetches nothing, and works before the roster is approved.\n\
        Exit codes: 0 nothing failed, 75 only the network failed, 2 something else did."
    )]
    Doctor {
        /// The house's folder, joined before.
        dir: PathBuf,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Says how well an adapter does on this house's rows; the figures stay here.
    #[command(after_help = "Exact figures, without noise: what is published of them is not protected.")]
    Evaluate(evaluate::Evaluate),
    /// Says what the model with an adapter makes of texts, one JSON line each; they stay here.
    Predict(evaluate::Predict),
    /// Takes part in rounds until the federation is completed; can be stopped and started again at any time.
    #[command(after_help = "Dials out only; no port is opened. After a crash or a lost connection the same command \
        goes on where it was: a contribution is never made twice, a second cohort is never answered.")]
    Run {
        /// The house's folder, joined before.
        dir: PathBuf,
        /// Appends one JSON line an event to this file: round, phase, seconds, epsilon. It stays in the house.
        #[arg(long)]
        progress: Option<PathBuf>,
        /// Does what `check` does, and stops.
        #[arg(long, conflicts_with = "progress")]
        check: bool,
    },
    /// Shows the federation, the charter's terms, and where this house stands.
    Status {
        /// The house's folder.
        dir: PathBuf,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Shows what this house has spent of its privacy, round by round.
    #[command(after_help = "A round is in the ledger before its training starts, and counts as spent from then on, \
        whatever becomes of it.")]
    Ledger {
        /// The house's folder.
        dir: PathBuf,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Checks a record's file (`plainchant-aggregator log --out`), offline, and names the first entry that is wrong.
    #[command(
        after_help = "With --dir also against what that house keeps: the head that it saw, what it promised and signed, its ledger, its \
        charter and roster. Two records that an aggregator signed are told apart by that.\n\
        Exit codes: 0 it holds, 1 it does not, 2 the file or folder cannot be read."
    )]
    Verify {
        /// The record's file.
        file: PathBuf,
        /// The house's folder.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Writes a folder for a governance board: policy, epsilon spent, who took part, cohorts, own contributions; signed, and to read.
    #[command(after_help = "No secrets and no data are in it. The name of the data file and of its unit column are.")]
    Evidence {
        /// The house's folder.
        dir: PathBuf,
        /// The folder to make.
        #[arg(long)]
        out: PathBuf,
        /// The record's file; left out, the aggregator is asked for all of it.
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
    },
    /// Shows what leaves this house: sends a canary through all that a contribution goes through, and looks at every byte of it.
    #[command(
        after_help = "Reads no row and no model, spends no epsilon, and sends nothing to anybody: the far end is on this machine. For an officer \
        who reads no code: FOLDER/proof.html. What left is there too, for tools of your own; the report is signed by this house's key.\n\
        Exit codes: 0 all is as it should be, 1 something is not, 2 this house would not run under this charter."
    )]
    Prove {
        /// The house's folder, joined before.
        dir: PathBuf,
        /// The folder to make.
        #[arg(long)]
        out: PathBuf,
    },
    /// Uses nothing of this house's data until `resume`: a client that runs heeds it before its next step.
    Pause {
        /// The house's folder.
        dir: PathBuf,
    },
    /// Takes part again.
    Resume {
        /// The house's folder.
        dir: PathBuf,
    },
    /// Leaves the federation for good; says first what that takes back and what not.
    Leave {
        /// The house's folder.
        dir: PathBuf,
        /// Leaves, and does not only say what that means.
        #[arg(long)]
        yes: bool,
    },
    /// Prints a script with which a shell completes this program's commands and flags.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

const COMPLETIONS_HELP: &str = "\
  bash: ... completions bash > /usr/share/bash-completion/completions/plainchant-client
  zsh:  ... completions zsh > /usr/share/zsh/site-functions/_plainchant-client
  fish: ... completions fish > /usr/share/fish/vendor_completions.d/plainchant-client.fish";

/// How a command failed: its message and its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Something went wrong here.
    pub(crate) fn failed(error: impl ToString) -> Self {
        Self { message: error.to_string(), code: 1 }
    }

    /// The command, the configuration or the policy cannot work.
    pub(crate) fn usage(error: impl ToString) -> Self {
        Self { message: error.to_string(), code: USAGE }
    }

    /// It may work later.
    pub(crate) fn later(error: impl ToString) -> Self {
        Self { message: error.to_string(), code: TRY_LATER }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            // What the network did not give may come later; another model must be written down.
            RunError::Model(ref error) if error.is_passing() => Self::later(error),
            RunError::Identity(_)
            | RunError::Config(_)
            | RunError::Connect(_)
            | RunError::Policy(_)
            | RunError::Refused(_)
            | RunError::NoTrainer(_)
            | RunError::UnapprovedRoster { .. }
            | RunError::NothingApproved { .. }
            | RunError::NotLetIn(_)
            | RunError::CertificateEnded { .. }
            | RunError::Model(_)
            | RunError::Train(_)
            | RunError::Standing(_)
            | RunError::Left
            | RunError::OtherVersion(_)
            | RunError::Terms(_) => Self::usage(error),
            RunError::Lost(_) | RunError::OlderCopy(_) | RunError::Store(crate::store::StoreError::InUse(_)) => {
                Self::later(error)
            }
            _ => Self::failed(error),
        }
    }
}

/// Runs the program with these arguments, the first of them its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(args.into_iter().collect())
}

/// Not generic, so that its code is made in this crate, once.
fn run_with(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Nowhere is left to complain to when this fails.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    start_logs();
    let result = match cli.command {
        Command::Join { dir, invitation, invitation_file, fingerprint } => {
            join::run(&dir, invitation, invitation_file, fingerprint.as_deref())
        }
        Command::Charter(command) => approve::charter(&command),
        Command::Roster(command) => approve::roster(&command),
        Command::Check { dir, json } => check::run(&dir, json),
        Command::Doctor { dir, json } => doctor::run(&dir, json),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Predict(args) => evaluate::predict(&args),
        Command::Run { dir, check: true, .. } => check::run(&dir, false),
        Command::Run { dir, progress, check: false } => run::run(&dir, progress),
        Command::Status { dir, json } => status::run(&dir, json),
        Command::Ledger { dir, json } => ledger::run(&dir, json),
        Command::Verify { file, dir } => record::verify(&file, dir.as_deref()),
        Command::Evidence { dir, out, record: file } => record::evidence(&dir, &out, file.as_deref()),
        Command::Prove { dir, out } => prove::run(&dir, &out),
        Command::Pause { dir } => standing::pause(&dir),
        Command::Resume { dir } => standing::resume(&dir),
        Command::Leave { dir, yes } => standing::leave(&dir, yes),
        Command::Completions { shell } => completions(shell),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("plainchant-client: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn start_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A program that embeds this one may have set its own.
    let _ = if std::io::stderr().is_terminal() { logs.with_target(false).try_init() } else { logs.json().try_init() };
}

fn completions(shell: Shell) -> Result<(), Failure> {
    print!("{}", program::completions(shell, Cli::command(), "plainchant-client"));
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_tell_usage_from_failure() {
        let code = |args: &[&str]| format!("{:?}", run(args.iter().map(OsString::from)));
        let expected = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(&["plainchant-client", "--help"]), expected(0));
        assert_eq!(code(&["plainchant-client", "walk"]), expected(2));
        assert_eq!(code(&["plainchant-client", "join", "x"]), expected(2));
        assert_eq!(code(&["plainchant-client", "run", "/nowhere/at/all"]), expected(2));
    }
}
