//! Downloads from a hub on this machine.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;

use common::{ABC, COMMIT, Manners, NAME, Remote, Server, offline, settings};
use hub::{Hub, HubError, Model};

fn whole() -> Vec<(&'static str, Remote)> {
    vec![
        ("config.json", Remote::small("{}")),
        ("tokenizer.json", Remote::small("[1]")),
        ("model.safetensors", Remote::large("abc", ABC)),
        // None of these is asked for.
        ("pytorch_model.bin", Remote::small("pickle")),
        ("modeling_tiny.py", Remote::small("code")),
        ("onnx/model.onnx", Remote::small("onnx")),
        ("adapter_model.safetensors", Remote::small("other")),
    ]
}

fn fetch(dir: &Path, server: &Server) -> Result<std::path::PathBuf, HubError> {
    Hub::new(settings(dir, &server.endpoint, false)).folder(&Model::new(NAME).relative_to(dir))
}

#[test]
fn what_a_model_needs_is_fetched_once_into_a_cache_that_serves_offline() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&whole(), Manners::default());
    let folder = fetch(dir.path(), &server).unwrap();
    let shelf = dir.path().join("hub/models--Org--tiny");
    assert_eq!(folder, shelf.join("snapshots").join(COMMIT));
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), b"abc");
    assert_eq!(std::fs::read(shelf.join("blobs").join(ABC)).unwrap(), b"abc");
    assert!(folder.join("model.safetensors").is_symlink());
    assert_eq!(std::fs::read_to_string(shelf.join("refs/main")).unwrap(), COMMIT);
    let before = server.bodies().len();
    // The weights lie elsewhere, so that they are asked for twice.
    assert_eq!(before, 4);
    assert_eq!(fetch(dir.path(), &server).unwrap(), folder);
    assert_eq!(server.bodies().len(), before);
    assert_eq!(offline(dir.path()).folder(&Model::new(NAME)).unwrap(), folder);
}

#[test]
fn weights_in_several_files_are_those_that_the_index_names() {
    let dir = tempfile::tempdir().unwrap();
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let mut files = whole();
    files.retain(|(name, _)| *name != "model.safetensors");
    files.extend([
        ("model.safetensors.index.json", Remote::small(index)),
        ("model-00001-of-00002.safetensors", Remote::large("abc", ABC)),
        ("model-00002-of-00002.safetensors", Remote::small("second")),
        ("consolidated.safetensors", Remote::small("twice")),
    ]);
    let server = Server::start(&files, Manners::default());
    let folder = fetch(dir.path(), &server).unwrap();
    assert_eq!(std::fs::read(folder.join("model-00001-of-00002.safetensors")).unwrap(), b"abc");
    assert_eq!(std::fs::read(folder.join("model-00002-of-00002.safetensors")).unwrap(), b"second");
    assert!(!folder.join("consolidated.safetensors").exists());
    // An index that leads elsewhere is refused.
    let dir = tempfile::tempdir().unwrap();
    let index = Remote::small(r#"{"weight_map": {"a": "../../../../elsewhere"}}"#);
    let files = [
        ("config.json", Remote::small("{}")),
        ("tokenizer.json", Remote::small("[1]")),
        ("model.safetensors.index.json", index),
    ];
    let error = fetch(dir.path(), &Server::start(&files, Manners::default())).unwrap_err();
    assert!(matches!(&error, HubError::Index(_)), "{error}");
}

#[test]
fn a_gated_model_needs_a_token_which_only_the_hub_sees() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&whole(), Manners { token: Some("secret"), ..Manners::default() });
    let error = fetch(dir.path(), &server).unwrap_err();
    assert!(matches!(&error, HubError::NotShown { status: 401, with_token: false, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("HF_TOKEN") && message.contains("there is no folder"), "{message}");
    let mut with_token = settings(dir.path(), &server.endpoint, false);
    with_token.token = Some("secret".into());
    Hub::new(with_token.clone()).folder(&Model::new(NAME)).unwrap();
    let asked = server.asked.lock().unwrap().clone();
    let elsewhere: Vec<_> = asked.iter().filter(|(path, ..)| path.contains(" /cdn/")).collect();
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|(_, _, token)| token.is_none()), "{elsewhere:?}");
    with_token.token = Some("wrong".into());
    // What is here already serves on, whatever became of the token; what is not does not.
    Hub::new(with_token.clone()).folder(&Model::new(NAME)).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let mut with_token = settings(empty.path(), &server.endpoint, false);
    with_token.token = Some("wrong".into());
    let error = Hub::new(with_token).folder(&Model::new(NAME)).unwrap_err();
    assert!(
        matches!(&error, HubError::NotShown { with_token: true, .. }) && !error.to_string().contains("wrong"),
        "{error}"
    );
}

#[test]
fn a_model_that_the_hub_does_not_have_is_named_with_the_folder_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&whole(), Manners::default());
    let hub = Hub::new(settings(dir.path(), &server.endpoint, false));
    let error = hub.folder(&Model::new("models/all-MiniLM-L6-v2").relative_to(dir.path())).unwrap_err();
    assert!(matches!(&error, HubError::NotShown { status: 404, .. }), "{error}");
    let folder = dir.path().join("models/all-MiniLM-L6-v2");
    assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");
    // Where its first part is a folder, a path was meant: nobody is asked for somebody's model of that name.
    std::fs::create_dir(dir.path().join("models")).unwrap();
    let asked = server.asked.lock().unwrap().len();
    let error = hub.folder(&Model::new("models/all-MiniLM-L6-v2").relative_to(dir.path())).unwrap_err();
    assert!(matches!(&error, HubError::Neither { .. }), "{error}");
    assert_eq!(server.asked.lock().unwrap().len(), asked);
}

