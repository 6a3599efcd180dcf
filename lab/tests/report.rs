//! A sweep over a tiny plan, its report, and a charter with a head from public rows.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Command;

use lab::rows::RunRow;
use lab::{report, table};

fn program(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_plainchant-lab")).current_dir(dir).args(arguments).output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

#[test]
fn a_sweep_leaves_every_run_and_one_page_that_loads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    common::files(dir.path(), 90);
    let plan = lab::simulate::SAMPLE
        .replace("../examples/hospitals/data/train.tsv", "train.csv")
        .replace("../examples/hospitals/data/test.tsv", "test.csv")
        .replace("model = \"minilm\"", "model = \".\"")
        .replace("count = 10\n", "count = 4\n")
        .replace("rounds = 60", "rounds = 2")
        .replace("batch = 512.0", "batch = 30.0")
        .replace("evaluate_every = 10", "evaluate_every = 1")
        .replace("seeds = [1]", "seeds = [1, 2]")
        .replace("modes = [\"record-shared\"]", "modes = [\"record-shared\", \"none\"]");
    std::fs::write(dir.path().join("plan.toml"), plan).unwrap();
    std::fs::write(dir.path().join("sweep.toml"), "plan = \"plan.toml\"\n[grid]\nepsilon = [2.0, 8.0]\n").unwrap();
    let (done, said) = program(dir.path(), &["sweep", "sweep.toml", "--out", "out", "--jobs", "2"]);
    assert!(done, "{said}");
    let runs: Vec<RunRow> = table::read(&dir.path().join("out/runs.json")).unwrap();
    assert_eq!(runs.len(), 2 * 2 * 2);
    let names: std::collections::BTreeSet<&str> = runs.iter().map(|run| run.run.as_str()).collect();
    assert_eq!(names.len(), runs.len());
    let page = std::fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    for part in ["<svg", "Plain accuracy over epsilon", "Accuracy while training", "Fairness between clients", "Cost"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains("plainchant-lab sweep sweep.toml --out out") && page.contains("epsilon = [2.0, 8.0]"));
    assert!(runs.iter().all(|run| page.contains(&run.run)));
    // Nothing is loaded: no address but the name space of SVG, no script, no style sheet, no picture of another file.
    for outside in ["src=", "href=", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.matches("http").count() == page.matches("http://www.w3.org/2000/svg").count());
    // The same page from what is there; settings that are there are not run again.
    let (done, said) = program(dir.path(), &["report", "out"]);
    assert!(done && said.contains("report.html"), "{said}");
    let again = report::read(&dir.path().join("out")).unwrap();
    // Epsilon without privacy is no number, which equals nothing.
    let shown = |runs: &[RunRow]| runs.iter().map(|run| format!("{run:?}")).collect::<Vec<_>>();
    assert_eq!(shown(&again.runs), shown(&runs));
    let (done, said) = program(dir.path(), &["report", "nowhere"]);
    assert!(!done && said.contains("nowhere"), "{said}");
}

#[test]
fn a_head_from_public_rows_goes_into_the_charter_and_its_federation_starts_from_it() {
    let dir = tempfile::tempdir().unwrap();
    common::files(dir.path(), 90);
    let charter = protocol::charter::SAMPLE
        .replace("num_hidden_layers = 6", "num_hidden_layers = 2")
        .replace("hidden_size = 384", "hidden_size = 32")
        .replace("intermediate_size = 1536", "intermediate_size = 64")
        .replace(r#"["infections", "neoplasms", "injuries"]"#, r#"["a", "b", "c"]"#)
        .replace("max_tokens = 64", "max_tokens = 16");
    std::fs::write(dir.path().join("charter.toml"), &charter).unwrap();
    let warm = ["warm-up", "charter.toml", "--data", "train.csv", "--model", ".", "--out", "warm.toml"];
    let (done, said) = program(dir.path(), &warm);
    assert!(done, "{said}");
    let warm = std::fs::read_to_string(dir.path().join("warm.toml")).unwrap();
    let state = |text: &str| {
        let charter = protocol::Charter::parse(text).unwrap();
        terms::Terms::of(&charter).unwrap().first_state().unwrap()
    };
    let head = |text: &str| state(text).adapter().get("base_model.model.classifier.weight").unwrap().data.clone();
    assert!(head(&charter).iter().all(|weight| *weight == 0.0));
    assert!(head(&warm).iter().any(|weight| weight.abs() > 0.1));
    let (done, said) = program(dir.path(), &["warm-up", "warm.toml", "--data", "train.csv", "--model", "."]);
    assert!(!done && said.contains("initial_head"), "{said}");
}
