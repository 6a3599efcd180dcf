//! A federation whose houses reach the aggregator through tinyproxy only, with and without a password.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::join::{JoinError, join};
use common::{Federation, HOUSES, all_completed, logs};
use protocol::HouseName;

const ALL: &[usize] = &[0, 1, 2, 3];

/// tinyproxy on this machine, which lets tunnels through to one port.
struct Tinyproxy {
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Tinyproxy {
    /// `None` where it is not installed.
    fn start(to: SocketAddr, more: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (file, log) = (folder.path().join("tinyproxy.conf"), folder.path().join("log"));
        let to = to.port();
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 100\nLogLevel Connect\nLogFile {log:?}\nConnectPort {to}\n{more}"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(&file).stdout(Stdio::null());
        let process = match command.spawn() {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("SKIPPED: tinyproxy is not installed (Debian: apt-get install tinyproxy)");
                return None;
            }
            Err(error) => panic!("tinyproxy: {error}"),
        };
        let proxy = Self { process, folder, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(proxy);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("tinyproxy does not listen: {}", proxy.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How many tunnels to `to` it was asked for.
    fn asked(&self, to: SocketAddr) -> usize {
        self.log().matches(&format!("CONNECT {to} HTTP/1.1")).count()
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A whole round, joining and all, and what the proxy says of it.
async fn a_round_through(more: &str, user: &str) {
    logs();
    let mut proxy = None;
    let federation = Federation::by_way_of("clients", |aggregator| {
        proxy = Tinyproxy::start(aggregator, more);
        proxy.as_ref().map(|proxy| network(user, proxy.port)).unwrap_or_default()
    })
    .await;
    let Some(proxy) = proxy else { return federation.stop().await.close().unwrap() };
    assert_eq!(proxy.asked(federation.addr), HOUSES.len(), "each house has joined through it: {}", proxy.log());
    let abbey = federation.house("abbey");
    let said = tokio::task::spawn_blocking(move || doctor(&abbey)).await.unwrap();
    for check in ["proxy", "port", "tls"] {
        let found = said["checks"].as_array().unwrap().iter().find(|one| one["check"] == check).unwrap();
        assert_eq!(found["verdict"], "ok", "{found}");
    }
    assert!(!said.to_string().contains("s3"), "{said}");
    let before = proxy.asked(federation.addr);
    assert_eq!(before, HOUSES.len() + 2, "the doctor looks through it: {}", proxy.log());
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    let completed = all_completed(tasks.into()).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL]).digest());
    assert!(proxy.asked(federation.addr) >= before + HOUSES.len(), "each house has run through it: {}", proxy.log());
    federation.stop().await;
}

fn doctor(dir: &std::path::Path) -> serde_json::Value {
    let program = Command::new(env!("CARGO_BIN_EXE_plainchant-client")).arg("doctor").arg(dir).arg("--json").output();
    serde_json::from_slice(&program.unwrap().stdout).unwrap()
}

/// What is written in `client.toml`: only there may a proxy be for this machine's own addresses.
fn network(user: &str, port: u16) -> String {
    format!("[network]\nproxy = \"http://{user}127.0.0.1:{port}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_round_goes_through_a_proxy_without_a_password() {
    a_round_through("", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_round_goes_through_a_proxy_with_a_password_that_is_percent_encoded() {
    a_round_through("BasicAuth ward s3-cret\n", "ward:s3%2Dcret@").await;
}

/// No connection goes around a proxy that refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_proxy_is_said_with_what_to_do_and_nothing_goes_around_it() {
    logs();
    let federation = Federation::without_spare_attempts("clients").await;
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let password = "BasicAuth ward s3-cret\n";
    for (to, user, said) in [
        (federation.addr, "", "wants a user and a password (status 407)"),
        (federation.addr, "ward:wr0ng@", "does not take this user and password (status 401)"),
        (elsewhere, "ward:s3-cret@", "(status 403): ask who runs it to allow CONNECT to that host and port"),
    ] {
        let Some(proxy) = Tinyproxy::start(to, password) else { break };
        let url = format!("https://{}", federation.addr);
        let name = HouseName::new("abbey").unwrap();
        home.revoke(&name).await.unwrap();
        let invitation = home.invite(&name, &url, &mut rand::rng()).await.unwrap();
        let dir = federation.house("abbey");
        let policy = "[policy]\napprove = \"any\"\nepsilon_ceiling = 8.0\nmin_cohort = 3\n";
        std::fs::write(dir.join("client.toml"), format!("{policy}{}", network(user, proxy.port))).unwrap();
        let Err(error @ JoinError::Unavailable { .. }) = join(&dir, &invitation).await.map(drop) else {
            panic!("joined past the proxy: {}", proxy.log())
        };
        let error = error.to_string();
        let named = format!("the proxy http://127.0.0.1:{}", proxy.port);
        assert!(error.contains(said) && error.contains(&named), "{error}");
        assert_eq!(error.matches(said).count(), 1, "{error}");
        assert!(!error.contains("wr0ng") && !error.contains("s3-cret"), "{error}");
    }
    home.store.close().await;
    federation.stop().await;
}