#[test]
fn a_commit_that_is_here_is_taken_without_asking() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&whole(), Manners::default());
    let hub = Hub::new(settings(dir.path(), &server.endpoint, false));
    let pinned = Model::new(format!("{NAME}@{COMMIT}"));
    let first = hub.folder(&pinned).unwrap();
    let asked = server.asked.lock().unwrap().len();
    assert_eq!(hub.folder(&pinned).unwrap(), first);
    assert_eq!(server.asked.lock().unwrap().len(), asked);
}

#[test]
fn only_pickles_and_parts_of_models_are_refused_by_name_before_anything_is_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = whole();
    files.retain(|(name, _)| *name != "model.safetensors");
    let server = Server::start(&files, Manners::default());
    let error = fetch(dir.path(), &server).unwrap_err();
    assert!(matches!(&error, HubError::OnlyPickles { files, .. } if files == &["pytorch_model.bin"]), "{error}");
    assert!(server.bodies().is_empty() && error.to_string().contains("pickles (pytorch_model.bin)"), "{error}");
    for (without, lacks) in [("config.json", "config.json"), ("tokenizer.json", "tokenizer.json")] {
        let files: Vec<_> = whole().into_iter().filter(|(name, _)| *name != without).collect();
        let error = fetch(dir.path(), &Server::start(&files, Manners::default())).unwrap_err();
        assert!(matches!(&error, HubError::Incomplete { file, .. } if *file == lacks), "{error}");
    }
}

#[test]
fn a_body_that_breaks_off_is_gone_on_with_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("config.json", Remote::small("{}")),
        ("tokenizer.json", Remote::small("[1]")),
        ("model.safetensors", Remote::large("abc", ABC)),
    ];
    let server = Server::start(&files, Manners { truncated: 1, ..Manners::default() });
    // The first body, of config.json, breaks off after one of its two bytes.
    let folder = fetch(dir.path(), &server).unwrap();
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), b"{}");
    let ranges: Vec<_> = server.bodies().into_iter().map(|(_, range)| range).collect();
    assert_eq!(ranges[..2], [None, Some("bytes=1-".to_owned())]);
    // One that breaks off again and again is given up; another run goes on with it.
    let dir = tempfile::tempdir().unwrap();
    let long = Remote::small("long enough to break off many times");
    let files = [
        ("config.json", long),
        ("tokenizer.json", Remote::small("[1]")),
        ("model.safetensors", Remote::large("abc", ABC)),
    ];
    let server = Server::start(&files, Manners { truncated: 4, ..Manners::default() });
    let error = fetch(dir.path(), &server).unwrap_err();
    assert!(matches!(&error, HubError::Unreachable { file, .. } if file == "config.json"), "{error}");
    let folder = fetch(dir.path(), &server).unwrap();
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), b"long enough to break off many times");
}

#[test]
fn what_is_not_what_the_hub_announced_is_thrown_away() {
    // Another content than the digest's.
    let dir = tempfile::tempdir().unwrap();
    let mut files = whole();
    files[2].1.content = b"abd".into();
    let error = fetch(dir.path(), &Server::start(&files, Manners::default())).unwrap_err();
    assert!(matches!(&error, HubError::Damaged { file, .. } if file == "model.safetensors"), "{error}");
    let shelf = dir.path().join("hub/models--Org--tiny");
    assert!(!shelf.join("blobs").join(ABC).exists());
    assert!(!shelf.join("snapshots").join(COMMIT).join("model.safetensors").is_symlink());
    assert!(!shelf.join("refs/main").exists());
    // A part, and a server that begins again from the start.
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("hub/models--Org--tiny/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{ABC}.part")), "a").unwrap();
    let server = Server::start(&whole(), Manners { ignores_ranges: true, ..Manners::default() });
    let folder = fetch(dir.path(), &server).unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), b"abc");
}

#[test]
fn tags_commits_and_lists_that_no_hub_gives_are_refused() {
    for manners in [
        Manners { tag: Some("../../../../elsewhere"), ..Manners::default() },
        Manners { tag: Some(""), ..Manners::default() },
        Manners { commit: Some("../../elsewhere"), ..Manners::default() },
        Manners { listing: Some("<html>"), ..Manners::default() },
        Manners { listing: Some(r#"{"sha": "../..", "siblings": []}"#), ..Manners::default() },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let error = fetch(dir.path(), &Server::start(&whole(), manners)).unwrap_err();
        assert!(matches!(&error, HubError::Answer { .. }) && error.to_string().contains("HF_ENDPOINT"), "{error}");
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 0, "{error}");
    }
}

#[test]
fn a_silent_an_overloaded_and_an_absent_hub_are_errors_only_where_the_cache_lacks_something() {
    let dir = tempfile::tempdir().unwrap();
    let silent = Server::start(&whole(), Manners { silent: true, ..Manners::default() });
    let error = fetch(dir.path(), &silent).unwrap_err();
    assert!(matches!(&error, HubError::Silent { .. }), "{error}");
    let overloaded = Server::start(&whole(), Manners { overloaded: true, ..Manners::default() });
    let error = fetch(dir.path(), &overloaded).unwrap_err();
    assert!(matches!(&error, HubError::Status { status: 503, .. }), "{error}");
    let absent = Server { endpoint: "http://127.0.0.1:1".into(), asked: std::sync::Arc::default() };
    let error = fetch(dir.path(), &absent).unwrap_err();
    assert!(matches!(&error, HubError::Unreachable { .. }), "{error}");
    let folder = fetch(dir.path(), &Server::start(&whole(), Manners::default())).unwrap();
    assert_eq!(fetch(dir.path(), &absent).unwrap(), folder);
    assert_eq!(fetch(dir.path(), &overloaded).unwrap(), folder);
}
