//! What is seen of a running aggregator: the page and its JSON, metrics, health; and who may see it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use aggregator::observe::Observe;
use aggregator::server::{self, Config, ServeError};
use common::{CHARTER, Member, Site, channel};
use protos::v1;
use protos::v1::federation_client::FederationClient;
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
        for file in ["/page.js", "/page.css"] {
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

/// What the page has come to after a few seconds of its own time.
fn browser(url: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let profile = format!("--user-data-dir={}", dir.path().display());
    let chromium = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|program| {
        let mut command = std::process::Command::new(program);
        // A root user has no sandbox; the page is ours.
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            &profile,
            "--virtual-time-budget=5000",
            "--dump-dom",
            url,
        ]);
        command.output().ok()
    })?;
    if !chromium.status.success() {
        eprintln!("Chromium does not run here: {}", String::from_utf8_lossy(&chromium.stderr));
        return None;
    }
    Some(String::from_utf8_lossy(&chromium.stdout).into_owned())
}
