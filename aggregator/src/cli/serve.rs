//! `serve`: runs the rounds until stopped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use zeroize::Zeroizing;

use super::args::Serve;
use crate::Pace;
use crate::config::File;
use crate::observe::Observe;
use crate::server::{self, Config};

/// Where to listen when nobody says it.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7443);
/// Shortest token.
const TOKEN_CHARACTERS: usize = 32;

pub(super) async fn serve(args: Serve) -> anyhow::Result<()> {
    let File { serve: file, limits } = File::load(&args.dir)?;
    let gather = args.gather_seconds.or(file.gather_seconds).map_or(Pace::default().gather, Duration::from_secs);
    let pace = Pace { gather, others: Pace::default().others.min(gather) };
    let token = args.observe_token_file.or(file.observe_token_file).as_deref().map(token).transpose()?;
    let observe = args.observe.or(file.observe).map(|listen| Observe { listen, token });
    let listen = args.listen.or(file.listen).unwrap_or(LISTEN);
    let config = Config { pace, observe, limits, ..Config::new(&args.dir, listen) };
    let mut handle = server::start(config).await?;
    println!("listening on https://{}", handle.addr);
    if let Some(addr) = handle.observed {
        println!("observed at http://{addr}/");
    }
    if let Some(path) = &args.port_file {
        write_port(path, handle.addr.port()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    tokio::select! {
        () = stopped() => tracing::info!("stopping: calls under way may end"),
        result = handle.failed() => return Ok(result?),
    }
    handle.shutdown().await?;
    Ok(())
}

/// The token in a file, without the line's end.
fn token(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text =
        Zeroizing::new(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?);
    let token = text.trim();
    let plain =
        token.len() >= TOKEN_CHARACTERS && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    anyhow::ensure!(
        plain,
        "{}: a token has {TOKEN_CHARACTERS} letters, digits and hyphens or more; `openssl rand -hex 32` makes one",
        path.display()
    );
    Ok(Zeroizing::new(token.to_owned()))
}

/// Whole or not at all: a script may be watching for the file.
fn write_port(path: &Path, port: u16) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, format!("{port}\n"))?;
    std::fs::rename(&temporary, path)
}

/// Resolves at Ctrl-C or, on Unix, SIGTERM.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a handler for it, Ctrl-C ends the process by itself.
    let _ = tokio::signal::ctrl_c().await;
}
