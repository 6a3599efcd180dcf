//! What is found without a network: folders, and caches as Python's library lays them out.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{COMMIT, offline, python_cache};
use hub::{HubError, Model};

const WHOLE: [(&str, &str); 3] = [("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors", "abc")];

#[test]
fn a_folder_that_exists_wins_over_a_model_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = python_cache(dir.path(), COMMIT, &WHOLE);
    let model = Model::new("Org/tiny").relative_to(dir.path());
    assert_eq!(offline(dir.path()).folder(&model).unwrap(), snapshot);
    std::fs::create_dir_all(dir.path().join("Org/tiny")).unwrap();
    assert_eq!(offline(dir.path()).folder(&model).unwrap(), dir.path().join("Org/tiny"));
    let absolute = Model::new(dir.path().to_str().unwrap()).relative_to(&snapshot);
    assert_eq!(offline(dir.path()).folder(&absolute).unwrap(), dir.path());
}

#[test]
fn what_is_neither_a_folder_nor_an_id_is_refused_as_both() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["", "tiny", "./tiny", "a/b/c", "/nowhere/at/all"] {
        let error = offline(dir.path()).folder(&Model::new(text).relative_to(dir.path())).unwrap_err();
        assert!(matches!(&error, HubError::Neither { text: t, .. } if t == text), "{error}");
        let message = error.to_string();
        assert!(message.contains("neither a folder") && message.contains("ORG/NAME@REVISION"), "{message}");
    }
}

#[test]
fn offline_a_revision_is_a_branch_a_tag_or_a_commit_of_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let old = "f".repeat(40);
    let before = python_cache(dir.path(), &old, &WHOLE);
    std::fs::remove_dir_all(dir.path().join("hub/models--Org--tiny/blobs")).unwrap();
    let now = python_cache(dir.path(), COMMIT, &WHOLE);
    let refs = dir.path().join("hub/models--Org--tiny/refs");
    std::fs::create_dir_all(refs.join("refs/pr")).unwrap();
    std::fs::write(refs.join("refs/pr/1"), &old).unwrap();
    let folder = |text: String| offline(dir.path()).folder(&Model::new(text).relative_to(dir.path()));
    assert_eq!(folder("Org/tiny@main".into()).unwrap(), now);
    assert_eq!(folder(format!("Org/tiny@{COMMIT}")).unwrap(), now);
    assert_eq!(folder("Org/tiny@refs/pr/1".into()).unwrap(), before);
    assert_eq!(folder(format!("Org/tiny@{old}")).unwrap(), before);
    let error = folder("Org/tiny@v2".into()).unwrap_err().to_string();
    assert!(
        error.contains("no revision v2") && error.contains("HF_HUB_OFFLINE") && error.contains("hf download Org/tiny"),
        "{error}"
    );
    // What a reference says is no path.
    std::fs::write(refs.join("main"), "../../../elsewhere").unwrap();
    assert!(matches!(folder("Org/tiny".into()), Err(HubError::NotCached { .. })));
}

#[test]
fn offline_what_the_cache_lacks_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let lack = |text: &str| match offline(dir.path()).folder(&Model::new(text).relative_to(dir.path())) {
        Err(HubError::NotCached { lack, .. }) => lack,
        other => panic!("{other:?}"),
    };
    assert_eq!(lack("Org/tiny"), "nothing of it");
    let snapshot = python_cache(dir.path(), COMMIT, &[("config.json", "{}")]);
    assert!(lack("Org/tiny").contains("no tokenizer.json, model.safetensors"), "{}", lack("Org/tiny"));
    // Weights in two files, one of them a link to a blob that is gone.
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    std::fs::write(snapshot.join("tokenizer.json"), "{}").unwrap();
    std::fs::write(snapshot.join("model.safetensors.index.json"), index).unwrap();
    std::fs::write(snapshot.join("model-00001-of-00002.safetensors"), "a").unwrap();
    std::os::unix::fs::symlink("../../blobs/gone", snapshot.join("model-00002-of-00002.safetensors")).unwrap();
    let found = lack("Org/tiny");
    assert!(found.contains("no model-00002-of-00002.safetensors of revision main"), "{found}");
    std::fs::write(snapshot.join("../../blobs/gone"), "b").unwrap();
    assert_eq!(offline(dir.path()).folder(&Model::new("Org/tiny")).unwrap(), snapshot);
}

#[test]
fn offline_a_model_that_is_only_pickles_is_refused_with_their_names() {
    let dir = tempfile::tempdir().unwrap();
    python_cache(dir.path(), COMMIT, &[("config.json", "{}"), ("tokenizer.json", "{}"), ("pytorch_model.bin", "")]);
    let error = offline(dir.path()).folder(&Model::new("Org/tiny")).unwrap_err();
    assert!(matches!(&error, HubError::OnlyPickles { files, .. } if files == &["pytorch_model.bin"]), "{error}");
}
