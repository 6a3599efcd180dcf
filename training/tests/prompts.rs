//! A house whose charter has a language model: prompts and completions, a tiny Llama, a tokenizer of words.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use lora::{ChatTemplate, Encoded, LanguageModel, Message, Tokenizer};
use protocol::{Attempt, Charter, Digest, HouseName, RoundNumber};
use serde_json::json;
use terms::{MetricsShape, Norms, RoundShape, RoundSum, Terms};
use training::{
    At, Columns, DataError, DataSource, FreshNoise, Loaded, ModelSource, Part, Tools, TrainError, load, mechanism,
};

const WORDS: [&str; 12] =
    ["<of>", "<ask>", "<say>", "<end>", "infarction", "otitis", "fracture", "heart", "ear", "hand", "I21", "S62"];
const ROWS: [(&str, &str); 4] = [
    ("infarction heart", "I21"),
    ("fracture hand", "S62 hand"),
    ("otitis ear", "ear ear ear"),
    ("infarction", "heart"),
];
const TEMPLATE: &str = "{% for m in messages %}{{ '<ask> ' if m.role == 'user' else '<say> ' }}{{ m.content }} <end> {% endfor %}{% if add_generation_prompt %}<say> {% endif %}";

struct Bench {
    dir: tempfile::TempDir,
    charter: Charter,
}

impl Bench {
    /// `lora`'s fixture with tied words, rows with sampling rate 1, mode `none`, and an evaluation where `held_out` is not 0.
    fn new(held_out: f64, max_tokens: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora/tests/fixtures/families/llama");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture.join(file), dir.path().join(file)).unwrap();
        }
        let vocabulary: serde_json::Map<_, _> =
            WORDS.iter().zip(1..).map(|(word, id)| ((*word).to_owned(), json!(id))).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": { "type": "WhitespaceSplit" }, "post_processor": null, "decoder": null,
            "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<of>" },
        });
        std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let config = json!({ "chat_template": TEMPLATE });
        std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        let rows: String = ROWS
            .iter()
            .map(|(prompt, said)| json!({ "prompt": prompt, "completion": said }).to_string() + "\n")
            .collect();
        std::fs::write(dir.path().join("rows.jsonl"), rows).unwrap();
        let weights = Digest::sha256(&std::fs::read(dir.path().join("model.safetensors")).unwrap());
        let mut text = protocol::charter::SAMPLE
            .replace("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", &weights.to_string())
            .replace("architecture = \"bert\"", "architecture = \"llama\"")
            .replace("num_hidden_layers = 6", "num_hidden_layers = 2")
            .replace("hidden_size = 384", "hidden_size = 32")
            .replace("intermediate_size = 1536", "intermediate_size = 44")
            .replace(
                r#"labels = ["infections", "neoplasms", "injuries"]"#,
                "labels = []\nattention = { num_attention_heads = 4, num_key_value_heads = 2, head_dim = 8 }",
            )
            .replace("max_tokens = 64", &format!("max_tokens = {max_tokens}"))
            .replace("target_modules = [\"query\", \"value\"]", "target_modules = \"all-linear\"")
            .replace("modules_to_save = [\"classifier\"]", "modules_to_save = []")
            .replace("mode = \"record-shared\"", "mode = \"none\"")
            .replace("\nepsilon = 3.0", "\nepsilon = 0.0")
            .replace("delta = 1e-5", "delta = 0.0")
            .replace("noise_multiplier = 0.81", "noise_multiplier = 0.0")
            .replace("clipping_norm = 1.0", "clipping_norm = 0.25")
            .replace("sampling_rate = 0.02", "sampling_rate = 1.0");
        if held_out > 0.0 {
            let section = format!(
                "[evaluation]\nevery = 1\nheld_out = {held_out}\nnoise_multiplier = 20.0\nloss_bound = 8.0\n[[house]]"
            );
            text = text.replacen("[[house]]", &section, 1);
        }
        Self { charter: Charter::parse(&text).unwrap(), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Result<Loaded, TrainError> {
        let columns = Columns { text: "prompt", answer: "completion", messages: None, unit: None };
        let data = DataSource { file: &self.path("rows.jsonl"), format: None, columns };
        let model = ModelSource { folder: self.dir.path(), device: "cpu", threads: Some(2) };
        load(&self.charter, &data, &model, self.dir.path())
    }

    /// Texts and prompts made without `training`, and the model at the first adapter.
    fn by_hand(&self) -> (LanguageModel, Vec<Encoded>, Vec<usize>) {
        let state = Terms::of(&self.charter).unwrap().first_state().unwrap();
        let model = LanguageModel::load(self.dir.path(), state.adapter(), &lora::device("cpu").unwrap()).unwrap();
        let tokenizer = Tokenizer::from_file(&self.path("tokenizer.json")).unwrap();
        let template = ChatTemplate::from_dir(self.dir.path()).unwrap().unwrap();
        let of = |(prompt, said): &(&str, &str)| {
            template.encode(&tokenizer, &[Message::new("user", prompt), Message::new("assistant", said)]).unwrap()
        };
        let (texts, prompts) = ROWS.iter().map(of).unzip();
        (model, texts, prompts)
    }
}

