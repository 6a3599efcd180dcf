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
pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7443);
/// Open files beside connections: the database, blobs, the page.
const DESCRIPTORS: u64 = 256;
/// Shortest token.
const TOKEN_CHARACTERS: usize = 32;

pub(super) async fn serve(args: Serve) -> anyhow::Result<()> {
    let File { serve: file, mut limits } = File::load(&args.dir)?;
    let gather = args.gather_seconds.or(file.gather_seconds).map_or(Pace::default().gather, Duration::from_secs);
    let pace = Pace { gather, others: Pace::default().others.min(gather) };
    let token = args.observe_token_file.or(file.observe_token_file).as_deref().map(token).transpose()?;
    let observe = args.observe.or(file.observe).map(|listen| Observe { listen, token });
    let listen = args.listen.or(file.listen).unwrap_or(LISTEN);
    let wanted = u64::from(limits.connections) + DESCRIPTORS;
    if let Some(limit) = descriptors(wanted) {
        limits.connections = limits.connections.min(within(limit));
        tracing::warn!(
            limit,
            wanted,
            connections = limits.connections,
            "this process may open too few files for limits.connections, and takes so many connections only: raise its limit (LimitNOFILE of systemd), or lower that"
        );
    }
    let config = Config { pace, observe, limits, ..Config::new(&args.dir, listen) };
    let mut handle = server::start(config).await?;
    println!("listening on https://{}", handle.addr);
    if let Some(addr) = handle.observed {
        println!("observed at http://{addr}/");
    }
    if let Some(path) = &args.port_file {
        let port = format!("{}\n", handle.addr.port());
        super::replace(path, port.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    tokio::select! {
        () = stopped() => tracing::info!("stopping: calls under way may end"),
        result = handle.failed() => return Ok(result?),
    }
    handle.shutdown().await?;
    Ok(())
}

/// Asks for so many open files; gives what there are, where those are fewer.
fn descriptors(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let reachable = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let current = current.unwrap_or(u64::MAX);
    if current < reachable && setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum }).is_err() {
        return Some(current);
    }
    let now = current.max(reachable);
    (now < wanted).then_some(now)
}

/// Connections of a process that may open so many files: those of others must not take the ones that the round is kept in.
fn within(files: u64) -> u32 {
    let connections = files.saturating_sub(DESCRIPTORS.min(files / 2)).max(1);
    u32::try_from(connections).unwrap_or(u32::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_round() {
        assert_eq!([0, 1, 64, 512, 1_024, 10_255].map(within), [1, 1, 32, 256, 768, 9_999]);
    }
}
