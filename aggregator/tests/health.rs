//! `health`, as a container's health check runs it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use common::{CHARTER, Site};

fn health(dir: &Path, listen: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainchant-aggregator"));
    let output = command.arg("health").arg(dir).args(["--listen", listen]).args(more).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.lines().count() <= 1 || output.status.code() == Some(2), "{said}");
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_0_for_a_server_that_serves_1_for_one_that_does_not_and_2_for_what_must_change() {
    let mut site = Site::new(CHARTER).await;
    let other = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let (dir, foreign) = (site.path(), other.path());
    let everywhere = format!("0.0.0.0:{}", addr.port());
    let here = addr.to_string();
    let asked = {
        let (dir, here) = (dir.clone(), here.clone());
        tokio::task::spawn_blocking(move || {
            let serving = [health(&dir, &here, &[]), health(&dir, &everywhere, &[])];
            let wrong_authority = health(&foreign, &here, &[]);
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let no_answer = health(&dir, &silent.local_addr().unwrap().to_string(), &["--seconds", "1"]);
            (serving, wrong_authority, no_answer)
        })
    };
    let (serving, wrong_authority, no_answer) = asked.await.unwrap();
    for said in serving {
        assert_eq!(said, (Some(0), format!("{here}: serving\n")));
    }
    assert!(wrong_authority.0 == Some(1) && wrong_authority.1.contains("certificate"), "{wrong_authority:?}");
    assert!(no_answer.0 == Some(1) && no_answer.1.contains("no answer within 1 s"), "{no_answer:?}");

    site.server.take().unwrap().shutdown().await.unwrap();
    let stopped = health(&dir, &here, &[]);
    assert!(stopped.0 == Some(1) && stopped.1.contains("refused"), "{stopped:?}");
    let nowhere = health(&dir.join("nowhere"), &here, &[]);
    assert!(nowhere.0 == Some(2) && nowhere.1.contains("authority.pem"), "{nowhere:?}");
    assert_eq!(health(&dir, "127.0.0.1:0", &[]).0, Some(2));
}
