//! A hub on this machine, as far as a download sees it, and a cache as Python's library lays it out.
#![expect(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub::{Hub, Settings};

pub(crate) const NAME: &str = "Org/tiny";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// FIPS 180-4's digest of "abc", which the weights are.
pub(crate) const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Settings for a cache in `dir` and a hub at `endpoint`.
pub(crate) fn settings(dir: &Path, endpoint: &str, offline: bool) -> Settings {
    Settings {
        cache: dir.join("hub"),
        offline,
        token: None,
        endpoint: endpoint.to_owned(),
        silence: Duration::from_secs(2),
    }
}

pub(crate) fn offline(dir: &Path) -> Hub {
    Hub::new(settings(dir, "http://127.0.0.1:1", true))
}

/// A cache as `huggingface_hub` leaves it: blobs, snapshots of links into them, and a note of what `main` is.
pub(crate) fn python_cache(dir: &Path, commit: &str, files: &[(&str, &str)]) -> PathBuf {
    let shelf = dir.join("hub/models--Org--tiny");
    let snapshot = shelf.join("snapshots").join(commit);
    std::fs::create_dir_all(shelf.join("blobs")).unwrap();
    std::fs::create_dir_all(shelf.join("refs")).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::write(shelf.join("refs/main"), commit).unwrap();
    for (i, (name, content)) in files.iter().enumerate() {
        std::fs::write(shelf.join(format!("blobs/{i}")), content).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{i}"), snapshot.join(name)).unwrap();
    }
    snapshot
}

/// A file on the server.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) content: Vec<u8>,
    /// Its tag; a SHA-256 for large files.
    pub(crate) tag: String,
    /// Whether it lies elsewhere, and the hub only leads there, as with large files.
    pub(crate) redirected: bool,
}

impl Remote {
    pub(crate) fn small(content: &str) -> Self {
        Self { content: content.into(), tag: format!("{:040x}", content.len()), redirected: false }
    }

    pub(crate) fn large(content: &str, sha256: &str) -> Self {
        Self { content: content.into(), tag: sha256.to_owned(), redirected: true }
    }
}

/// How the server misbehaves.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    /// Answers 401 without this token.
    pub(crate) token: Option<&'static str>,
    /// So many bodies break off after one byte.
    pub(crate) truncated: usize,
    /// Sends a body from its beginning whatever was asked for.
    pub(crate) ignores_ranges: bool,
    /// Never answers for files.
    pub(crate) silent: bool,
    /// Says 503 to everything.
    pub(crate) overloaded: bool,
    /// Says this tag for every file.
    pub(crate) tag: Option<&'static str>,
    /// Says this commit for every file.
    pub(crate) commit: Option<&'static str>,
    /// Says this text instead of the list of files.
    pub(crate) listing: Option<&'static str>,
}

/// One request: method and path, range, authorisation.
pub(crate) type Asked = (String, Option<String>, Option<String>);

pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) fn start(files: &[(&str, Remote)], manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let files: BTreeMap<String, Remote> =
            files.iter().map(|(name, file)| ((*name).to_owned(), file.clone())).collect();
        let (log, manners, own) =
            (Arc::clone(&asked), Arc::new(Mutex::new(manners)), endpoint.replace("127.0.0.1", "localhost"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, log, manners, own) = (files.clone(), Arc::clone(&log), Arc::clone(&manners), own.clone());
                std::thread::spawn(move || answer(stream, &files, &log, &manners, &own));
            }
        });
        Self { endpoint, asked }
    }

    /// Files that were asked for, not only what they are; with the range.
    pub(crate) fn bodies(&self) -> Vec<(String, Option<String>)> {
        let asked = self.asked.lock().unwrap();
        let files =
            asked.iter().filter(|(request, ..)| request.starts_with("GET /") && !request.starts_with("GET /api/"));
        files.map(|(request, range, _)| (request.clone(), range.clone())).collect()
    }
}

fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Remote>,
    log: &Mutex<Vec<Asked>>,
    manners: &Mutex<Manners>,
    own: &str,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let mut words = lines.first().map(|line| line.split(' ')).into_iter().flatten();
    let (Some(method), Some(path)) = (words.next(), words.next().map(str::to_owned)) else { return };
    let header = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let (range, authorisation) = (header("range"), header("authorization"));
    log.lock().unwrap().push((format!("{method} {path}"), range.clone(), authorisation.clone()));
    let now = manners.lock().unwrap().clone();
    let mut say = |text: String, body: &[u8]| {
        let _gone = stream.write_all(format!("HTTP/1.1 {text}\r\nConnection: close\r\n\r\n").as_bytes());
        if method != "HEAD" {
            let _gone = stream.write_all(body);
        }
    };
    let status = |status: &str| format!("{status}\r\nContent-Length: 0");
    if now.overloaded {
        return say(status("503 Service Unavailable"), b"");
    }
    // What lies elsewhere is shown to everybody who knows where.
    let elsewhere = path.starts_with("/cdn/");
    if !elsewhere && now.token.is_some_and(|token| authorisation != Some(format!("Bearer {token}"))) {
        return say(status("401 Unauthorized"), b"");
    }
    if path.starts_with(&format!("/api/models/{NAME}/revision/")) {
        let names: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let listing = serde_json::json!({ "sha": COMMIT, "siblings": names }).to_string();
        let listing = now.listing.map_or(listing, str::to_owned);
        return say(
            format!("200 OK\r\nContent-Type: application/json\r\nContent-Length: {}", listing.len()),
            listing.as_bytes(),
        );
    }
    if now.silent {
        std::thread::sleep(Duration::from_secs(20));
        return;
    }
    let prefix = format!("/{NAME}/resolve/{COMMIT}/");
    let Some(file) =
        path.strip_prefix("/cdn/").or_else(|| path.strip_prefix(&prefix)).and_then(|name| files.get_key_value(name))
    else {
        return say(status("404 Not Found"), b"");
    };
    let (name, Remote { content, tag, redirected }) = file;
    let tag = now.tag.unwrap_or(tag);
    let about = format!("X-Repo-Commit: {}\r\nETag: \"{tag}\"", now.commit.unwrap_or(COMMIT));
    if *redirected && !elsewhere {
        return say(
            format!(
                "302 Found\r\n{about}\r\nX-Linked-ETag: \"{tag}\"\r\nX-Linked-Size: {}\r\nLocation: {own}/cdn/{name}\r\nContent-Length: 0",
                content.len()
            ),
            b"",
        );
    }
    let from =
        range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let from = from.filter(|_| !now.ignores_ranges);
    let mut body = &content[from.unwrap_or(0)..];
    let length = body.len();
    let mut manners = manners.lock().unwrap();
    if method == "GET" && length > 1 && manners.truncated > 0 {
        manners.truncated -= 1;
        body = &body[..1];
    }
    drop(manners);
    let (status, range) = match from {
        None => ("200 OK", String::new()),
        Some(from) => {
            ("206 Partial Content", format!("\r\nContent-Range: bytes {from}-{}/{}", content.len() - 1, content.len()))
        }
    };
    say(format!("{status}\r\n{about}{range}\r\nContent-Length: {length}"), body);
}
