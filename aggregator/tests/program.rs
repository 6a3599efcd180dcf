//! The program from outside: its output, files and exit codes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::CHARTER;
use protocol::Invitation;

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainchant-aggregator"));
    command.args(args);
    command
}

fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = program(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn init_invite_status_log_and_export_say_what_is_and_what_to_do_next() {
    let dir = tempfile::tempdir().unwrap();
    let (fed, template) = (dir.path().join("fed"), dir.path().join("charter.toml"));
    let (fed, template) = (fed.to_str().unwrap(), template.to_str().unwrap());
    std::fs::write(template, CHARTER).unwrap();

    let (code, out, _) = run(&["init", fed, "--charter", template]);
    assert_eq!(code, 0);
    assert!(out.contains("plainchant-aggregator serve"), "{out}");
    let (code, _, err) = run(&["init", fed]);
    assert_eq!(code, 2);
    assert!(err.contains("in use"), "{err}");

    let (code, out, err) = run(&["invite", fed, "abbey", "--url", "https://builder.example:7443"]);
    assert_eq!(code, 0);
    // `deploy/check` holds the printed flags against the client's own help.
    assert!(err.contains("plainchant-client join DIR --invitation-file FILE"), "{err}");
    let invitation: Invitation = out.trim().parse().unwrap();
    assert_eq!((invitation.name.as_str(), invitation.url.as_str()), ("abbey", "https://builder.example:7443"));
    let (code, _, err) = run(&["invite", fed, "nowhere", "--url", "https://builder.example:7443"]);
    assert_eq!(code, 2);
    assert!(err.contains("abbey, borough, county"), "{err}");
    assert_eq!(run(&["invite", fed, "abbey", "--url", "http://builder.example"]).0, 2);

    let (code, out, _) = run(&["status", fed, "--json"]);
    assert_eq!(code, 0);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["stage"], "enrolling");
    assert_eq!(status["charter"], invitation.charter.to_string());
    assert_eq!(status["missing"], serde_json::json!(["abbey", "borough", "county"]));
    assert_eq!((&status["isolated"], &status["suspects"]), (&serde_json::json!([]), &serde_json::json!([])));
    let (code, _, err) = run(&["readmit", fed, "abbey"]);
    assert_eq!(code, 2);
    assert!(err.contains("`abbey` is not isolated"), "{err}");
    let (code, out, _) = run(&["status", fed]);
    assert_eq!(code, 0);
    assert!(out.contains("missing     abbey, borough, county"), "{out}");
    assert!(out.contains("isolated    -\nsuspects    -\n"), "{out}");

    let (code, out, _) = run(&["log", fed]);
    assert_eq!(code, 0);
    assert!(out.starts_with("plainchant/test-federation\n0\n"), "{out}");
    let out_dir = dir.path().join("adapter");
    let (code, _, err) = run(&["export", fed, out_dir.to_str().unwrap()]);
    assert_eq!(code, 75);
    assert!(err.contains("not here yet") && !out_dir.exists(), "{err}");
    let (code, _, err) = run(&["status", dir.path().to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(err.contains("init"), "{err}");
}

#[test]
fn a_charter_that_cannot_work_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (fed, template) = (dir.path().join("fed"), dir.path().join("charter.toml"));
    let cases = [
        (CHARTER.replace("threshold = 3", "threshold = 1"), "committee.threshold"),
        (CHARTER.replace("architecture = \"bert\"", "architecture = \"rwkv\""), "architecture"),
        (CHARTER.replace("lora_alpha = 4.0", "lora_alpha = 4.5"), "lora_alpha"),
        (CHARTER.replace("aggregator_key", "# aggregator_key"), "aggregator_key"),
        (CHARTER.replace("seed = 1", "sede = 1"), "sede"),
    ];
    for (charter, key) in cases {
        std::fs::write(&template, charter).unwrap();
        let (code, _, err) = run(&["init", fed.to_str().unwrap(), "--charter", template.to_str().unwrap()]);
        assert_eq!(code, 2, "{key}");
        assert!(err.contains(key), "{key}: {err}");
        assert!(!fed.exists(), "{key}");
    }
}

#[cfg(unix)]
#[test]
fn serve_writes_its_port_and_drains_at_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let (fed, port) = (dir.path().join("fed"), dir.path().join("port"));
    assert_eq!(run(&["init", fed.to_str().unwrap()]).0, 0);
    let mut child = program(&["serve", fed.to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .args(["--port-file", port.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let number = wait_for(&port);
    assert!(std::net::TcpStream::connect(("127.0.0.1", number)).is_ok());
    let taken = format!("127.0.0.1:{number}");
    let other = dir.path().join("other");
    assert_eq!(run(&["init", other.to_str().unwrap()]).0, 0);
    assert_eq!(run(&["serve", other.to_str().unwrap(), "--listen", &taken]).0, 75, "the address is taken");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let mut logs = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut logs).unwrap();
    for line in logs.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "not JSON: {line}");
    }
}

fn wait_for(port: &Path) -> u16 {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if let Ok(text) = std::fs::read_to_string(port) {
            return text.trim().parse().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no port file");
}

/// From outside: what is printed, and what is said of a model that is nowhere.
#[test]
fn digest_prints_a_section_for_a_charter_and_says_what_it_did_not_find() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora/tests/fixtures/families/qwen3");
    let model = model.to_str().unwrap();
    let (code, out, _) = run(&["digest", model]);
    assert_eq!(code, 0);
    let printed: toml::Table = out.parse().unwrap();
    let (code, json, _) = run(&["digest", model, "--json"]);
    assert_eq!(code, 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for key in ["name", "sha256", "architecture", "hidden_size", "max_tokens"] {
        assert_eq!(serde_json::to_value(&printed["model"][key]).unwrap(), json[key], "{key}");
    }
    let file = std::fs::read(format!("{model}/model.safetensors")).unwrap();
    assert_eq!(json["sha256"], protocol::Digest::sha256(&file).to_string());
    let (code, _, err) = run(&["digest", "./nothing/here"]);
    assert_eq!(code, 2);
    assert!(err.contains("neither a folder") && err.contains("ORG/NAME"), "{err}");
    let empty = tempfile::tempdir().unwrap();
    let offline =
        program(&["digest", "Org/tiny"]).env("HF_HUB_OFFLINE", "1").env("HF_HOME", empty.path()).output().unwrap();
    let err = String::from_utf8(offline.stderr).unwrap();
    assert_eq!(offline.status.code(), Some(2));
    assert!(err.contains("nothing of it") && err.contains("hf download Org/tiny"), "{err}");
}

/// What bash offers after these words, by the script that the program prints.
#[cfg(unix)]
fn offered(words: &[&str]) -> Vec<String> {
    let (code, script, _) = run(&["completions", "bash"]);
    assert_eq!(code, 0);
    let ask = "COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); $(complete -p $1 | sed 's/.* -F \\([^ ]*\\) .*/\\1/') \"$1\" \"${!#}\" \"${@:$#-1:1}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", &format!("{script}\n{ask}"), "bash"]).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[cfg(unix)]
#[test]
fn bash_completes_commands_flags_and_values_by_the_script_that_is_printed() {
    assert_eq!(offered(&["plainchant-aggregator", "in"]), ["init", "invite"]);
    assert_eq!(offered(&["plainchant-aggregator", "invite", "fed", "abbey", "--u"]), ["--url"]);
    assert_eq!(offered(&["plainchant-aggregator", "serve", "fed", "--observe-"]), ["--observe-token-file"]);
    let templates = offered(&["plainchant-aggregator", "charter", "new", "FILE", "--template", ""]);
    assert_eq!(templates, ["classification", "instruct"]);
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(script.contains("observe-token-file"), "{shell}");
    }
    assert_eq!(run(&["completions", "sea"]).0, 2);
}

/// As `... | head` when head is done.
#[test]
fn a_reader_that_has_gone_ends_the_program_without_a_word() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainchant-aggregator"));
    let output = command.args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(141), &b""[..]));
}
