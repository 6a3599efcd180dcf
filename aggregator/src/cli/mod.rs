//! The program `plainchant-aggregator`.

mod args;
mod charter;
mod digest;
#[cfg(feature = "evaluate")]
mod evaluate;
mod export;
mod health;
mod logging;
mod record;
mod serve;
mod show;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use protocol::{HouseName, Role};

use crate::isolation;
use crate::server::ServeError;
use crate::setup::{self, SetupError};
use args::{Arguments, Command, Init, Invite, Readmit, Revoke};

/// A record that does not hold, or a server that does not serve.
const FAILED: u8 = 1;
/// Wrong arguments, a wrong file, a directory that is in use.
const USAGE: u8 = 2;
/// It did not work now; the same command may work later.
const TRY_LATER: u8 = 75;

/// Runs the program with these arguments, the first of which is its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(args.into_iter().collect())
}

/// Not generic, so that its code is made in this crate, once.
fn run_with(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; nothing is left to do when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    logging::start(arguments.verbose);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")
        .and_then(|runtime| runtime.block_on(dispatch(arguments.command)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plainchant-aggregator: {}", program::with_causes(error.to_string(), error.source()));
            ExitCode::from(exit_code(&error))
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Charter(command) => charter::charter(command).await,
        Command::Init(args) => init(args).await,
        Command::Invite(args) => invite(args).await,
        Command::Serve(args) => serve::serve(args).await,
        Command::Status(args) => show::status(args).await,
        Command::Health(args) => health::health(args).await,
        Command::Readmit(args) => readmit(args).await,
        Command::Revoke(args) => revoke(args).await,
        Command::Export(args) => export::export(args).await,
        #[cfg(feature = "evaluate")]
        Command::Evaluate(args) => evaluate::run(args).await,
        Command::Log(args) => record::log(args).await,
        Command::Verify(args) => record::verify(&args),
        Command::Digest(args) => digest::digest(args).await,
        Command::Completions { shell } => completions(shell),
    }
}

async fn init(args: Init) -> anyhow::Result<()> {
    let template = match &args.charter {
        Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?),
        None => None,
    };
    let home = setup::init(&args.dir, template.as_deref(), &args.hosts, &mut rand::rng()).await?;
    let dir = args.dir.display();
    println!("{dir}: an aggregator for the federation `{}`", home.charter.name);
    println!("charter {}", home.charter.digest());
    println!();
    if template.is_none() {
        println!("Its charter is the sample. A charter is final once the first member is invited: to write your own,");
        println!("edit a copy of {dir}/{}, then `init` another directory with --charter COPY.", setup::CHARTER);
        println!();
    }
    println!("Next: plainchant-aggregator serve {dir} --listen 0.0.0.0:7443");
    println!("and   plainchant-aggregator invite {dir} NAME --url https://HOST:7443   for each of");
    for (name, _) in home.charter.members() {
        println!("      {name}");
    }
    home.store.close().await;
    Ok(())
}

async fn invite(args: Invite) -> anyhow::Result<()> {
    let name = member_name(&args.name)?;
    let home = setup::open(&args.dir).await?;
    let invitation = home.invite(&name, &args.url, &mut rand::rng()).await?;
    // Alone on standard output, so that a script can take it.
    println!("{invitation}");
    eprintln!("Hand this line to `{name}` as you would a password: it works once, within 7 days.");
    eprintln!("Read its fingerprint out to them, by telephone: {}", invitation.fingerprint());
    // In a file: other users of a machine can see command lines.
    eprintln!(
        "There, with the line in a FILE: plainchant-client join DIR --invitation-file FILE --fingerprint \"FINGERPRINT\""
    );
    home.store.close().await;
    Ok(())
}

async fn readmit(args: Readmit) -> anyhow::Result<()> {
    let name = member_name(&args.name)?;
    let home = setup::open(&args.dir).await?;
    let readmitted = isolation::readmit(&home.store, &name).await?;
    home.store.close().await;
    anyhow::ensure!(readmitted, "`{name}` is not isolated; `status` shows who is");
    println!("`{name}` may take part again, from the next attempt on");
    Ok(())
}

async fn revoke(args: Revoke) -> anyhow::Result<()> {
    let name = member_name(&args.name)?;
    let home = setup::open(&args.dir).await?;
    let revoked = async {
        let revoked = home.revoke(&name).await?;
        Ok::<_, SetupError>((revoked, crate::status::read(&home).await?))
    }
    .await;
    home.store.close().await;
    let ((certificates, invitations), status) = revoked?;
    println!(
        "`{name}` is let in no more: {certificates} certificates are revoked, {invitations} invitations withdrawn"
    );
    if let Some(reason) = status.stalled {
        eprintln!("no round can begin now: {reason}");
    }
    let in_committee = home.charter.members().any(|(member, role)| member == name && role != Role::Contributor);
    let keys = status.keys.iter().find(|(member, _)| member == name.as_str());
    if let Some((_, left)) = keys.filter(|_| in_committee) {
        eprintln!(
            "it is of the committee: {left} more attempts can begin with the one-time keys that it left, and none after them"
        );
    }
    Ok(())
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    print!("{}", program::completions(shell, Arguments::command(), "plainchant-aggregator"));
    Ok(())
}

/// Puts a file in place whole or not at all: a script may be watching for it.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, bytes)?;
    std::fs::rename(&beside, path)
}

/// A member's name as a person typed it.
fn member_name(name: &str) -> Result<HouseName, SetupError> {
    HouseName::new(name).map_err(|source| SetupError::Name { name: name.to_owned(), source })
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<protocol::log::Fault>() || error.is::<terms::RecordTermsError>() || error.is::<health::NotServing>() {
        return FAILED;
    }
    let later = error.chain().any(|cause| {
        cause.downcast_ref::<ServeError>().is_some_and(ServeError::is_passing)
            || cause.downcast_ref::<SetupError>().is_some_and(SetupError::is_passing)
            || cause.downcast_ref::<crate::store::StoreError>().is_some_and(crate::store::StoreError::is_passing)
            || cause.is::<NotYet>()
            || cause.downcast_ref::<hub::HubError>().is_some_and(hub::HubError::is_passing)
    });
    if later { TRY_LATER } else { USAGE }
}

/// The folder of a base model, fetched if need be.
async fn model_folder(model: &str) -> anyhow::Result<PathBuf> {
    let model = hub::Model::new(model);
    let found =
        tokio::task::spawn_blocking(move || hub::Hub::from_env().folder(&model).map_err(anyhow::Error::from)).await;
    found.context("the search for the model ended without a result")?
}

/// Something that is not there yet.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotYet(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_usage_from_trying_later() {
        let usage = anyhow::Error::from(SetupError::NoKeyLine);
        assert_eq!(exit_code(&usage), 2);
        let later = anyhow::Error::from(NotYet("no adapter".into())).context("export");
        assert_eq!(exit_code(&later), 75);
    }
}
