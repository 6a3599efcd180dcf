//! What per-example privacy costs a step: the same step with each example's gradient, clipped and summed in integers, and with one
//! gradient for all, one after the other in one run.
//!
//!     cargo run --release -p training --example step_cost -- MINILM_DIR SMOLLM2_DIR [REPEATS]
//!
//! The noise is not in it: a house draws it ahead, while it waits for a round.

use std::path::Path;
use std::time::Instant;

use adapter::{Adapter, LoraConfig, Model, ServerOptimizer, State, Train};
use lora::{Classifier, Encoded, LanguageModel};
use privacy::Clip;

type Error = Box<dyn std::error::Error>;

/// Rows and tokens of each.
const SHAPES: [(usize, usize); 2] = [(32, 64), (32, 128)];

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [minilm, smollm2, rest @ ..] = arguments.as_slice() else {
        return Err("give the folders of all-MiniLM-L6-v2 and SmolLM2-135M-Instruct".into());
    };
    let repeats: usize = rest.first().map_or(Ok(5), |text| text.parse())?;
    println!("model, trained | rows x tokens | without privacy | with | ratio (of the fastest of {repeats} each)");
    for train in [Train::B, Train::AB] {
        for (rows, tokens) in SHAPES {
            measure(&classifier(Path::new(minilm), train)?, "MiniLM", train, (rows, tokens), repeats)?;
        }
        for (rows, tokens) in SHAPES {
            measure(&language_model(Path::new(smollm2), train)?, "SmolLM2", train, (rows / 4, tokens), repeats)?;
        }
    }
    Ok(())
}

/// A model, the adapter on it, and how both sorts of gradient are made.
struct Bench {
    adapter: Adapter,
    vocabulary: usize,
    model: Either,
}

enum Either {
    Labels(Classifier),
    Words(LanguageModel),
}

fn classifier(dir: &Path, train: Train) -> Result<Bench, Error> {
    let shape = Model::from_hf_config(&std::fs::read_to_string(dir.join("config.json"))?, 21)?;
    let adapter = adapter(&shape, LoraConfig { train, ..LoraConfig::new(8, 16, &["query", "value"]) })?;
    let model = Classifier::load(dir, &adapter, 21, &lora::device("cpu")?)?;
    Ok(Bench { adapter, vocabulary: model.sizes().vocab_size, model: Either::Labels(model) })
}

fn language_model(dir: &Path, train: Train) -> Result<Bench, Error> {
    let shape = Model::from_hf_config(&std::fs::read_to_string(dir.join("config.json"))?, 0)?;
    let config = LoraConfig { train, ..LoraConfig::for_language_model(8, 16, &["q_proj", "v_proj"]) };
    let adapter = adapter(&shape, config)?;
    let model = LanguageModel::load(dir, &adapter, &lora::device("cpu")?)?;
    Ok(Bench { adapter, vocabulary: model.sizes().vocab_size, model: Either::Words(model) })
}

/// B is not zero, so that A has a gradient.
fn adapter(shape: &Model, config: LoraConfig) -> Result<Adapter, Error> {
    let first = Adapter::initial(shape, &config, 1)?;
    let moved: Vec<f32> = first.flat().iter().enumerate().map(|(i, x)| x + (i as f32).sin() / 100.0).collect();
    Ok(first.with_flat(&moved)?)
}

fn measure(bench: &Bench, name: &str, train: Train, shape: (usize, usize), repeats: usize) -> Result<(), Error> {
    let (rows, tokens) = shape;
    let id = |i: usize| (1000 + i * 7919 % (bench.vocabulary - 1000)) as u32;
    let text = |row: usize| Encoded { ids: (0..tokens).map(|t| id(row * tokens + t)).collect() };
    let texts: Vec<Encoded> = (0..rows).map(text).collect();
    let optimizer = ServerOptimizer::Sgd { learning_rate: 0.1, momentum: 0.9 };
    let mut state = State::new(bench.adapter.clone(), optimizer)?;
    let clip = Clip::new(1.0, 4096)?;
    let (mut fastest, mut width) = ([f64::INFINITY; 2], 0);
    for _ in 0..=repeats {
        let start = Instant::now();
        let gradient = bench.summed(&texts)?;
        state.apply_gradient(&gradient.iter().map(|x| x / rows as f32).collect::<Vec<_>>())?;
        fastest[0] = fastest[0].min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let mut sums = vec![0i64; gradient.len()];
        let mut clipped = Ok(());
        bench.each(&texts, |gradient| {
            if let Err(error) = clip.add_clipped(gradient, &mut sums) {
                clipped = Err(error);
            }
        })?;
        clipped?;
        state.apply(&sums, clip.unit(), rows as f64)?;
        fastest[1] = fastest[1].min(start.elapsed().as_secs_f64());
        width = sums.len();
    }
    let [without, with] = fastest;
    println!("{name}, {train:?} ({width}) | {rows} x {tokens} | {without:.3} s | {with:.3} s | {:.3}", with / without);
    Ok(())
}

impl Bench {
    fn summed(&self, texts: &[Encoded]) -> Result<Vec<f32>, Error> {
        Ok(match &self.model {
            Either::Labels(model) => model.summed_gradient(texts, &vec![3; texts.len()])?.1,
            Either::Words(model) => model.summed_gradient(texts, &vec![0; texts.len()])?.1,
        })
    }

    fn each(&self, texts: &[Encoded], mut sink: impl FnMut(&[f32])) -> Result<(), Error> {
        match &self.model {
            Either::Labels(model) => {
                model.for_each_gradient(texts, &vec![3; texts.len()], |_, _, gradient| sink(gradient))?;
            }
            Either::Words(model) => {
                model.for_each_gradient(texts, &vec![0; texts.len()], |_, _, gradient| sink(gradient))?;
            }
        }
        Ok(())
    }
}
