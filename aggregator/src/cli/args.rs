//! The command line, and its help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Runs a Plainchant federation: houses train on data that stays with them, and only sums of encrypted updates are
/// ever opened.
///
/// The first five minutes:
///
///   plainchant-aggregator charter new my-charter.toml --template classification
///   plainchant-aggregator charter check my-charter.toml
///   plainchant-aggregator init fed --charter my-charter.toml
///   plainchant-aggregator serve fed --listen 0.0.0.0:7443
///   plainchant-aggregator invite fed st-mary --url https://builder.example:7443
///   plainchant-aggregator status fed
///   plainchant-aggregator export fed adapter
///
/// Exit codes: 0 done, 1 a record is not what it should be or a server does not serve, 2 something in the command or a file must change, 75 try again later.
#[derive(Debug, Parser)]
#[command(name = "plainchant-aggregator", version, verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Say more; twice for everything. PLAINCHANT_LOG takes a filter such as `aggregator=debug`.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(super) verbose: u8,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a charter to begin with, or say what one costs.
    #[command(subcommand)]
    Charter(super::charter::CharterCommand),
    /// Make an aggregator in a new directory: keys, certificates, database, charter.
    Init(Init),
    /// Print an invitation for one member of the charter.
    Invite(Invite),
    /// Run the rounds until stopped, as `aggregator.toml` in the directory says; flags go before it. Ctrl-C or SIGTERM lets calls under way end; a restart goes on where it was.
    Serve(Serve),
    /// Show who has joined, the round, the last outcome and the privacy spent.
    Status(Status),
    /// Ask a running server whether it serves: for health checks of containers and for monitoring.
    Health(Health),
    /// Let a house take part again that is isolated: `status` shows who is, and why.
    Readmit(Readmit),
    /// Let a member in no more: its certificates stop working within seconds, also beside a running server.
    Revoke(Revoke),
    /// Write the final adapter as a PEFT directory.
    Export(Export),
    /// Say how well the final adapter, or another, does on rows of your own.
    #[cfg(feature = "evaluate")]
    Evaluate(super::evaluate::Evaluate),
    /// Print the signed checkpoint of the federation's record, or write all of the record to a file; also beside a running server.
    Log(Log),
    /// Check a record's file, offline, and name the first entry that is wrong.
    Verify(Verify),
    /// Print what a charter says of a base model: its weights' digest and its sizes, as a section to paste.
    Digest(Digest),
    /// Print a script with which a shell completes this program's commands and flags.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