fn contribution(bench: &Bench) -> Vec<i64> {
    let mut loaded = bench.load().unwrap();
    let state = Terms::of(&bench.charter).unwrap().first_state().unwrap();
    let house: HouseName = "lakeside".parse().unwrap();
    let part = Part {
        charter: &bench.charter,
        house: &house,
        number: RoundNumber::FIRST,
        attempt: Attempt::FIRST,
        expected: 4,
        may_vanish: 1,
        seed: [0; 32],
    };
    let (mut noise, mut rng) = (FreshNoise::new(), rand::rng());
    let mut tools = Tools { learner: loaded.learner.as_mut(), noise: &mut noise, rng: &mut rng };
    let mechanism = mechanism(&bench.charter).unwrap();
    mechanism.contribute(&part, &state, &loaded.house, &mut tools).unwrap().values.to_vec()
}

/// By hand: each row's gradient shrunk to norm 0.25, on the sample charter's grid of 4096 units.
#[test]
fn without_noise_a_contribution_is_the_sum_of_the_completions_clipped_gradients() {
    let bench = Bench::new(0.0, 64);
    let (model, texts, prompts) = bench.by_hand();
    // <ask> and the prompt, <end> and <say> are given.
    assert_eq!(prompts, [5, 5, 5, 4]);
    let found = contribution(&bench);
    let mut wanted = vec![0.0f64; found.len()];
    model
        .for_each_gradient(&texts, &prompts, |_, _, gradient| {
            let norm = gradient.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let factor = (0.25 / norm).min(1.0) * 4096.0 / 0.25;
            wanted.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += f64::from(*x) * factor);
        })
        .unwrap();
    assert!(found.iter().any(|value| value.abs() > 100));
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!((*found as f64 - wanted).abs() <= ROWS.len() as f64, "{found} for {wanted}");
    }
}

/// The same rows as conversations: of two messages, and nothing else that could differ.
#[test]
fn conversations_of_two_messages_are_prompts_and_completions_and_longer_ones_give_all_but_the_last() {
    let bench = Bench::new(0.5, 64);
    let (wanted, split) = (contribution(&bench), bench.load().unwrap().house);
    let said = |role: &str, content: &str| json!({ "role": role, "content": content });
    let rows: String = ROWS
        .iter()
        .map(|(prompt, answer)| {
            json!({ "messages": [said("user", prompt), said("assistant", answer)] }).to_string() + "\n"
        })
        .collect();
    std::fs::write(bench.path("rows.jsonl"), &rows).unwrap();
    assert_eq!(bench.load().unwrap().house, split);
    assert_eq!(contribution(&bench), wanted);
    // <ask> ear <end> <say> hand <end> <ask> heart <end> <say>: ten tokens are given.
    let long = [said("user", "ear"), said("assistant", "hand"), said("user", "heart"), said("assistant", "I21")];
    let long = json!({ "messages": long }).to_string();
    let load = |max_tokens| {
        let bench = Bench::new(0.0, max_tokens);
        std::fs::write(bench.path("rows.jsonl"), &long).unwrap();
        bench.load()
    };
    let error = load(10).err().unwrap();
    assert!(matches!(error, TrainError::Data(DataError::Malformed { at: At::Line(1), .. })), "{error}");
    assert_eq!(load(11).unwrap().cut_rows, 1);
    assert_eq!(load(12).unwrap().cut_rows, 0);
}

