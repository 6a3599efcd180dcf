//! What is seen of a running aggregator: the page and its JSON, metrics, health; and who may see it. With `PLAINCHANT_PAGE=FILE` the page's picture is put
//! there, which docs/page.png is.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use aggregator::observe::Observe;
use aggregator::server::{self, Config, ServeError};
use common::{CHARTER, Member, Site, announced, channel, round, values};
use protocol::Message as _;
use protos::v1;
use protos::v1::federation_client::FederationClient;
use terms::Terms;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// One request over plain HTTP: the status line's code, and all of the answer.
fn get(addr: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {addr}\r\n") };
    write!(stream, "GET {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (code, answer)
}

async fn observed(site: &Site, token: Option<&str>) -> (server::Handle, SocketAddr) {
    let mut config = Config::new(site.path(), "127.0.0.1:0".parse().unwrap());
    let token = token.map(|token| token.to_owned().into());
    config.observe = Some(Observe { listen: "127.0.0.1:0".parse().unwrap(), token });
    let handle = server::start(config).await.unwrap();
    let addr = handle.observed.unwrap();
    (handle, addr)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_its_json_and_the_metrics_say_what_goes_on_and_count_refusals_by_rule() {
    let site = Site::new(CHARTER).await;
    let (handle, at) = observed(&site, None).await;
    let mut abbey = Member::join(&site, handle.addr, "abbey", 1).await;
    abbey.client.get_roster(v1::GetRosterRequest {}).await.unwrap_err();
    let mut nobody = FederationClient::new(channel(handle.addr, &site.authority, None));
    for _ in 0..3 {
        nobody.get_roster(v1::GetRosterRequest {}).await.unwrap_err();
    }
    blocking(move || {
        let (code, answer) = get(at, "/status.json", "");
        assert_eq!(code, 200, "{answer}");
        let status: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!((status["stage"].as_str(), status["phase"].as_str()), (Some("enrolling"), Some("enrolling")));
        assert_eq!(status["waiting_for"], serde_json::json!(["borough", "county"]));
        assert_eq!(status["charter_epsilon"], 8.0);
        assert_eq!(
            (&status["metrics"]["released"], &status["metrics"]["points"]),
            (&"nobody".into(), &serde_json::json!([]))
        );

        let (code, text) = get(at, "/metrics", "");
        assert_eq!(code, 200);
        for line in [
            "plainchant_calls_total{rpc=\"GetRoster\",answer=\"no-certificate\"} 3",
            "plainchant_calls_total{rpc=\"GetRoster\",answer=\"roster-incomplete\"} 1",
            "plainchant_calls_total{rpc=\"Join\",answer=\"ok\"} 1",
            "plainchant_call_seconds_count{rpc=\"GetRoster\"} 4",
            "plainchant_members 1",
            "plainchant_waiting 2",
            "plainchant_halted 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let (code, page) = get(at, "/", "");
        assert!(code == 200 && page.contains("default-src 'self'") && page.contains("page.js"), "{page}");
        for file in ["/page.js", "/page.css", "/curves.js"] {
            assert_eq!(get(at, file, "").0, 200);
        }
        assert_eq!(get(at, "/../server-key.pem", "").0, 404);
        // A page elsewhere that got a name of its own to point here must not read this one.
        assert_eq!(get(at, "/status.json", "Host: evil.example\r\n").0, 403);
    })
    .await;
    handle.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_nothing_is_shown_without_it_and_an_address_for_all_needs_one() {
    let site = Site::new(CHARTER).await;
    let token = "0123456789abcdef0123456789abcdef";
    let (handle, at) = observed(&site, Some(token)).await;
    blocking(move || {
        for path in ["/", "/status.json", "/metrics", "/status.json?token=0123", "/nothing"] {
            assert_eq!(get(at, path, "").0, 403, "{path}");
        }
        assert_eq!(get(at, "/metrics", "Authorization: Bearer 0123456789abcdef0123456789abcdeF\r\n").0, 403);
        assert_eq!(get(at, "/metrics", &format!("Authorization: Bearer {token}\r\n")).0, 200);
        assert_eq!(get(at, &format!("/status.json?token={token}"), "Host: builder.example\r\n").0, 200);
    })
    .await;
    handle.shutdown().await.unwrap();

    let mut config = Config::new(site.path(), "127.0.0.1:0".parse().unwrap());
    config.observe = Some(Observe { listen: "0.0.0.0:0".parse().unwrap(), token: None });
    assert!(matches!(server::start(config).await, Err(ServeError::OpenToAll(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_may_ask_whether_it_serves() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let mut health = HealthClient::new(channel(addr, &site.authority, None));
    for service in ["", "plainchant.v1.Federation"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
}

/// The page as a browser shows it, in headless Chromium where there is one (`.ci/run` installs it).
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_who_is_waited_for_and_how_calls_went() {
    let site = Site::new(CHARTER).await;
    let (handle, at) = observed(&site, Some("0123456789abcdef0123456789abcdef")).await;
    for (secret, name, waiting) in [(1, "abbey", "borough, county"), (2, "borough", "county")] {
        Member::join(&site, handle.addr, name, secret).await;
        // A status is read once a second at most.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let Some(page) =
            blocking(move || browser(&format!("http://{at}/?token=0123456789abcdef0123456789abcdef"))).await
        else {
            eprintln!("no Chromium here: the page is not looked at");
            return;
        };
        assert!(page.contains("<h1 id=\"federation\">test-federation</h1>"), "{page}");
        assert!(page.contains(&format!("<span id=\"waiting\">{waiting}</span>")), "{page}");
        assert!(page.contains(&format!("<td>{name}</td><td>joined</td>")), "{page}");
        assert!(page.contains("<span id=\"problem\"></span>"), "{page}");
    }
    handle.shutdown().await.unwrap();
}

/// Rounds of the federation whose metrics are looked at.
const ROUNDS: u32 = 6;

/// With evaluations of held-out units in all of its rounds.
fn evaluated(policy: &str) -> String {
    let section = "[evaluation]\nevery = 1\nheld_out = 0.2\nnoise_multiplier = 30.0\nloss_bound = 8.0\n[[house]]";
    CHARTER
        .replace("count = 1", &format!("count = {ROUNDS}"))
        .replace("policy = \"aggregator\"", &format!("policy = {policy:?}"))
        .replacen("[[house]]", section, 1)
}

/// What an opened sum says of the held-out units, from its last ten integers, by the formulas of docs/training.md and none of the programs' code: `value` and
/// `deviation` of each.
fn by_hand(sum: &[i64]) -> Vec<(&'static str, f64, f64)> {
    // A one is (34 = 1024 / 30) / sqrt(2) on the grid, truncated; the noise of three houses, one of which may collude, is 1024 sqrt(3 / 2).
    let (one, noise) = (24.0, 1024.0 * 1.5_f64.sqrt() / 24.0);
    let numbers: Vec<f64> = sum[sum.len() - 10..].iter().map(|integer| *integer as f64 / one).collect();
    let (loss, cells) = (numbers[0], &numbers[1..]);
    let (total, right) = (cells.iter().sum::<f64>(), cells[0] + cells[4] + cells[8]);
    let row = |label: usize| cells[3 * label..3 * label + 3].iter().sum::<f64>();
    let column = |label: usize| cells[label] + cells[label + 3] + cells[label + 6];
    let mean = |of: &dyn Fn(usize) -> f64| (of(0) + of(1) + of(2)) / 3.0;
    let recall = |cells: &[f64]| {
        (0..3).map(|label| cells[4 * label] / cells[3 * label..3 * label + 3].iter().sum::<f64>()).sum::<f64>() / 3.0
    };
    // By differences, where a score is a sum of quotients.
    let steep = |score: &dyn Fn(&[f64]) -> f64| {
        let slope = |cell: usize| {
            let (mut up, mut down) = (cells.to_vec(), cells.to_vec());
            (up[cell], down[cell]) = (cells[cell] + 0.5, cells[cell] - 0.5);
            score(&up) - score(&down)
        };
        noise * (0..9).map(|cell| slope(cell).powi(2)).sum::<f64>().sqrt()
    };
    let f1 = |cells: &[f64]| {
        let size = |label: usize| (0..3).map(|other| cells[3 * label + other] + cells[3 * other + label]).sum::<f64>();
        (0..3).map(|label| 2.0 * cells[4 * label] / size(label)).sum::<f64>() / 3.0
    };
    let value = 8.0 * loss / total;
    vec![
        ("units", total, 3.0 * noise),
        ("loss", value, noise / total * (64.0 + 9.0 * value * value).sqrt()),
        ("accuracy", right / total, steep(&|cells| (cells[0] + cells[4] + cells[8]) / cells.iter().sum::<f64>())),
        ("macro_accuracy", mean(&|label| cells[4 * label] / row(label)), steep(&recall)),
        ("macro_f1", mean(&|label| 2.0 * cells[4 * label] / (row(label) + column(label))), steep(&f1)),
    ]
}

/// Whole rounds whose integers say so much of held-out units. Gives the opened sums.
async fn evaluated_rounds(site: &mut Site) -> Vec<Vec<i64>> {
    let (mut members, first) = announced(site, ROUNDS.into()).await;
    let (charter, roster) = (site.charter.digest(), members[0].roster().await.digest());
    let mut state = Terms::of(&site.charter).unwrap().first_state().unwrap();
    let mut sums = Vec::new();
    for round in 1..=ROUNDS {
        let announced = match round {
            1 => first.clone(),
            _ => {
                for member in &mut members {
                    member.client.mark_ready(member.ready_for((charter, roster), round, 1)).await.unwrap();
                }
                members[0].announcement_of(round).await
            }
        };
        let given = |house: usize, count: usize| {
            let (house, round) = (house as i64, i64::from(round));
            let (off, more) = (900 - 100 * round, 100 * round);
            let cells = [6_600 + more, off, 480, 240, 6_000 + more + 300 * house, off, 480, 720, 6_400 + more];
            let said = [vec![5_200 - 480 * round], cells.to_vec()].concat();
            [values(usize::try_from(house).unwrap(), count - said.len()), said].concat()
        };
        sums.push(round::play(&site.charter, &mut members, &announced, &mut state, given).await);
    }
    // The state of the last round is taken over in its own time, and the metrics with it.
    let home = site.home().await;
    while home.store.setting(aggregator::store::Setting::FinalState).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    home.store.close().await;
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_status_show_what_the_opened_sums_say_of_held_out_units_also_after_a_restart_and_draw_it() {
    let mut site = Site::new(&evaluated("aggregator")).await;
    let sums = evaluated_rounds(&mut site).await;
    site.restart(&mut []).await;
    let at = site.server.as_ref().unwrap().observed.unwrap();
    let (_, answer) = blocking(move || get(at, "/status.json", "")).await;
    let status: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(status["metrics"]["released"], "aggregator");
    let points = status["metrics"]["points"].as_array().unwrap();
    assert_eq!(points.len(), ROUNDS as usize);
    for (round, (point, sum)) in (1..).zip(points.iter().zip(&sums)) {
        assert_eq!((point["round"].as_u64(), point["houses"].as_u64()), (Some(round), Some(3)));
        for (name, value, deviation) in by_hand(sum) {
            let found = |of: &str| point[name][of].as_f64().unwrap();
            assert!((found("value") / value - 1.0).abs() < 1e-9, "round {round} {name}: {point} {value}");
            assert!((found("deviation") / deviation - 1.0).abs() < 1e-5, "round {round} {name}: {point} {deviation}");
        }
        assert!(point["auroc"].is_null() && point["perplexity"].is_null());
    }
    let watched =
        std::process::Command::new(env!("CARGO_BIN_EXE_plainchant-aggregator")).arg("status").arg(site.path()).output();
    let (_, loss, _) = by_hand(&sums[ROUNDS as usize - 1])[1];
    let line = format!("metrics     round {ROUNDS}: loss {loss:.3} (noise ");
    let text = String::from_utf8(watched.unwrap().stdout).unwrap();
    assert!(text.contains(&line), "{line} is not in\n{text}");

    let Some(page) = blocking(move || browser(&format!("http://{at}/"))).await else { return };
    assert!(page.contains("<span id=\"problem\"></span>"), "{page}");
    for key in ["loss", "accuracy", "macro_accuracy", "macro_f1"] {
        assert!(page.contains(&format!("<title id=\"curve-{key}-title\">")), "{key} is not drawn: {page}");
    }
    // Of each curve a point a round and a band; each value is also in the table.
    assert_eq!((page.matches("<circle").count(), page.matches("<polygon").count()), (4 * ROUNDS as usize, 4), "{page}");
    for sum in &sums {
        let (_, loss, deviation) = by_hand(sum)[1];
        let cell = format!("<td>{loss:.3} ± {:.3}</td>", 2.0 * deviation);
        assert!(page.contains(&cell), "{cell} is not in {page}");
    }
    if let Ok(file) = std::env::var("PLAINCHANT_PAGE") {
        let file = format!("--screenshot={file}");
        blocking(move || chromium(&[&file, "--window-size=1180,1500", "--hide-scrollbars", &format!("http://{at}/")]))
            .await
            .unwrap();
    }
    site.server.take().unwrap().shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_houses_open_sums_no_metrics_are_here_and_the_page_says_why() {
    let mut site = Site::new(&evaluated("clients")).await;
    site.serve().await;
    let at = site.server.as_ref().unwrap().observed.unwrap();
    let (_, answer) = blocking(move || get(at, "/status.json", "")).await;
    let status: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        (&status["metrics"]["released"], &status["metrics"]["points"]),
        (&"houses".into(), &serde_json::json!([]))
    );
    let Some(page) = blocking(move || browser(&format!("http://{at}/"))).await else { return };
    assert!(page.contains("this aggregator does not know them") && !page.contains("<svg"), "{page}");
}

/// What the page has come to after a few seconds of its own time.
fn browser(url: &str) -> Option<String> {
    chromium(&["--dump-dom", url])
}

fn chromium(arguments: &[&str]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let profile = format!("--user-data-dir={}", dir.path().display());
    let chromium = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|program| {
        let mut command = std::process::Command::new(program);
        // A root user has no sandbox; the page is ours.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", &profile, "--virtual-time-budget=5000"]);
        command.args(arguments);
        command.output().ok()
    })?;
    if !chromium.status.success() {
        eprintln!("Chromium does not run here: {}", String::from_utf8_lossy(&chromium.stderr));
        return None;
    }
    Some(String::from_utf8_lossy(&chromium.stdout).into_owned())
}

/// Requests that never end, from whoever reaches the port: with a token too, for they have none to show.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_holds_a_place_for_seconds_and_the_rounds_files_are_never_touched() {
    let site = Site::new(CHARTER).await;
    let (handle, at) = observed(&site, None).await;
    let addr = handle.addr;
    blocking(move || {
        let half: Vec<_> = (0..300)
            .map(|_| {
                let mut stream = TcpStream::connect(at).unwrap();
                // One beyond the places is closed, maybe before this.
                let _ = stream.write_all(b"GET /status.json HTTP/1.1\r\nHost: ");
                stream
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(files < 300 + 64 + 100, "{files} files are open, 300 of them this end's");
        let start = std::time::Instant::now();
        // Their places are free again a few seconds later.
        while start.elapsed() < Duration::from_secs(30) {
            let mut stream = TcpStream::connect(at).unwrap();
            let asked = write!(stream, "GET /page.js HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
            let mut answer = String::new();
            if asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200") {
                println!("served again after {:?}", start.elapsed());
                drop(half);
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("half requests keep all places for {:?}", start.elapsed());
    })
    .await;
    let mut health = HealthClient::new(channel(addr, &site.authority, None));
    let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    handle.shutdown().await.unwrap();
}
