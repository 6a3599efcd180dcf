//! Every privacy mode, with its evaluations, over real TLS sockets: real mechanisms with their noise, and what all houses and the
//! aggregator sign is what the recorded contributions add up to.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/model.rs"]
mod model;

use std::path::Path;
use std::sync::{Arc, Mutex};

use adapter::{Adapter, State};
use client::config::Config;
use client::trainer::{HouseTrainer, Trainer};
use common::{Federation, HOUSES, all_completed, logs};
use privacy::Kind;
use protocol::HouseName;
use terms::{RoundSum, Terms};
use training::{FreshNoise, House, Learner, Mechanism, Outcome, Part, Sink, Tools, TrainError, Trained, mechanism};

/// Every row pulls the weights toward its own number; class 0 for even rows.
struct Pull(Vec<f32>);

impl Learner for Pull {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        self.0 = adapter.flat();
        Ok(())
    }

    fn set_dropout_seed(&mut self, _: u64) {}

    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError> {
        for (at, row) in rows.iter().enumerate() {
            let gradient: Vec<f32> = self.0.iter().map(|weight| weight - *row as f32 / 100.0).collect();
            sink(at, 1.0, &gradient);
        }
        Ok(())
    }

    fn outcomes(&self, rows: &[usize]) -> Result<Vec<Outcome>, TrainError> {
        Ok(rows.iter().map(|row| Outcome::of_logits(row % 3, &[(row % 2) as f32, 0.5, 0.0])).collect())
    }
}

/// What each attempt's announcement and integers were: (round, digest, house, integers).
type Record = Arc<Mutex<Vec<(u32, [u8; 32], HouseName, Vec<i64>)>>>;

/// The charter's own mechanism, with a copy of what it makes.
struct Recorded {
    mechanism: Box<dyn Mechanism>,
    house: House,
    noise: FreshNoise,
    record: Record,
}

impl Trainer for Recorded {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let (mut learner, mut rng) = (Pull(Vec::new()), rand::rng());
        let mut tools = Tools { learner: &mut learner, noise: &mut self.noise, rng: &mut rng };
        let made = self.mechanism.contribute(part, state, &self.house, &mut tools)?;
        let line = (part.number.get(), part.seed, part.house.clone(), made.values.to_vec());
        self.record.lock().unwrap().push(line);
        Ok(made)
    }
}