/// What a template refuses is a row's fault, and is named with the others.
#[test]
fn conversations_that_the_template_refuses_are_named_by_line() {
    let bench = Bench::new(0.0, 64);
    let strict = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}{% endfor %}";
    let config = json!({ "chat_template": strict.to_owned() + TEMPLATE });
    std::fs::write(bench.path("tokenizer_config.json"), config.to_string()).unwrap();
    let said = |role: &str, content: &str| json!({ "role": role, "content": content });
    let (user, assistant) = (said("user", "ear"), said("assistant", "hand"));
    let rows = [json!([user, assistant]), json!([said("system", "ear"), user, assistant]), json!([user])];
    let rows: String = rows.iter().map(|row| json!({ "messages": row }).to_string() + "\n").collect();
    std::fs::write(bench.path("rows.jsonl"), rows).unwrap();
    let text = bench.load().err().unwrap().to_string();
    for part in
        ["2 rows", "line 2: ", "no system here", "line 3: 'messages' does not end with a message of the assistant"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn held_out_completions_are_foreseen_and_counted_and_not_trained_on() {
    let bench = Bench::new(0.5, 64);
    let loaded = bench.load().unwrap();
    let held: Vec<usize> = loaded.house.held_out.iter().flatten().copied().collect();
    assert!(held.len() + loaded.house.rows() == ROWS.len() && !held.is_empty() && loaded.house.rows() > 0);
    let values = contribution(&bench);
    let count = Terms::of(&bench.charter).unwrap().first_state().unwrap().adapter().trainable_len();
    let shape = RoundShape::of(&bench.charter, RoundNumber::FIRST, count);
    assert_eq!((shape.update, shape.metrics, values.len()), (count, 2, count + 2));
    assert_eq!(MetricsShape::of(&bench.charter).unwrap().len(), 2);
    let name: HouseName = "lakeside".parse().unwrap();
    let (round, expected, may_vanish) = (RoundNumber::FIRST, 4, 1);
    let sum = RoundSum { round, seed: &[0; 32], cohort: &[&name], values: &values, expected, may_vanish };
    let found = sum.metrics(&bench.charter, count).unwrap();
    let (model, texts, prompts) = bench.by_hand();
    let foreseen = model.foresee(&texts, &prompts).unwrap();
    let mean = held.iter().map(|row| f64::from(foreseen[*row].loss)).sum::<f64>() / held.len() as f64;
    assert_eq!(found.units.value, held.len() as f64);
    // Each loss is truncated on a grid of 2,896 units for 8 nats.
    assert!((found.loss.unwrap().value - mean).abs() < 4e-3, "{found:?} {mean}");
    assert_eq!(Norms::of(&bench.charter, RoundNumber::FIRST).metrics, 4096);
}

#[test]
fn prompts_that_leave_nothing_to_learn_are_named_by_line_and_a_folder_without_a_template_is_refused() {
    // The longest prompts take five tokens.
    let error = Bench::new(0.0, 5).load().err().unwrap();
    let TrainError::Data(DataError::Several { problems, more: false, .. }) = &error else { panic!("{error}") };
    let at: Vec<_> = problems.iter().map(DataError::at).collect();
    assert_eq!(at, [1, 2, 3].map(|line| Some(At::Line(line))));
    assert!(
        error.to_string().contains("line 3: what comes before the answer fills all of the charter's 5 tokens"),
        "{error}"
    );
    // A longer completion is cut. Of seven, eight, nine and six tokens, six are left.
    assert_eq!(Bench::new(0.0, 6).load().unwrap().cut_rows, 3);
    assert_eq!(Bench::new(0.0, 64).load().unwrap().cut_rows, 0);
    let bench = Bench::new(0.0, 64);
    std::fs::remove_file(bench.path("tokenizer_config.json")).unwrap();
    assert!(matches!(bench.load(), Err(TrainError::NoChatTemplate(_))));
    let bench = Bench::new(0.0, 65);
    assert!(matches!(bench.load(), Err(TrainError::Positions { max_tokens: 65, positions: 64, .. })));
}

/// Loss, perplexity and answers by hand from `lora`.
#[test]
fn an_evaluation_says_what_the_model_foresees_and_answers_and_a_prediction_is_what_it_says() {
    let bench = Bench::new(0.0, 32);
    let state = Terms::of(&bench.charter).unwrap().first_state().unwrap();
    let (model, texts, prompts) = bench.by_hand();
    let tokenizer = Tokenizer::from_file(&bench.path("tokenizer.json")).unwrap();
    let template = ChatTemplate::from_dir(bench.dir.path()).unwrap().unwrap();
    let asked = template.render(&[Message::new("user", "ear")], true).unwrap();
    let said = model.say(&tokenizer.encode_plain(&asked).unwrap(), 4, &[]).unwrap();
    let answer = tokenizer.decode(&said).unwrap();
    let model_source = ModelSource { folder: bench.dir.path(), device: "cpu", threads: Some(1) };
    let predictor = training::Predictor::load(&bench.charter, state.adapter(), &model_source).unwrap();
    let wanted = training::Prediction::Completion { completion: answer.clone() };
    // A prompt that is longer than the model takes leaves the other its answer.
    let asked = ["ear".repeat(2), "ear ".repeat(200), "ear".to_owned()];
    let said = predictor.predict(&asked, 4).unwrap();
    assert_eq!(said[2].as_ref().unwrap(), &wanted);
    assert!(said[0].is_ok() && said[1].as_ref().unwrap_err().to_string().contains("tokens"), "{said:?}");

    let columns = Columns { text: "prompt", answer: "completion", messages: None, unit: None };
    let data = DataSource { file: &bench.path("rows.jsonl"), format: None, columns };
    let mut seen = Vec::new();
    let task = training::Task {
        data: &data,
        model: &model_source,
        scratch: bench.dir.path(),
        held_out_only: false,
        answers: Some(4),
    };
    let found = training::evaluate(&bench.charter, state.adapter(), &task, |done, all| seen.push((done, all))).unwrap();
    let foreseen = model.foresee(&texts, &prompts).unwrap();
    let mean = foreseen.iter().map(|one| f64::from(one.loss)).sum::<f64>() / 4.0;
    let (sum, tokens) = foreseen.iter().fold((0.0, 0.0), |(sum, tokens), one| {
        (sum + f64::from(one.loss) * one.tokens as f64, tokens + one.tokens as f64)
    });
    assert!((found.loss - mean).abs() < 1e-6 && seen == [(4, 4)]);
    let training::Scores::Texts { perplexity, exact_match } = found.scores else { panic!("no language model's") };
    assert!((perplexity / (sum / tokens).exp() - 1.0).abs() < 1e-6);
    let exact = texts.iter().zip(&prompts).filter(|(text, prompt)| {
        let (prompt, wanted) = text.ids.split_at(**prompt);
        model.say(&Encoded { ids: prompt.to_vec() }, 4, &[]).unwrap() == wanted
    });
    assert_eq!(exact_match, Some(exact.count() as f64 / 4.0));
}