const COMPLETIONS_HELP: &str = "\
  bash: ... completions bash > /usr/share/bash-completion/completions/plainchant-aggregator
  zsh:  ... completions zsh > /usr/share/zsh/site-functions/_plainchant-aggregator
  fish: ... completions fish > /usr/share/fish/vendor_completions.d/plainchant-aggregator.fish";

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The directory to make; one that holds an aggregator is refused.
    pub(super) dir: PathBuf,
    /// The contract. Its `aggregator_key` line is filled in, all else stays byte for byte. Default: a sample that
    /// explains every key.
    #[arg(long, value_name = "FILE")]
    pub(super) charter: Option<PathBuf>,
    /// A name or address to put into the server's certificate beside localhost; may be repeated. Plainchant's own
    /// client does not need it.
    #[arg(long = "host", value_name = "HOST")]
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// The aggregator's directory.
    pub(super) dir: PathBuf,
    /// A member's name, as the charter has it.
    pub(super) name: String,
    /// Where the member reaches this aggregator, https://HOST:PORT.
    #[arg(long, value_parser = https)]
    pub(super) url: String,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The aggregator's directory.
    pub(super) dir: PathBuf,
    /// Where to listen; port 0 picks a free one. Default: what aggregator.toml says, else 127.0.0.1:7443.
    #[arg(long, env = "PLAINCHANT_LISTEN")]
    pub(super) listen: Option<SocketAddr>,
    /// Write the port to this file once connections are taken.
    #[arg(long, value_name = "FILE")]
    pub(super) port_file: Option<PathBuf>,
    /// Serve a read-only page, /status.json and /metrics (Prometheus) here, over plain HTTP; nowhere by default.
    #[arg(long, value_name = "ADDRESS", env = "PLAINCHANT_OBSERVE")]
    pub(super) observe: Option<SocketAddr>,
    /// A file with the token that callers of --observe must show; needed where others reach its address.
    #[arg(long, value_name = "FILE", env = "PLAINCHANT_OBSERVE_TOKEN_FILE")]
    pub(super) observe_token_file: Option<PathBuf>,
    /// Once enough houses are ready: seconds to wait for the others. Default: what aggregator.toml says, else 20.
    #[arg(long, value_name = "SECONDS", env = "PLAINCHANT_GATHER_SECONDS")]
    pub(super) gather_seconds: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// The aggregator's directory.
    pub(super) dir: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    pub(super) json: bool,
    /// Show it anew every two seconds, until stopped.
    #[arg(long, conflicts_with = "json")]
    pub(super) watch: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it serves, 1 it does not or was not reached, 2 the folder or the command must change."
)]
pub(super) struct Health {
    /// The aggregator's directory: its authority's certificate says which server is believed. No key is read.
    pub(super) dir: PathBuf,
    /// Where the server listens; one that listens everywhere is asked at this machine's own address. Default: as for `serve`.
    #[arg(long, env = "PLAINCHANT_LISTEN")]
    pub(super) listen: Option<SocketAddr>,
    /// Seconds to wait for an answer.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) seconds: u64,
}

#[derive(Debug, Args)]
pub(super) struct Readmit {
    /// The aggregator's directory.
    pub(super) dir: PathBuf,
    /// The house's name.
    pub(super) name: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A key was stolen, or somebody has left. `invite` lets a revoked member come back with the same keys; with others before \
    the roster is complete only: then they need another roster, and so another federation."
)]
pub(super) struct Revoke {
    /// The aggregator's directory.
    pub(super) dir: PathBuf,
    /// The member's name.
    pub(super) name: String,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The aggregator's directory.
    pub(super) dir: PathBuf,
    /// Where to write `adapter_config.json` and `adapter_model.safetensors`.
    pub(super) out: PathBuf,
    /// For a language model: the base model, a Hugging Face folder or a hub id. OUT is then the whole model, with the adapter in its
    /// weights.
    #[arg(long, value_name = "MODEL")]
    pub(super) merge_into: Option<String>,
    /// The base model, a Hugging Face folder or a hub id: needed where the charter trains its biases (lora.bias), which PEFT's files hold as sums.
    #[arg(long, value_name = "MODEL", conflicts_with = "merge_into")]
    pub(super) model: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Log {
    /// The aggregator's directory.
    pub(super) dir: PathBuf,
    /// Write the record here: charter, roster, every attempt with the signed messages that prove it, and the checkpoint. No secrets are in
    /// it; it shows who took part in what.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A record that was made up whole, with keys of its maker, holds too: compare the digests of charter and roster that are printed with \
    those of the members. Exit code 1: the record is not what it should be."
)]
pub(super) struct Verify {
    /// A file that `log --out` wrote.
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Digest {
    /// The base model: a Hugging Face folder, or an id on the hub (ORG/NAME, ORG/NAME@REVISION), which is fetched.
    pub(super) model: String,
    /// One JSON object instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

fn https(text: &str) -> Result<String, String> {
    if text.starts_with("https://") && text.len() > "https://".len() {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err("write https://HOST:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_address_without_tls_is_refused() {
        assert!(https("http://builder.example").is_err());
        assert!(https("https://").is_err());
        assert_eq!(https("https://builder.example:7443/").as_deref(), Ok("https://builder.example:7443"));
    }
}
