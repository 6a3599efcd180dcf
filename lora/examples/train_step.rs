//! One training step after the other, each when a line comes in: `train_step MODEL_DIR MODE BATCH LENGTH [DEVICE]`.
//!
//! A step is forward, backward and AdamW, on BATCH texts of LENGTH tokens; LoRA of rank 8 on queries and values. MODE is `lora` (A and B), `ffa` (B alone) or
//! `per-example` (B alone; each example's gradient is clipped before they are added up). It prints `ready`, after each step its milliseconds, and at the
//! end of its input the most memory that it had, in MiB. `benches/training` runs it beside PyTorch.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::time::Instant;

use adapter::{Adapter, LoraConfig, Model, ServerOptimizer, State, Train};
use lora::{Classifier, Encoded, LanguageModel};

const LABELS: usize = 21;
const CLIPPING_NORM: f32 = 1.0;
const USAGE: &str = "usage: train_step MODEL_DIR lora|ffa|per-example BATCH LENGTH [DEVICE]";

enum Kind {
    Classifier(Box<Classifier>),
    Language(Box<LanguageModel>),
}

impl Kind {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), lora::LoraError> {
        match self {
            Self::Classifier(model) => model.set_adapter(adapter),
            Self::Language(model) => model.set_adapter(adapter),
        }
    }

    /// `marks` are labels or prompts.
    fn summed(&self, texts: &[Encoded], marks: &[usize]) -> Result<Vec<f32>, lora::LoraError> {
        match self {
            Self::Classifier(model) => model.summed_gradient(texts, marks),
            Self::Language(model) => model.summed_gradient(texts, marks),
        }
        .map(|(_, gradient)| gradient)
    }

    fn clipped(&self, texts: &[Encoded], marks: &[usize], width: usize) -> Result<Vec<f32>, lora::LoraError> {
        let mut sum = vec![0.0f32; width];
        let add = |_: usize, _: f32, gradient: &[f32]| {
            let norm = gradient.iter().map(|value| value * value).sum::<f32>().sqrt();
            let factor = (CLIPPING_NORM / norm).min(1.0);
            sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += factor * value);
        };
        match self {
            Self::Classifier(model) => model.for_each_gradient(texts, marks, add)?,
            Self::Language(model) => model.for_each_gradient(texts, marks, add)?,
        }
        Ok(sum)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, mode, batch, length, rest @ ..] = args.as_slice() else { return Err(USAGE.into()) };
    let (dir, batch, length): (&Path, usize, usize) = (Path::new(dir), batch.parse()?, length.parse()?);
    let device = lora::device(rest.first().map_or("cpu", String::as_str))?;
    let train = if mode == "lora" { Train::AB } else { Train::B };
    let json = std::fs::read_to_string(dir.join("config.json"))?;
    let config: serde_json::Value = serde_json::from_str(&json)?;
    let decoder = config["model_type"] == "llama";
    let model = Model::from_hf_config(&json, if decoder { 0 } else { LABELS as u32 })?;
    let config = match decoder {
        true => LoraConfig { train, ..LoraConfig::for_language_model(8, 16, &["q_proj", "v_proj"]) },
        false => LoraConfig { train, ..LoraConfig::new(8, 16, &["query", "value"]) },
    };
    let adapter = Adapter::initial(&model, &config, 1)?;
    let mut kind = if decoder {
        Kind::Language(Box::new(LanguageModel::load(dir, &adapter, &device)?))
    } else {
        Kind::Classifier(Box::new(Classifier::load(dir, &adapter, LABELS, &device)?))
    };
    let optimizer =
        ServerOptimizer::AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
    let mut state = State::new(adapter, optimizer)?;
    let text = |i: usize| Encoded { ids: (0..length).map(|t| (1000 + (i * 31 + t * 17) % 20_000) as u32).collect() };
    let texts: Vec<Encoded> = (0..batch).map(text).collect();
    // Of a language model all but the first token are learnt.
    let marks: Vec<usize> = (0..batch).map(|i| if decoder { 1 } else { i % LABELS }).collect();

    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        let mut gradient = match mode.as_str() {
            "lora" | "ffa" => kind.summed(&texts, &marks)?,
            "per-example" => kind.clipped(&texts, &marks, state.update_len())?,
            _ => return Err(USAGE.into()),
        };
        gradient.iter_mut().for_each(|value| *value /= batch as f32);
        state.apply_gradient(&gradient)?;
        kind.set_adapter(state.adapter())?;
        writeln!(out, "{}", start.elapsed().as_secs_f64() * 1e3)?;
    }
    writeln!(out, "{}", peak_mib().unwrap_or(f64::NAN))?;
    Ok(())
}

/// The most memory that this process had, in MiB, where the system says so.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
