//! A whole federation on this machine: an aggregator and four houses over TLS sockets, with a trainer of known integers.
#![allow(dead_code, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adapter::State;
use aggregator::FalseSum;
use aggregator::server::{self, Handle};
use aggregator::store::CrashHook;
use client::connection::Backoff;
use client::progress::Progress;
use client::round::{Completed, Home, Options, RunError};
use client::trainer::Trainer;
use protocol::{Charter, HouseName};
use protos::version::Version;
use terms::{RoundShape, Terms};
use tokio::task::JoinHandle;
use training::{Part, TrainError, Trained};
use zeroize::Zeroizing;

pub(crate) const HOUSES: [&str; 4] = ["abbey", "borough", "county", "dale"];

/// A model of 1 layer and a grid on which sums of these tests are exact in 32-bit floats.
const CHARTER: &str = r#"
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
epsilon = 1.5
delta = 1e-5
clipping_norm = 1.0
integer_norm = 1024
clamp = 8192
noise_multiplier = 1.0
colluders = 1
[rounds]
count = COUNT
min_cohort = 3
max_cohort = 4
may_vanish = VANISH
submit_at_ms = 400
close_ms = CLOSE
open_ms = 20000
max_attempts = 20
[committee]
threshold = 3
[release]
policy = "POLICY"
"#;

const CONFIG: &str = r#"
[data]
file = "none.tsv"
[training]
model = "none"
[policy]
approve = "any"
epsilon_ceiling = 8.0
min_cohort = 3
hand_over = true
"#;

const TRUSTEE: &str = "[policy]\napprove = \"any\"\nepsilon_ceiling = 8.0\nmin_cohort = 3\n";

/// An aggregator's folder, its server, and the houses' folders.
pub(crate) struct Federation {
    dir: tempfile::TempDir,
    pub(crate) addr: SocketAddr,
    pub(crate) charter: Charter,
    /// What the aggregator does wrong, from its next start on.
    pub(crate) fault: Option<FalseSum>,
    /// The version of the protocol that it says, likewise.
    pub(crate) version: Version,
    /// What is called at its durable changes, likewise.
    pub(crate) hook: Option<CrashHook>,
    server: Option<Handle>,
}

/// Contributes [`integers`].
pub(crate) struct Known(pub(crate) usize);

impl Trainer for Known {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let count = state.adapter().trainable_len();
        let mut values = integers(self.0, part.number.get(), count);
        // Nothing is held out.
        values.resize(count + RoundShape::of(part.charter, part.number, count).metrics, 0);
        let (train, noise) = (Duration::ZERO, Duration::ZERO);
        Ok(Trained { values: Zeroizing::new(values), loss: None, train, noise })
    }
}

/// What house number `house` contributes to a round: different for every house, round and coordinate, of both signs.
pub(crate) fn integers(house: usize, round: u32, count: usize) -> Vec<i64> {
    let base = i64::from(round) * 100_003 + house as i64 * 7_919;
    (0..count as i64).map(|i| (base + i * 613) % 16_001 - 8_000).collect()
}

impl Federation {
    /// A running aggregator with four houses that have joined.
    pub(crate) async fn new(policy: &str, rounds: u32, may_vanish: u32) -> Self {
        Self::with_trustees(policy, rounds, may_vanish, &[]).await
    }

    /// One round, and no attempt to spare.
    pub(crate) async fn without_spare_attempts(policy: &str) -> Self {
        Self::under(CHARTER, policy, 1, 0, &[]).await
    }

    /// Rounds whose contributions leave four seconds after the announcement.
    pub(crate) async fn departing_late(rounds: u32) -> Self {
        let template =
            CHARTER.replace("submit_at_ms = 400", "submit_at_ms = 4000").replace("close_ms = CLOSE", "close_ms = 9000");
        Self::under(&with_spare_attempts(&template, rounds), "aggregator", rounds, 1, &[]).await
    }

    /// The same, where a check of the sum waits 4 s for a house that has gone, and the others open without it.
    pub(crate) async fn impatient(policy: &str) -> Self {
        let template = CHARTER.replace("open_ms = 20000", "open_ms = 6000");
        Self::under(&with_spare_attempts(&template, 1), policy, 1, 1, &[]).await
    }

    /// The same, and members that hold key shares but no data.
    pub(crate) async fn with_trustees(policy: &str, rounds: u32, may_vanish: u32, trustees: &[&str]) -> Self {
        Self::under(&with_spare_attempts(CHARTER, rounds), policy, rounds, may_vanish, trustees).await
    }

