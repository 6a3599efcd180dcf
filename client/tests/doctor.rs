//! `plainchant-client doctor` beside a real aggregator: what is whole, and what is broken on purpose.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/model.rs"]
mod model;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Federation, as_if_joined, logs};
use serde_json::Value;

/// The exit code, and what each check came to.
async fn doctor(dir: PathBuf) -> (i32, BTreeMap<String, (String, String)>) {
    let program = move || {
        Command::new(env!("CARGO_BIN_EXE_plainchant-client")).arg("doctor").arg(dir).arg("--json").output().unwrap()
    };
    let output = tokio::task::spawn_blocking(program).await.unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let of = |one: &Value| {
        let (verdict, todo) = (text(one, "verdict"), text(one, "do"));
        assert!(verdict != "fail" || !todo.is_empty(), "a failure says what to do: {one}");
        (text(one, "check"), (verdict, text(one, "said")))
    };
    (output.status.code().unwrap(), said["checks"].as_array().unwrap().iter().map(of).collect())
}

/// These checks, and no others, came to this verdict; what they said.
fn only<'a>(found: &'a BTreeMap<String, (String, String)>, verdict: &str, checks: &[&str]) -> Vec<&'a str> {
    let of: Vec<&str> = found.iter().filter(|(_, (one, _))| one == verdict).map(|(check, _)| check.as_str()).collect();
    assert_eq!(of, checks, "{found:#?}");
    checks.iter().map(|check| found[*check].1.as_str()).collect()
}

