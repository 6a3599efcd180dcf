//! The record that real programs made: as a file, checked by both programs and by an independent one, told apart from another that the same
//! aggregator signed, and as evidence.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use client::record::{Kept, RecordError, alone};
use common::{Federation, HOUSES, all_completed, logs};
use protocol::log::audit::audit;
use protocol::log::file::{Entry, MAGIC, RecordWriter};
use protocol::log::{Checkpoint, Log};
use protocol::{
    Abandonment, Announcement, Attempt, Conclusion, Digest, Message as _, PublicKey, RecordLeaf, RoundNumber, Signed,
    Signer,
};

const TRUSTEE: &str = "notary";

/// A program's entry with these arguments, and its exit code.
async fn program(entry: fn(Vec<OsString>) -> ExitCode, args: &[&str]) -> String {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    format!("{:?}", tokio::task::spawn_blocking(move || entry(args)).await.unwrap())
}

fn exit(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Two rounds of four houses and a trustee, and the record as `log --out` writes it beside the running server.
async fn completed(policy: &str) -> (Federation, PathBuf) {
    logs();
    let federation = Federation::with_trustees(policy, 2, 0, &[TRUSTEE]).await;
    let members = [&HOUSES[..], &[TRUSTEE]].concat();
    all_completed(members.iter().map(|name| federation.spawn(name, federation.options(name))).collect()).await;
    let (aggregator, file) = (federation.house("aggregator"), federation.path().join("record"));
    let log = ["plainchant-aggregator", "log", text(&aggregator), "--out", text(&file)];
    assert_eq!(program(aggregator::cli::run, &log).await, exit(0));
    (federation, file)
}

async fn verify(file: &Path, dir: &Path) -> [String; 2] {
    let own = ["plainchant-client", "verify", text(file), "--dir", text(dir)];
    [
        program(aggregator::cli::run, &["plainchant-aggregator", "verify", text(file)]).await,
        program(client::cli::run, &own).await,
    ]
}

/// The independent checker's word, where Python has what it needs: whether the record holds, and what it said.
fn python(file: &Path, more: &[&str]) -> Option<(bool, String)> {
    let ready = Command::new("python3").args(["-c", "import tomllib, cryptography"]).output().ok()?;
    if !ready.status.success() {
        eprintln!("python3 has no `cryptography` here: the independent checker is not run");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../aggregator/scripts/check_log.py");
    let checked = Command::new("python3").arg(script).arg(file).args(more).output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    Some((checked.status.success(), String::from_utf8(said).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_real_programs_holds_for_both_of_them_for_every_member_and_for_an_independent_checker() {
    let (federation, file) = completed("clients").await;
    let bytes = std::fs::read(&file).unwrap();
    let audited = audit(&bytes).unwrap();
    assert_eq!((audited.head.size, audited.applied()), (2, 2));
    let states: Vec<[u8; 32]> =
        (1..=2).map(|rounds| federation.expected(&vec![&[0, 1, 2, 3][..]; rounds]).digest()).collect();
    let recorded: Vec<[u8; 32]> = audited.attempts.iter().map(|one| *one.applied().unwrap().as_bytes()).collect();
    assert_eq!(recorded, states, "computed from the integers that went in");
    let members = [&HOUSES[..], &[TRUSTEE]].concat();
    let countersigned: Vec<&str> = audited.cosignatures.iter().map(|one| one.member.as_str()).collect();
    assert_eq!(countersigned, members, "every member of the committee, after the last round");
    for member in &members {
        assert_eq!(verify(&file, &federation.house(member)).await, [exit(0), exit(0)], "{member}");
    }
    let charter = federation.charter.digest().to_string();
    if let Some((holds, said)) = python(&file, &["--charter", &charter]) {
        assert!(holds, "{said}");
        assert!(said.contains("contributions that count: abbey 2, borough 2, county 2, dale 2"), "{said}");
        let end = format!("2 entries, root {}, countersigned by {}", audited.head.root, members.join(", "));
        assert!(said.contains(&end), "{said}");
        let (holds, said) = python(&file, &["--charter", &audited.head.root.to_string()]).unwrap();
        assert!(!holds && said.contains("another charter"), "{said}");
    }
    // Somewhere in each part: both programs, the member and the independent checker refuse it, and name the same entry.
    let begins = sections(&bytes);
    let places = [(MAGIC.len() + 30, "the header"), (begins[0] + 60, "entry 0"), (begins[1] + 900, "entry 1")];
    for (at, place) in places.into_iter().chain([(bytes.len() - 20, "the checkpoint")]) {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        std::fs::write(&file, &altered).unwrap();
        assert_eq!(verify(&file, &federation.house("abbey")).await, [exit(1), exit(1)], "{place}");
        assert!(audit(&altered).unwrap_err().to_string().starts_with(place), "{place}");
        if let Some((holds, said)) = python(&file, &[]) {
            assert!(!holds && said.contains(place), "{place}: {said}");
        }
    }
    let gone = federation.path().join("nothing");
    assert_eq!(verify(&gone, &federation.house("abbey")).await, [exit(2), exit(2)]);
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_tells_a_forked_and_an_older_record_from_its_own_though_the_aggregator_signed_them() {
    let (federation, file) = completed("aggregator").await;
    let bytes = std::fs::read(&file).unwrap();
    let kept = Kept::load(&federation.house("abbey")).unwrap();
    kept.check(&bytes).unwrap();
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    let signer = home.identity.signer();
    let entries = entries(&bytes);
    let roster = kept.roster.clone().unwrap();
    let charter = &federation.charter;
    let record = |entries: &[Entry]| {
        let (mut file, mut log) = (RecordWriter::new(charter.text(), &roster.to_bytes()), Log::new());
        entries.iter().for_each(|entry| {
            file.push(entry);
            log.append(&entry.leaf);
        });
        file.finish(&Checkpoint::new(charter.name.as_str(), log.head()).sign(signer))
    };
    kept.check(&record(&entries)).unwrap();

    // Attempts that the aggregator announced to nobody here and says it stopped: each such record is whole by itself.
    let state = audit(&bytes).unwrap().attempts[0].adapter;
    let other = stopped(signer, &entries[0], |announcement| announcement.announced_at_ms += 1);
    let mut log = Log::new();
    log.append(&other.leaf);
    let after = stopped(signer, &entries[1], |announcement| {
        (announcement.record, announcement.adapter) = (log.head(), state);
        (announcement.round, announcement.attempt) = (RoundNumber::FIRST, Attempt::new(2).unwrap());
    });
    let first = record(&[other, after]);
    let later = stopped(signer, &entries[1], |announcement| announcement.announced_at_ms += 1);
    let later = record(&[entries[0].clone(), later]);
    let older = record(&entries[..1]);
    for other in [&first, &later, &older] {
        alone(other).unwrap();
    }
    let refused = |kept: &Kept, file: &[u8]| kept.check(file).unwrap_err();
    for forked in [&first, &later] {
        assert!(matches!(refused(&kept, forked), RecordError::Forked { size: 2, .. }), "{}", refused(&kept, forked));
    }
    for (older, found) in [(&older, 1), (&record(&[]), 0)] {
        let refused = refused(&kept, older);
        assert!(matches!(refused, RecordError::Older { seen: 2, found: f } if f == found), "{refused}");
    }

    // The same member while it waited for round 2: its head counts one entry, and it had heard of the next.
    let mut before = Kept::load(&federation.house("abbey")).unwrap();
    let memory = before.memory.as_mut().unwrap();
    (memory.record, memory.next_round) = (audit(&older).unwrap().head, RoundNumber::new(2).unwrap());
    memory.adapter = audit(&older).unwrap().last_state().unwrap();
    before.check(&bytes).unwrap();
    before.check(&older).unwrap();
    assert!(matches!(refused(&before, &first), RecordError::Forked { size: 1, .. }), "{}", refused(&before, &first));
    let what = refused(&before, &later).to_string();
    assert!(what.starts_with("entry 1 (round 2, attempt 1): FORKED: it was announced otherwise"), "{what}");

    // Other people's federations, and a ledger that is not the one that was charged.
    std::fs::write(&file, &later).unwrap();
    assert_eq!(verify(&file, &federation.house("abbey")).await, [exit(0), exit(1)], "only a member can tell");
    let ledger = federation.house("abbey").join("state/ledger");
    let lines = std::fs::read_to_string(&ledger).unwrap();
    for (kept, what) in [(1, "never stood where its contribution says"), (2, "does not know as one that left")] {
        let head = lines.lines().take(kept).map(|line| format!("{line}\n")).collect::<String>();
        std::fs::write(&ledger, head).unwrap();
        let old = Kept::load(&federation.house("abbey")).unwrap().check(&bytes).unwrap_err();
        assert!(old.to_string().starts_with("entry 0") && old.to_string().contains(what), "{kept} lines: {old}");
    }
    std::fs::remove_file(&ledger).unwrap();
    let none = Kept::load(&federation.house("abbey")).unwrap().check(&bytes).unwrap_err();
    assert!(none.to_string().starts_with("entry 0") && none.to_string().contains("no ledger"), "{none}");
    let other = Federation::new("aggregator", 1, 0).await;
    let stranger = Kept::load(&other.house("abbey")).unwrap().check(&bytes).unwrap_err();
    assert!(matches!(stranger, RecordError::OtherCharter { .. }), "{stranger}");
    other.stop().await;
    home.store.close().await;
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_of_a_house_is_signed_says_what_happened_holds_no_secret_and_opens_in_a_browser() {
    let (federation, file) = completed("clients").await;
    let (dir, out) = (federation.house("abbey"), federation.path().join("board"));
    std::fs::write(dir.join("none.tsv"), "text\tlabel\nred swollen <eye>\teye\n").unwrap();
    let config = std::fs::read_to_string(dir.join("client.toml")).unwrap();
    let lists =
        "models = [\"tiny\"]\ntargets = [\"all-linear\", \"classifier\"]\nhours = [\"mon-fri 20:00-06:00\", \"sat\"]\n";
    let more = "max_bytes_per_attempt = 5000000\n[network]\nproxy = \"none\"\n";
    std::fs::write(dir.join("client.toml"), config + lists + more).unwrap();
    let evidence = |out: &Path, more: &[&str]| {
        let args = [&["plainchant-client", "evidence", text(&dir), "--out", text(out)][..], more].concat();
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |args: Vec<String>| async move {
        program(client::cli::run, &args.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    // What the aggregator shows a member comes to the very file that it writes itself.
    assert_eq!(run(evidence(&out, &[])).await, exit(0));
    assert_eq!(std::fs::read(out.join("record.plainchant")).unwrap(), std::fs::read(&file).unwrap());
    assert_eq!(run(evidence(&out, &[])).await, exit(2), "it writes over nothing");
    let offline = federation.path().join("offline");
    let kept = federation.stop().await;
    assert_eq!(run(evidence(&offline, &["--record", text(&file)])).await, exit(0));

    let json = std::fs::read_to_string(offline.join("evidence.json")).unwrap();
    signature(&offline, &json);
    let said: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (name, digest) in said["files"].as_object().unwrap() {
        assert_eq!(Digest::sha256(&std::fs::read(offline.join(name)).unwrap()).to_string(), *digest, "{name}");
    }
    let audited = audit(&std::fs::read(&file).unwrap()).unwrap();
    let attempts = said["record"]["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), said["record"]["root"].as_str()), (2, Some(audited.head.root.to_string().as_str())));
    for (attempt, entry) in attempts.iter().zip(&audited.attempts) {
        assert_eq!(attempt["cohort"], serde_json::json!(HOUSES));
        assert_eq!(attempt["state_after"], entry.applied().unwrap().to_string());
        let (_, own) = entry.contributions.iter().find(|(_, one)| one.member.as_str() == "abbey").unwrap();
        assert_eq!(attempt["own"]["ciphertext"], own.ciphertext.to_string());
    }
    let ledger = privacy::Ledger::open(dir.join("state/ledger")).unwrap();
    let (delta, data) = (ledger.limit().unwrap().delta(), &said["data_sets"][0]);
    let epsilon = ledger.epsilon(delta).unwrap().epsilon;
    assert!(epsilon > 0.0);
    assert!((data["epsilon"].as_f64().unwrap() - epsilon).abs() < 1e-12, "{data}");
    assert_eq!(data["delta"].as_f64(), Some(delta));
    assert_eq!((data["file"].as_str(), data["ceiling"].as_f64()), (Some("none.tsv"), Some(8.0)));
    let left: Vec<&str> = attempts.iter().map(|attempt| attempt["own"]["contribution"].as_str().unwrap()).collect();
    let charged: Vec<&str> =
        data["charges"].as_array().unwrap().iter().map(|one| one["contribution"].as_str().unwrap()).collect();
    assert_eq!(left, charged, "what the ledger says left is what the record counts");
    assert_eq!(said["policy"]["epsilon_ceiling"].as_f64(), Some(8.0));
    assert_eq!(said["policy"]["models"], serde_json::json!(["tiny"]));
    assert_eq!(said["policy"]["targets"], serde_json::json!(["all-linear", "classifier"]));
    assert_eq!(said["policy"]["hours"], serde_json::json!(["mon-fri 20:00-06:00", "sat"]));
    assert_eq!(said["policy"]["max_bytes_per_attempt"].as_u64(), Some(5_000_000));
    assert_eq!((said["charter"]["approved"].as_bool(), said["members"].as_array().unwrap().len()), (Some(false), 5));

    no_secrets(&dir, &offline, &["swollen", "proxy"]);
    let page = std::fs::read_to_string(offline.join("evidence.html")).unwrap();
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"), "{page}");
    let own = &attempts[1]["own"]["ciphertext"].as_str().unwrap();
    let policy = ["all-linear, classifier", "mon-fri 20:00-06:00, sat", "at most 5000000"];
    let parts = ["<h1>Evidence of abbey in test-federation</h1>", own, &format!("{epsilon:.4} at delta 1e-5")];
    for part in policy.into_iter().chain(parts) {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    if let Some(shown) = browser(&offline.join("evidence.html")) {
        assert!(shown.contains("<td>4 of 4: abbey, borough, county, dale</td>"), "{shown}");
        assert_eq!(shown.matches("<table>").count(), page.matches("<table>").count());
    }

    // A trustee holds no data and spends nothing.
    let trustee = kept.path().join("of-notary");
    let args = ["plainchant-client", "evidence", "", "--out", text(&trustee), "--record", text(&file)];
    let notary = kept.path().join(TRUSTEE);
    assert_eq!(
        program(client::cli::run, &args.map(|arg| if arg.is_empty() { text(&notary) } else { arg })).await,
        exit(0)
    );
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(trustee.join("evidence.json")).unwrap()).unwrap();
    assert_eq!(
        (json["house"]["role"].as_str(), json["data_sets"].as_array().map(Vec::len)),
        (Some("trustee"), Some(0))
    );
}

/// The signature holds under the key in the folder, which is the roster's, also as OpenSSL has it; and over nothing else.
fn signature(folder: &Path, json: &str) {
    use base64::Engine as _;
    let pem = std::fs::read_to_string(folder.join("house.pub.pem")).unwrap();
    let der = base64::engine::general_purpose::STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
    let key = PublicKey::from_bytes(der.last_chunk().unwrap()).unwrap();
    let signature: [u8; 64] = std::fs::read(folder.join("evidence.json.sig")).unwrap().try_into().unwrap();
    assert!(key.holds(json.as_bytes(), &signature));
    assert!(!key.holds(json.replace("abbey", "dale").as_bytes(), &signature));
    let record = audit(&std::fs::read(folder.join("record.plainchant")).unwrap()).unwrap();
    let name = "abbey".parse().unwrap();
    assert_eq!(record.federation.roster().member(&name).unwrap().signing_key(), &key);
    let openssl = Command::new("openssl")
        .current_dir(folder)
        .args(["pkeyutl", "-verify", "-pubin", "-inkey", "house.pub.pem", "-rawin"])
        .args(["-in", "evidence.json", "-sigfile", "evidence.json.sig"])
        .output();
    match openssl {
        Ok(openssl) => assert!(openssl.status.success(), "{}", String::from_utf8_lossy(&openssl.stderr)),
        Err(_) => eprintln!("no OpenSSL here: the README's command is not run"),
    }
}

/// No key of this house, no row of its data and none of these words is in any file of the folder.
fn no_secrets(house: &Path, folder: &Path, words: &[&str]) {
    use base64::Engine as _;
    let mut secrets: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    for keys in ["keys", "state/keys"] {
        for file in std::fs::read_dir(house.join(keys)).unwrap() {
            let secret = std::fs::read(file.unwrap().path()).unwrap();
            secrets.push(hex::encode(&secret).into_bytes());
            secrets.push(base64::engine::general_purpose::STANDARD.encode(&secret).into_bytes());
            // Of a PEM, its lines of base64.
            secrets.extend(secret.split(|byte| *byte == b'\n').filter(|line| line.len() > 30).map(<[u8]>::to_vec));
            secrets.push(secret);
        }
    }
    assert!(secrets.len() > 40, "one-time keys are there");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let (path, mut found) = (file.unwrap().path(), 0);
        let bytes = std::fs::read(&path).unwrap();
        for secret in &secrets {
            found += usize::from(bytes.windows(secret.len()).any(|window| window == secret));
        }
        assert_eq!(found, 0, "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 7);
}

/// The page as Chromium has read it, where there is one.
fn browser(page: &Path) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let profile = format!("--user-data-dir={}", dir.path().display());
    let url = format!("file://{}", page.display());
    let args = ["--headless", "--no-sandbox", "--disable-gpu", &profile, "--dump-dom", &url];
    let run = |program: &str| Command::new(program).args(args).output().ok();
    let Some(shown) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(run) else {
        eprintln!("no Chromium here: the page is not looked at");
        return None;
    };
    if !shown.status.success() {
        eprintln!("Chromium does not run here: {}", String::from_utf8_lossy(&shown.stderr));
        return None;
    }
    Some(String::from_utf8_lossy(&shown.stdout).into_owned())
}

/// Such an attempt, announced otherwise, and said to be stopped.
fn stopped(signer: &Signer, entry: &Entry, change: impl FnOnce(&mut Announcement)) -> Entry {
    let mut announcement: Announcement = entry.announcement.unverified().unwrap();
    change(&mut announcement);
    let signed = Signed::sign(&announcement, signer);
    let leaf = RecordLeaf {
        round: announcement.round,
        attempt: announcement.attempt,
        announcement: signed.body_digest(),
        cohort: None,
        houses: Vec::new(),
        conclusion: Conclusion::Abandoned(Abandonment::Stopped),
        signers: Vec::new(),
    };
    Entry { leaf, announcement: signed, cohort: None, claim: None, complaint: None, outcomes: Vec::new() }
}

/// Where the sections of a file begin: each entry's, then the checkpoint's.
fn sections(file: &[u8]) -> Vec<usize> {
    let length = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize + 4;
    let mut at = MAGIC.len();
    at += length(at);
    at += length(at);
    let mut begins = Vec::new();
    while at < file.len() {
        begins.push(at);
        at += 1 + length(at + 1);
    }
    begins
}

fn entries(file: &[u8]) -> Vec<Entry> {
    let begins = sections(file);
    begins.windows(2).map(|pair| Entry::from_bytes(&file[pair[0] + 5..pair[1]]).unwrap()).collect()
}