    /// Two rounds of mode `client`, with adaptive clipping and an evaluation in the second, or of mode `mode` without the former.
    pub(crate) async fn of_mode(mode: &str, strategy: &str) -> Self {
        let client = mode == "client";
        let sections = [
            if client && strategy != "rolora" {
                "[adaptive_clipping]\nquantile = 0.5\nlearning_rate = 0.2\nnoise_multiplier = 8.0\n"
            } else {
                ""
            },
            "[evaluation]\nevery = 2\nheld_out = 0.2\nnoise_multiplier = 30.0\nloss_bound = 8.0\nbuckets = 4\n",
            "[local]\nsteps = STEPS\nlearning_rate = 0.25\nbatch = 4\n",
        ];
        let template = CHARTER
            .replace("mode = \"record-shared\"", &format!("mode = \"{mode}\""))
            .replace("epsilon = 1.5", "epsilon = 8.0")
            .replace("noise_multiplier = 1.0", "noise_multiplier = 2.0")
            .replace("integer_norm = 1024", "integer_norm = 2048")
            .replace("clamp = 8192", "clamp = 16384")
            .replace("[lora]\n", &format!("[lora]\nstrategy = {strategy:?}\n"));
        // By turns of different lengths: B of 16 outputs, A of 8 inputs.
        let template =
            if strategy == "rolora" { template.replace("\"value\"]", "\"intermediate.dense\"]") } else { template };
        let steps = if mode == "record-shared" { "1" } else { "2" };
        let template = template + &sections.concat().replace("STEPS", steps);
        Self::under(&template, "aggregator", 2, 0, &[]).await
    }

    /// Six rounds, all evaluated, that end early after two without a lower loss.
    pub(crate) async fn of_little_patience(policy: &str) -> Self {
        let evaluation =
            "[evaluation]\nevery = 1\nheld_out = 0.2\nnoise_multiplier = 30.0\nloss_bound = 8.0\npatience = 2\n";
        let template =
            CHARTER.replace("epsilon = 1.5", "epsilon = 8.0").replace("clamp = 8192", "clamp = 65536") + evaluation;
        Self::under(&with_spare_attempts(&template, 6), policy, 6, 0, &["notary"]).await
    }

    /// Two rounds of a Llama with these weights.
    pub(crate) async fn of_language_model(weights: &protocol::Digest) -> Self {
        let template = CHARTER
            .replace("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", &weights.to_string())
            .replace("\"bert\"\nnum_hidden_layers = 1", "\"qwen2\"\nnum_hidden_layers = 2")
            .replace("hidden_size = 8", "hidden_size = 32")
            .replace("intermediate_size = 16", "intermediate_size = 44")
            .replace(
                "labels = [\"eye\", \"ear\", \"nose\"]",
                "labels = []\nattention = { num_attention_heads = 4, num_key_value_heads = 2, head_dim = 8 }",
            )
            .replace("[\"query\", \"value\"]", "[\"q_proj\", \"v_proj\", \"down_proj\"]")
            .replace("[\"classifier\"]", "[]\nbias = \"lora_only\"");
        Self::under(&with_spare_attempts(&template, 2), "aggregator", 2, 0, &[]).await
    }

    /// Two rounds, counted by privacy-loss distributions.
    pub(crate) async fn by_loss_distributions() -> Self {
        let template = CHARTER.replace("epsilon = 1.5", "accountant = \"pld\"\nepsilon = 1.5");
        Self::under(&template, "aggregator", 2, 0, &[]).await
    }

