//! An aggregator on a loopback port, and members made by hand: every message built here, none by our client.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::Duration;

use aggregator::identity::SERVER_NAME;
use aggregator::limits::Limits;
use aggregator::observe::Observe;
use aggregator::server::{self, Config, Handle};
use aggregator::store::CrashHook;
use ed25519_dalek::{Signer as _, SigningKey};
use protocol::{Announcement, Charter, HouseName, Invitation, Message as _, Signed, Signer};
use protos::v1;
use protos::v1::submit_request::Part;
use protos::version::Version;
use rcgen::{CertificateParams, KeyPair};
use secure_sum::{Committee, SealingKey};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

#[path = "member.rs"]
mod member;
#[path = "opened.rs"]
pub mod opened;
#[path = "raw.rs"]
pub mod raw;
#[path = "relay.rs"]
pub mod relay;
#[path = "round.rs"]
pub mod round;

pub use member::Member;

pub const HOUSES: [&str; 3] = ["abbey", "borough", "county"];

/// Three houses, two of them and more open, 1 round, policy `aggregator`.
pub const CHARTER: &str = r#"
name = "test-federation"
protocol_version = 1
aggregator_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
[model]
name = "tiny"
sha256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
architecture = "bert"
num_hidden_layers = 1
hidden_size = 8
intermediate_size = 16
labels = ["eye", "ear", "nose"]
max_tokens = 16
[lora]
r = 2
lora_alpha = 4.0
target_modules = ["query", "value"]
modules_to_save = ["classifier"]
seed = 1
[optimizer]
kind = "sgd"
learning_rate = 1.0
momentum = 0.0
[privacy]
mode = "record-shared"
epsilon = 8.0
delta = 1e-5
clipping_norm = 1.0
integer_norm = 1024
clamp = 8192
noise_multiplier = 1.0
colluders = 1
[rounds]
count = 1
min_cohort = 3
max_cohort = 3
may_vanish = 0
submit_at_ms = 1
close_ms = 20000
open_ms = 40000
max_attempts = 2
[committee]
threshold = 3
[release]
policy = "aggregator"
[[house]]
name = "abbey"
sampling_rate = 0.01
nominal_batch = 4
[[house]]
name = "borough"
sampling_rate = 0.01
nominal_batch = 4
[[house]]
name = "county"
sampling_rate = 0.01
nominal_batch = 4
"#;

/// A directory with an aggregator, and its server.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub charter: Charter,
    pub authority: Vec<u8>,
    pub server: Option<Handle>,
    /// Of the server, where it is not the program's.
    pub blob_bytes: Option<usize>,
    /// Likewise.
    pub limits: Limits,
    /// Called at every durable change.
    pub crash: Option<CrashHook>,
    /// Likewise.
    pub version: Version,
}

impl Site {
    pub async fn new(charter: &str) -> Self {
        Self::at(tempfile::tempdir().unwrap(), charter).await
    }

    /// In this folder.
    pub async fn new_in(folder: &std::path::Path, charter: &str) -> Self {
        Self::at(tempfile::tempdir_in(folder).unwrap(), charter).await
    }

    async fn at(dir: tempfile::TempDir, charter: &str) -> Self {
        let home =
            aggregator::setup::init(&dir.path().join("fed"), Some(charter), &[], &mut rand::rng()).await.unwrap();
        home.store.close().await;
        let authority = home.identity.authority_der().to_vec();
        Self {
            dir,
            charter: home.charter,
            authority,
            server: None,
            blob_bytes: None,
            limits: Limits::default(),
            crash: None,
            version: Version::PRESENT,
        }
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("fed")
    }

    pub async fn home(&self) -> aggregator::setup::Home {
        aggregator::setup::open(&self.path()).await.unwrap()
    }