/// Every file below `dir`, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn redirect(federation: &Federation, house: &str, to: std::net::SocketAddr) {
    let membership = federation.house(house).join("membership.toml");
    let text = std::fs::read_to_string(&membership).unwrap();
    let from = text.lines().find_map(|line| line.strip_prefix("url = ")).unwrap().to_owned();
    std::fs::write(&membership, text.replace(&from, &format!("\"https://{to}\""))).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_house_passes_and_each_thing_that_is_broken_fails_alone_and_says_what_to_do() {
    logs();
    let own = tempfile::tempdir().unwrap();
    let text = model::write(own.path());
    let federation = Federation::of_language_model(&model::weights(own.path())).await;
    let abbey = federation.house("abbey");
    let config = abbey.join("client.toml");
    std::fs::write(&config, &text).unwrap();
    let (code, found) = doctor(abbey.clone()).await;
    assert!(only(&found, "warn", &["client.toml"])[0].contains("any charter and any roster: for trials only"));
    assert_eq!(code, 0);
    let roster = found["tls"].1.rsplit(' ').next().unwrap();
    let agreed = format!("approve = \"{}\"\nroster = \"{roster}\"", federation.charter.digest());
    let agreed_to = |agreed: &str| text.replace("approve = \"any\"", agreed);
    std::fs::write(&config, agreed_to("approve = \"\"")).unwrap();
    let (code, found) = doctor(abbey.clone()).await;
    assert!(only(&found, "fail", &["client.toml"])[0].contains("no charter is approved yet"));
    assert_eq!(code, 2);
    std::fs::write(&config, agreed_to(&agreed.replace(roster, ""))).unwrap();
    let (code, found) = doctor(abbey.clone()).await;
    assert!(only(&found, "warn", &["client.toml"])[0].contains("no roster is approved yet"));
    assert_eq!(code, 0);
    let text = agreed_to(&agreed);
    std::fs::write(&config, &text).unwrap();

    let (code, found) = doctor(own.path().to_owned()).await;
    only(&found, "ok", &[]);
    only(&found, "fail", &["client.toml", "folder"]);
    assert_eq!(code, 2, "nobody has joined there");
    let before = files(&abbey);
    let (code, found) = doctor(abbey.clone()).await;
    let all = [
        "address",
        "certificate",
        "client.toml",
        "clock",
        "data",
        "device",
        "disk",
        "folder",
        "memory",
        "model",
        "name",
        "permissions",
        "port",
        "tls",
        "version",
    ];
    only(&found, "ok", &all);
    assert_eq!(code, 0);
    assert!(found["data"].1.contains("60 rows"), "{found:?}");
    assert_eq!(files(&abbey), before, "nothing is written");

    // A port at which nobody listens, and another federation's aggregator.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    redirect(&federation, "abbey", closed);
    let (code, found) = doctor(abbey.clone()).await;
    assert!(only(&found, "fail", &["port"])[0].contains(&closed.to_string()));
    only(&found, "skip", &["clock", "tls", "version"]);
    assert_eq!(code, 75);
    let other = Federation::without_spare_attempts("clients").await;
    redirect(&federation, "abbey", other.addr);
    let (code, found) = doctor(abbey.clone()).await;
    assert!(only(&found, "fail", &["tls"])[0].contains("not from the authority of this federation"), "{found:?}");
    assert_eq!(code, 2);
    let invited = other.addr.to_string();
    other.stop().await;
    // It is asked where client.toml says that it is now.
    std::fs::write(&config, format!("{text}[network]\nurl = \"https://{}\"\n", federation.addr)).unwrap();
    let (code, found) = doctor(abbey.clone()).await;
    let said = only(&found, "ok", &all)[0];
    assert!(
        said.contains(&format!("https://{}, as client.toml", federation.addr)) && said.contains(&invited),
        "{said}"
    );
    assert_eq!(code, 0);
    redirect(&federation, "abbey", federation.addr);

    // A proxy that is not there.
    std::fs::write(&config, format!("{text}[network]\nproxy = \"http://ward:s3cret@{closed}\"\n")).unwrap();
    let (code, found) = doctor(abbey.clone()).await;
    assert!(only(&found, "fail", &["port"])[0].contains(&format!("the proxy http://{closed} is not reached")));
    assert!(!format!("{found:?}").contains("s3cret"));
    assert_eq!(code, 75);
    only(&found, "warn", &[]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |mode| std::fs::set_permissions(&config, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        let (_, found) = doctor(abbey.clone()).await;
        assert!(only(&found, "warn", &["client.toml"])[0].contains("can read the proxy's password"));
        mode(0o600);
    }
    std::fs::write(&config, "[network]\n").unwrap();
    let (code, found) = doctor(abbey.clone()).await;
    only(&found, "fail", &["client.toml"]);
    assert_eq!(code, 2);
    std::fs::write(&config, &text).unwrap();

    // Rows, then a byte of the weights.
    let rows = own.path().join("rows.tsv");
    std::fs::write(&rows, "question\tcompletion\near\t\neye\tH10\nhand\n").unwrap();
    let (code, found) = doctor(abbey.clone()).await;
    let said = only(&found, "fail", &["data"])[0];
    assert!(said.contains("line 2") && said.contains("line 4") && !said.contains("line 3"), "{said}");
    assert_eq!(code, 2);
    std::fs::write(&rows, model::rows()).unwrap();
    let weights = own.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    let (code, found) = doctor(abbey.clone()).await;
    assert!(only(&found, "fail", &["model"])[0].contains(&model::weights(own.path()).to_string()));
    only(&found, "skip", &["data"]);
    assert_eq!(code, 2);
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, &bytes).unwrap();

    // A key that others can read; a certificate that ends soon, and one that has ended.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let key = abbey.join("keys").join("signing");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        let (code, found) = doctor(abbey.clone()).await;
        assert!(only(&found, "fail", &["permissions"])[0].contains(key.to_str().unwrap()));
        assert_eq!(code, 2);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    as_if_joined(&federation, "abbey", 80).await;
    let (code, found) = doctor(abbey.clone()).await;
    only(&found, "warn", &["certificate"]);
    assert_eq!(code, 0);
    as_if_joined(&federation, "abbey", 91).await;
    let (code, found) = doctor(abbey.clone()).await;
    only(&found, "fail", &["certificate", "tls"]);
    assert_eq!(code, 2);
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_told_that_it_is_taken_before_the_others_have_joined_and_that_it_is_not_after_a_revoke() {
    logs();
    let mut federation = Federation::that_dies_often("clients", 1).await;
    federation.serve().await;
    let abbey = federation.house("abbey");
    let invitation = std::fs::read_to_string(abbey.join("invitation")).unwrap();
    client::join::join(&abbey, &invitation.parse().unwrap()).await.unwrap();
    let (code, found) = doctor(abbey.clone()).await;
    let (verdict, said) = &found["tls"];
    assert!(verdict == "ok" && said.contains("there is no roster yet"), "{found:?}");
    // Its client.toml names a model that is not there.
    only(&found, "fail", &["model"]);
    assert_eq!(code, 2);
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    home.revoke(&protocol::HouseName::new("abbey").unwrap()).await.unwrap();
    home.store.close().await;
    let (_, found) = doctor(abbey).await;
    assert!(only(&found, "fail", &["model", "tls"])[1].contains("does not take this member"), "{found:?}");
    federation.stop().await;
}