    /// Many rounds, every second one with an evaluation, each of which may be tried as often as it takes: nothing runs yet, and nobody has joined. Each house's invitation
    /// is in the file `invitation` of its folder.
    pub(crate) async fn that_dies_often(policy: &str, rounds: u32) -> Self {
        let template = CHARTER
            .replace("epsilon = 1.5", "epsilon = 8.0")
            .replace("max_attempts = 20", "max_attempts = 1000\ncharged = 400");
        let template =
            template + "[evaluation]\nevery = 2\nheld_out = 0.2\nnoise_multiplier = 30.0\nloss_bound = 8.0\n";
        let (federation, invitations) = Self::prepared(&template, policy, rounds, 1, &[]).await;
        for (house, invitation) in invitations {
            let dir = federation.house(&house);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("client.toml"), CONFIG).unwrap();
            std::fs::write(dir.join("invitation"), invitation).unwrap();
        }
        federation
    }

    /// One round, whose houses join and take part by the way that their `client.toml` says: these lines are its end.
    pub(crate) async fn by_way_of(policy: &str, way: impl FnOnce(SocketAddr) -> String) -> Self {
        let (mut federation, invitations) = Self::prepared(CHARTER, policy, 1, 0, &[]).await;
        federation.serve().await;
        let way = way(federation.addr);
        for (house, invitation) in invitations {
            let dir = federation.house(&house);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("client.toml"), format!("{CONFIG}{way}")).unwrap();
            client::join::join(&dir, &invitation.parse().unwrap()).await.unwrap();
        }
        federation
    }

    /// Three rounds that nobody may miss, and that are open for an hour: what is in the way of one is not passed over.
    pub(crate) async fn that_waits() -> Self {
        let template = with_spare_attempts(CHARTER, 3)
            .replace("submit_at_ms = 400", "submit_at_ms = 3000")
            .replace("close_ms = CLOSE", "close_ms = 3600000")
            .replace("open_ms = 20000", "open_ms = 7200000");
        Self::under(&template, "aggregator", 3, 0, &[]).await
    }

    /// A copy of a federation's folders, at an address of its own; nothing runs yet.
    pub(crate) fn copy_of(folders: &Path, charter: &Charter, before: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(folders, dir.path());
        let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for house in HOUSES {
            let membership = dir.path().join(house).join("membership.toml");
            let text = std::fs::read_to_string(&membership).unwrap();
            std::fs::write(&membership, text.replace(&before.to_string(), &addr.to_string())).unwrap();
        }
        Self { dir, addr, charter: charter.clone(), fault: None, version: Version::PRESENT, hook: None, server: None }
    }

    /// Starts the aggregator, if it can.
    pub(crate) async fn try_serve(&mut self) -> Result<(), server::ServeError> {
        self.server = Some(server::start(server_config(&self.house("aggregator"), self.addr)).await?);
        Ok(())
    }

    /// Ends the aggregator, if it runs.
    pub(crate) async fn end(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    /// Rounds of `houses` houses, the first five of which hold key shares, and a fifth may vanish; each joins by the address that `way` gives.
    pub(crate) async fn of_many(houses: &[String], rounds: u32, way: impl AsyncFn(SocketAddr) -> SocketAddr) -> Self {
        let committee: Vec<&str> = houses[..5].iter().map(String::as_str).collect();
        let charged = (2 * rounds).max(400);
        let template = CHARTER
            .replace("epsilon = 1.5", "epsilon = 8.0")
            .replace("max_attempts = 20", &format!("max_attempts = 1000\ncharged = {charged}"))
            .replace("min_cohort = 3", &format!("min_cohort = {}", houses.len() * 3 / 5))
            .replace("close_ms = CLOSE", "close_ms = 8000")
            .replace("max_cohort = 4", &format!("max_cohort = {}", houses.len()))
            .replace("threshold = 3", &format!("threshold = 3\nhouses = {committee:?}"));
        let names: Vec<&str> = houses.iter().map(String::as_str).collect();
        let vanish = u32::try_from(houses.len() / 5).unwrap();
        Self::joined_by(&names, &template, rounds, vanish, way).await
    }

    /// Rounds of contributions that take several runs, of the four houses, one of which may vanish; each joins by the address that `way` gives.
    pub(crate) async fn of_long_contributions(rounds: u32, way: impl AsyncFn(SocketAddr) -> SocketAddr) -> Self {
        let template = with_spare_attempts(CHARTER, rounds)
            .replace("hidden_size = 8", "hidden_size = 1024")
            .replace("\nr = 2", "\nr = 128")
            .replace("close_ms = CLOSE", "close_ms = 16000")
            .replace("open_ms = 20000", "open_ms = 40000");
        Self::joined_by(&HOUSES, &template, rounds, 1, way).await
    }

    async fn joined_by(
        houses: &[&str],
        template: &str,
        rounds: u32,
        vanish: u32,
        way: impl AsyncFn(SocketAddr) -> SocketAddr,
    ) -> Self {
        let (mut federation, _) = Self::prepared_for(houses, template, "aggregator", rounds, vanish, &[]).await;
        federation.serve().await;
        let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
        for house in houses {
            let url = format!("https://{}", way(federation.addr).await);
            let invitation = home.invite(&HouseName::new(house).unwrap(), &url, &mut rand::rng()).await.unwrap();
            let dir = federation.house(house);
            while let Err(error) = client::join::join(&dir, &invitation).await {
                assert!(matches!(error, client::join::JoinError::Unavailable { .. }), "{error}");
            }
            std::fs::write(dir.join("client.toml"), CONFIG).unwrap();
        }
        home.store.close().await;
        federation
    }

    async fn under(charter: &str, policy: &str, rounds: u32, may_vanish: u32, trustees: &[&str]) -> Self {
        let (mut federation, invitations) = Self::prepared(charter, policy, rounds, may_vanish, trustees).await;
        federation.serve().await;
        for (house, invitation) in invitations {
            client::join::join(&federation.house(&house), &invitation.parse().unwrap()).await.unwrap();
            let config = if trustees.contains(&house.as_str()) { TRUSTEE } else { CONFIG };
            std::fs::write(federation.house(&house).join("client.toml"), config).unwrap();
        }
        federation
    }

    /// An aggregator's folder, and everybody's invitation.
    async fn prepared(
        charter: &str,
        policy: &str,
        rounds: u32,
        may_vanish: u32,
        trustees: &[&str],
    ) -> (Self, Vec<(String, String)>) {
        Self::prepared_for(&HOUSES, charter, policy, rounds, may_vanish, trustees).await
    }

    async fn prepared_for(
        houses: &[&str],
        charter: &str,
        policy: &str,
        rounds: u32,
        may_vanish: u32,
        trustees: &[&str],
    ) -> (Self, Vec<(String, String)>) {
        let dir = tempfile::tempdir().unwrap();
        let mut template = charter
            .replace("POLICY", policy)
            .replace("COUNT", &rounds.to_string())
            .replace("VANISH", &may_vanish.to_string())
            // Where nobody may vanish, nobody is waited for either: a slow machine must not lose a round.
            .replace("CLOSE", if may_vanish == 0 { "15000" } else { "2500" });
        for house in houses {
            let rate = if template.contains("mode = \"client\"") { "1.0" } else { "0.01" };
            template += &format!("[[house]]\nname = \"{house}\"\nsampling_rate = {rate}\nnominal_batch = 4\n");
        }
        for trustee in trustees {
            template += &format!("[[trustee]]\nname = \"{trustee}\"\n");
        }
        let home = aggregator::setup::init(&dir.path().join("aggregator"), Some(&template), &[], &mut rand::rng())
            .await
            .unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let federation = Self {
            addr: port,
            charter: home.charter.clone(),
            dir,
            fault: None,
            version: Version::PRESENT,
            hook: None,
            server: None,
        };
        let mut invitations = Vec::new();
        for house in houses.iter().chain(trustees) {
            let name = HouseName::new(house).unwrap();
            let url = format!("https://{}", federation.addr);
            let invitation = home.invite(&name, &url, &mut rand::rng()).await.unwrap();
            invitations.push(((*house).to_owned(), invitation.to_string()));
        }
        home.store.close().await;
        (federation, invitations)
    }

    pub(crate) async fn serve(&mut self) {
        let mut config = server_config(&self.house("aggregator"), self.addr);
        config.fault = self.fault;
        config.version = self.version;
        config.crash = self.hook.clone();
        self.server = Some(server::start(config).await.unwrap());
    }

    /// Ends the aggregator as a crash would, and starts it again at the same address.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.server.take().unwrap().kill().await;
        self.serve().await;
    }

    /// Ends the aggregator; its folder and address are free.
    pub(crate) async fn halt(&mut self) {
        self.server.take().unwrap().shutdown().await.unwrap();
    }

    /// Ends the aggregator; the folders stay until what this gives is dropped.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        self.server.take().unwrap().shutdown().await.unwrap();
        self.dir
    }

    pub(crate) fn house(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn progress(&self, name: &str) -> PathBuf {
        self.house(name).join("progress.jsonl")
    }

    pub(crate) fn options(&self, name: &str) -> Options {
        options(&self.house(name))
    }

    /// Where everybody's folders are.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a house with this trainer as a task of its own.
    pub(crate) fn spawn_with(&self, name: &str, trainer: Box<dyn Trainer>) -> JoinHandle<Result<Completed, RunError>> {
        let home = Home::open(&self.house(name)).unwrap();
        tokio::spawn(client::round::run(home, Some(trainer), self.options(name)))
    }

    /// Runs a member as a task of its own.
    pub(crate) fn spawn(&self, name: &str, options: Options) -> JoinHandle<Result<Completed, RunError>> {
        let number = HOUSES.iter().position(|house| *house == name);
        let trainer = number.map(|number| Box::new(Known(number)) as Box<dyn Trainer>);
        let home = Home::open(&self.house(name)).unwrap();
        tokio::spawn(client::round::run(home, trainer, options))
    }

    /// The adapter that a house saved last.
    pub(crate) fn adapter(&self, name: &str) -> adapter::Adapter {
        let model = Terms::of(&self.charter).unwrap().model;
        adapter::Adapter::load_dir(&self.house(name).join("adapter"), &model).unwrap()
    }

    /// The state after rounds of these cohorts, computed from the integers that go in.
    pub(crate) fn expected(&self, cohorts: &[&[usize]]) -> State {
        let mut state = Terms::of(&self.charter).unwrap().first_state().unwrap();
        let count = state.adapter().trainable_len();
        for (round, cohort) in (1..).zip(cohorts) {
            let mut sum = vec![0; count];
            for house in *cohort {
                sum.iter_mut().zip(integers(*house, round, count)).for_each(|(sum, value)| *sum += value);
            }
            state.apply(&sum, terms::unit(&self.charter), 4.0 * cohort.len() as f64).unwrap();
        }
        state
    }

    /// All states that `rounds` rounds can lead to when each cohort is one of `cohorts`.
    pub(crate) fn reachable(&self, rounds: usize, cohorts: &[&[usize]]) -> Vec<[u8; 32]> {
        let mut histories: Vec<Vec<&[usize]>> = vec![Vec::new()];
        for _ in 0..rounds {
            histories = histories
                .iter()
                .flat_map(|history| cohorts.iter().map(|cohort| [history.as_slice(), &[*cohort]].concat()))
                .collect();
        }
        histories.iter().map(|history| self.expected(history).digest()).collect()
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Gives a house the certificate that it would have had, had it joined so many days ago.
pub(crate) async fn as_if_joined(federation: &Federation, house: &str, days_ago: u64) {
    let dir = federation.house(house);
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    let key = rcgen::KeyPair::from_pem(&std::fs::read_to_string(dir.join("keys/tls.pem")).unwrap()).unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let joined_at_ms = aggregator::clock::now_ms() - days_ago * 86_400_000;
    let issued = home.identity.issue(house, request.der(), joined_at_ms).unwrap();
    let digest = |pem: &str| {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        aggregator::identity::certificate_digest(&pem.contents)
    };
    let present = std::fs::read_to_string(dir.join("certificate.pem")).unwrap();
    let (old, new) = (digest(&present), issued.certificate_digest);
    let noted = home.store.renew(old, new, &issued.certificate_pem, joined_at_ms).await.unwrap();
    assert_eq!(noted, aggregator::store::Renewal::Noted);
    home.store.close().await;
    std::fs::write(dir.join("certificate.pem"), issued.certificate_pem).unwrap();
}

/// How a member runs in these tests.
pub(crate) fn options(house: &Path) -> Options {
    Options {
        progress: Progress::to_file(&house.join("progress.jsonl")).unwrap(),
        backoff: Backoff::new(Duration::from_millis(50), Duration::from_millis(200)),
        key_stock: 32,
        ..Options::for_dir(house)
    }
}

/// How the aggregator runs in these tests.
pub(crate) fn server_config(dir: &Path, addr: SocketAddr) -> server::Config {
    let mut config = server::Config::new(dir, addr);
    config.pace.gather = Duration::from_millis(600);
    config.pace.others = Duration::from_millis(300);
    // So that even a small contribution is noted run by run.
    config.blob_bytes = 1;
    config
}

/// Attempts may fail, as many as come.
fn with_spare_attempts(charter: &str, rounds: u32) -> String {
    charter.replace("max_attempts = 20", &format!("max_attempts = 20\ncharged = {}", rounds + 40))
}

/// Waits until a progress file has `count` lines of this phase.
pub(crate) async fn wait_for(progress: &Path, phase: &str, count: usize) {
    let wanted = format!("\"phase\":\"{phase}\"");
    for _ in 0..600 {
        let text = std::fs::read_to_string(progress).unwrap_or_default();
        if text.matches(&wanted).count() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no {count} lines of {phase} in {}", progress.display());
}

/// All houses are done, and agree.
pub(crate) async fn all_completed(tasks: Vec<JoinHandle<Result<Completed, RunError>>>) -> Completed {
    let mut results = Vec::new();
    for task in tasks {
        let result = tokio::time::timeout(Duration::from_secs(240), task).await.unwrap().unwrap().unwrap();
        results.push(result);
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
    results.pop().unwrap()
}

/// Logs of a failing test, with RUST_LOG.
pub(crate) fn logs() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
}
