//! A federation on this machine: an aggregator that is a program of its own, and houses that have joined it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use protocol::{Charter, HouseName};
use tokio::task::JoinSet;

use crate::figures::Figures;

/// Joins under way at once.
const JOINS: usize = 16;
/// All houses come from one address.
const LIMITS: &str = "[limits]\nconnections = 40000\nconnections_per_address = 20000\n";
const CONFIG: &str = "[data]\nfile = \"none.tsv\"\n[training]\nmodel = \"none\"\n[policy]\napprove = \"any\"\nepsilon_ceiling = 8.0\nmin_cohort = 3\n";

/// The name of a house by its number.
pub(crate) fn name(house: usize) -> String {
    format!("house-{house}")
}

/// The aggregator's program, ended when this is dropped.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already when this fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(program: &Path, dir: &Path, address: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("serve").arg(dir).args(["--listen", address, "--gather-seconds", "600"]);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(dir.join("serve.log"))?);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self(child))
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures::of(self.0.id())
    }
}

/// A federation that everybody has joined.
pub(crate) struct Site {
    dir: PathBuf,
    pub(crate) charter: Charter,
    pub(crate) server: Server,
    pub(crate) joins_per_s: f64,
}

impl Site {
    /// Sets a federation up under `dir`, serves it with `program`, and lets so many houses join.
    pub(crate) async fn start(dir: &Path, program: &Path, charter: &str, houses: usize) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let own = dir.join("aggregator");
        let home = aggregator::setup::init(&own, Some(charter), &[], &mut rand::rng()).await?;
        std::fs::write(own.join("aggregator.toml"), LIMITS)?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (charter, url) = (home.charter.clone(), format!("https://{address}"));
        let mut invitations = Vec::with_capacity(houses);
        for house in 0..houses {
            invitations.push(home.invite(&HouseName::new(&name(house))?, &url, &mut rand::rng()).await?);
        }
        home.store.close().await;
        let server = Server::start(program, &own, &address.to_string())?;
        listens(address).await?;
        let began = Instant::now();
        let mut joins = JoinSet::new();
        for (house, invitation) in invitations.into_iter().enumerate() {
            if joins.len() >= JOINS
                && let Some(done) = joins.join_next().await
            {
                done??;
            }
            joins.spawn(join(dir.join(name(house)), invitation));
        }
        while let Some(done) = joins.join_next().await {
            done??;
        }
        Ok(Self { dir: dir.to_owned(), charter, server, joins_per_s: houses as f64 / began.elapsed().as_secs_f64() })
    }

    /// A house's folder.
    pub(crate) fn house(&self, house: usize) -> PathBuf {
        self.dir.join(name(house))
    }

    /// The aggregator's folder.
    pub(crate) fn aggregator(&self) -> PathBuf {
        self.dir.join("aggregator")
    }
}

async fn listens(address: SocketAddr) -> anyhow::Result<()> {
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(false, "the aggregator does not listen on {address}");
    Ok(())
}

async fn join(dir: PathBuf, invitation: protocol::Invitation) -> anyhow::Result<()> {
    client::join::join(&dir, &invitation).await?;
    Ok(std::fs::write(dir.join("client.toml"), CONFIG)?)
}
