//! `serve`: runs the rounds until stopped.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::args::Serve;
use crate::Pace;
use crate::server::{self, Config};

pub(super) async fn serve(args: Serve) -> anyhow::Result<()> {
    let gather = Duration::from_secs(args.gather_seconds);
    let pace = Pace { gather, others: Pace::default().others.min(gather) };
    let config = Config { pace, ..Config::new(&args.dir, args.listen) };
    let mut handle = server::start(config).await?;
    println!("listening on https://{}", handle.addr);
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