async fn all_agree_on_what_the_contributions_add_up_to(mode: &str, strategy: &str) {
    logs();
    let federation = Federation::of_mode(mode, strategy).await;
    let charter = &federation.charter;
    terms::check(charter).unwrap();
    let record = Record::default();
    let tasks = HOUSES.map(|house| {
        let rows = |from: usize, to| (from..to).map(|row| vec![row]).collect();
        let house_rows = House { units: rows(0, 40), held_out: rows(40, 50) };
        let mechanism = mechanism(charter).unwrap();
        let (noise, record) = (FreshNoise::new(), record.clone());
        federation.spawn_with(house, Box::new(Recorded { mechanism, house: house_rows, noise, record }))
    });
    let completed = all_completed(tasks.into()).await;
    let mut state = Terms::of(charter).unwrap().first_state().unwrap();
    let record = record.lock().unwrap().clone();
    for round in 1..=2 {
        let lines: Vec<_> = record.iter().filter(|line| line.0 == round).collect();
        assert_eq!(lines.len(), 4);
        let mut sum = vec![0; lines[0].3.len()];
        lines.iter().for_each(|line| sum.iter_mut().zip(&line.3).for_each(|(sum, value)| *sum += value));
        let cohort: Vec<&HouseName> = lines.iter().map(|line| &line.2).collect();
        let number = protocol::RoundNumber::new(round).unwrap();
        let seed = &lines[0].1;
        let opened = RoundSum { round: number, seed, cohort: &cohort, values: &sum, expected: 4, may_vanish: 0 };
        let metrics = opened.metrics(charter, state.update_len());
        assert_eq!(metrics.is_some(), round == 2);
        opened.apply(charter, &mut state).unwrap();
    }
    assert_eq!(completed.state.as_bytes(), &state.digest());
    assert_eq!(state.clipping_norm().is_some(), mode == "client" && strategy != "rolora");
    for house in HOUSES {
        let ledger = privacy::Ledger::open(federation.house(house).join("state/ledger")).unwrap();
        let kinds: Vec<(u64, Kind)> = ledger.entries().iter().map(|entry| (entry.round, entry.kind)).collect();
        let training = [(1, Kind::Training), (2, Kind::Training)];
        let evaluation = if mode == "client" { vec![] } else { vec![(2, Kind::Evaluation)] };
        assert_eq!(kinds, [&training[..], &evaluation].concat());
        assert!(ledger.entries().iter().all(|entry| ledger.is_confirmed(entry)));
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rounds_of_mode_client_with_adaptive_clipping_and_an_evaluation() {
    all_agree_on_what_the_contributions_add_up_to("client", "ffa-lora").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rounds_of_mode_record_shared_with_an_evaluation() {
    all_agree_on_what_the_contributions_add_up_to("record-shared", "ffa-lora").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rounds_of_mode_record_local_of_two_steps_with_an_evaluation() {
    all_agree_on_what_the_contributions_add_up_to("record-local", "ffa-lora").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rounds_by_turns_of_b_and_a_under_every_mode() {
    for mode in ["client", "record-shared", "record-local"] {
        all_agree_on_what_the_contributions_add_up_to(mode, "rolora").await;
    }
}

/// Real models on real rows: four companies and a tiny Qwen2, some of whose biases are trained too, prompts and completions, noise and all. What comes out is an
/// adapter that PEFT takes for a causal language model's, the same in every house.
#[tokio::test(flavor = "multi_thread")]
async fn a_language_model_is_fine_tuned_by_a_federation() {
    logs();
    let dir = tempfile::tempdir().unwrap();
    let text = model::write(dir.path());
    let config = Config::parse(&text, &dir.path().join("client.toml")).unwrap();
    let (data, training) = (config.data.unwrap(), config.training.unwrap());

    let federation = Federation::of_language_model(&model::weights(dir.path())).await;
    let tasks = HOUSES.map(|house| {
        let trainer = HouseTrainer::load(&federation.charter, &data, &training, dir.path()).unwrap();
        federation.spawn_with(house, Box::new(trainer))
    });
    // The program looks at the same rows and model, and says which rows are bad.
    let own = federation.house("abbey").join("client.toml");
    let program = |verb: &[&str], rows: &str| {
        std::fs::write(dir.path().join("checked.tsv"), rows).unwrap();
        let text = text
            .replace(&format!("{:?}", dir.path().join("rows.tsv")), &format!("{:?}", dir.path().join("checked.tsv")));
        let before = std::fs::read_to_string(&own).unwrap();
        std::fs::write(&own, text).unwrap();
        let mut args = vec![std::ffi::OsString::from("plainchant-client")];
        args.extend(verb.iter().map(std::ffi::OsString::from));
        args.push(federation.house("abbey").into());
        let code = client::cli::run(args);
        std::fs::write(&own, before).unwrap();
        format!("{code:?}")
    };
    for verb in [["check"].as_slice(), &["check", "--json"], &["run", "--check"]] {
        assert_eq!(program(verb, &model::rows()), format!("{:?}", std::process::ExitCode::SUCCESS), "{verb:?}");
        let bad = program(verb, "question\tcompletion\near\t\neye\tH10\nhand\n");
        assert_eq!(bad, format!("{:?}", std::process::ExitCode::from(2)), "{verb:?}");
    }
    let completed = all_completed(tasks.into()).await;
    let terms = Terms::of(&federation.charter).unwrap();
    let first = terms.first_state().unwrap();
    let load = |folder: &Path| Adapter::load_dir_with_base(folder, &terms.model, dir.path()).unwrap();
    let adapters = HOUSES.map(|house| load(&federation.house(house).join("adapter")));
    assert!(adapters.iter().all(|adapter| adapter.digest() == adapters[0].digest()));
    assert_ne!(adapters[0].digest(), first.adapter().digest());
    assert_ne!(completed.state.as_bytes(), &first.digest());
    let peft = std::fs::read_to_string(federation.house("abbey").join("adapter/adapter_config.json")).unwrap();
    assert!(peft.contains("\"CAUSAL_LM\"") && peft.contains("\"lora_only\""), "{peft}");
    // A house whose folder was lost, or that died before it was written, has it again once it starts.
    std::fs::remove_dir_all(federation.house("abbey").join("adapter")).unwrap();
    let trainer = HouseTrainer::load(&federation.charter, &data, &training, dir.path()).unwrap();
    all_completed(vec![federation.spawn_with("abbey", Box::new(trainer))]).await;
    assert_eq!(load(&federation.house("abbey").join("adapter")), adapters[0]);
    // Without the base model's biases no house begins what it could not write.
    let refused = federation.spawn("abbey", federation.options("abbey")).await.unwrap().unwrap_err();
    assert!(
        matches!(&refused, client::round::RunError::NoBaseBias { tensor } if tensor.contains("q_proj")),
        "{refused}"
    );
    // The model builder takes the adapter home, for which biases have to be at hand, and the whole model; it says what the adapted one does.
    let (aggregator, merged) = (federation.house("aggregator"), dir.path().join("merged"));
    let (as_adapter, as_model) = ("--model", "--merge-into");
    let export = |how: &'static str, base: &Path| {
        let args = ["plainchant-aggregator".into(), "export".into(), aggregator.clone().into(), merged.clone().into()];
        let more = [how.into(), base.to_owned().into()];
        let args: Vec<std::ffi::OsString> = args.into_iter().chain(more).collect();
        tokio::task::spawn_blocking(move || format!("{:?}", aggregator::cli::run(args)))
    };
    assert_eq!(export(as_adapter, dir.path()).await.unwrap(), format!("{:?}", std::process::ExitCode::SUCCESS));
    assert_eq!(load(&merged), adapters[0]);
    assert_eq!(export(as_model, dir.path()).await.unwrap(), format!("{:?}", std::process::ExitCode::SUCCESS));
    let device = lora::device("cpu").unwrap();
    let texts = [lora::Encoded { ids: vec![2, 5, 4, 3, 8] }];
    let adapted = lora::LanguageModel::load(dir.path(), &adapters[0], &device).unwrap().logits(&texts).unwrap();
    let taken = lora::Pretrained::load(&merged, &device).unwrap().logits(&texts).unwrap();
    let largest = adapted[0].iter().fold(0.0f32, |most, x| most.max(x.abs()));
    assert!(adapted[0].iter().zip(&taken[0]).all(|(a, b)| (a - b).abs() < 1e-5 * largest));
    // Another base model is refused by its weights.
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora/tests/fixtures/families/qwen3");
    for how in [as_adapter, as_model] {
        assert_eq!(export(how, &other).await.unwrap(), format!("{:?}", std::process::ExitCode::from(2)));
    }
    federation.stop().await;
}