    pub async fn serve(&mut self) -> SocketAddr {
        let mut config = Config::new(self.path(), "127.0.0.1:0".parse().unwrap());
        config.pace.gather = Duration::from_millis(100);
        config.blob_bytes = self.blob_bytes.unwrap_or(config.blob_bytes);
        config.observe = Some(Observe { listen: "127.0.0.1:0".parse().unwrap(), token: None });
        config.limits = self.limits.clone();
        config.crash = self.crash.clone();
        config.version = self.version;
        let handle = server::start(config).await.unwrap();
        let addr = handle.addr;
        self.server = Some(handle);
        addr
    }

    /// Ends the server as a crash would and starts it again; members connect anew.
    pub async fn restart(&mut self, members: &mut [Member]) {
        self.server.take().unwrap().kill().await;
        let addr = self.serve().await;
        for member in members {
            member.connect(addr, &self.authority);
        }
    }

    pub async fn invite(&self, name: &str) -> Invitation {
        let home = self.home().await;
        home.invite(&HouseName::new(name).unwrap(), "https://127.0.0.1:1", &mut rand::rng()).await.unwrap()
    }
}

pub fn channel(addr: SocketAddr, authority: &[u8], member: Option<(&str, &KeyPair)>) -> Channel {
    let pem = pem(authority);
    let mut tls = ClientTlsConfig::new().domain_name(SERVER_NAME).ca_certificate(Certificate::from_pem(pem));
    if let Some((certificate, key)) = member {
        tls = tls.identity(tonic::transport::Identity::from_pem(certificate, key.serialize_pem()));
    }
    Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap().connect_lazy()
}

pub fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// A well-formed, signed request to join.
pub fn join_request(name: &str, token: &[u8], tls: &KeyPair, secret: u8, mailbox: &SealingKey) -> v1::JoinRequest {
    let csr = CertificateParams::default().serialize_request(tls).unwrap();
    let mut request = v1::JoinRequest {
        name: name.into(),
        token: token.to_vec().into(),
        signing_request: csr.der().to_vec().into(),
        signing_key: signer(name, secret).public_key().as_bytes().to_vec().into(),
        mailbox_key: mailbox.public().to_bytes()[1..].to_vec().into(),
        signature: Vec::new().into(),
    };
    sign(&mut request, secret);
    request
}

/// Signs a request to join (anew).
pub fn sign(request: &mut v1::JoinRequest, secret: u8) {
    let key = SigningKey::from_bytes(&[secret; 32]);
    request.signature = key.sign(&protos::join::signed_bytes(request)).to_bytes().to_vec().into();
}

pub fn signer(name: &str, secret: u8) -> Signer {
    Signer::new(HouseName::new(name).unwrap(), &[secret; 32])
}

/// Values of a house: both signs, different for each.
pub fn values(house: usize, count: usize) -> Vec<i64> {
    (0..count as i64).map(|i| (house as i64 * 7_919 + i * 613) % 16_001 - 8_000).collect()
}

/// All members have joined and are ready, with `count` one-time keys each; the first attempt is announced.
pub async fn announced(site: &mut Site, count: u64) -> (Vec<Member>, Signed<Announcement>) {
    let addr = site.serve().await;
    let mut members = Vec::new();
    for (secret, name) in (1..).zip(HOUSES) {
        let mut member = Member::join(site, addr, name, secret).await;
        member.offer_keys(site.charter.digest(), count).await;
        members.push(member);
    }
    let (charter, roster) = (site.charter.digest(), members[0].roster().await.digest());
    for member in &mut members {
        member.ready(charter, roster, 1).await.unwrap();
    }
    let announcement = members[0].announcement().await;
    (members, announcement)
}

/// The body in a submission.
pub fn body_of(parts: &[v1::SubmitRequest]) -> Vec<u8> {
    let run = |part: &v1::SubmitRequest| match &part.part {
        Some(Part::Run(run)) => run.data.to_vec(),
        _ => Vec::new(),
    };
    parts.iter().flat_map(run).collect()
}

pub fn committee(announcement: &Announcement) -> Committee {
    Committee::new(u8::try_from(announcement.committee.len()).unwrap(), 3).unwrap()
}

/// The broken rule's name in a status.
pub fn rule(status: &Status) -> String {
    status.metadata().get(protos::rule::KEY).unwrap().to_str().unwrap().to_owned()
}
