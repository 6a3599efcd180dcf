//! How long the per-example gradients of one batch take: `step_time MODEL_DIR [EXAMPLES] [THREADS]`.
//!
//! LoRA of rank 8 on query and value of an encoder such as all-MiniLM-L6-v2, texts of 8 to 32 tokens, 22 labels.

use std::path::Path;
use std::time::Instant;

use adapter::{Adapter, LoraConfig, Model};
use lora::{Classifier, Encoded};

const LABELS: usize = 22;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: step_time MODEL_DIR [EXAMPLES] [THREADS]")?;
    let count: usize = args.next().map_or(Ok(256), |text| text.parse())?;
    let threads: usize = args.next().map_or(Ok(2), |text| text.parse())?;

    let dir = Path::new(&dir);
    let model = Model::from_hf_config(&std::fs::read_to_string(dir.join("config.json"))?, LABELS as u32)?;
    let adapter = Adapter::initial(&model, &LoraConfig::new(8, 16, &["query", "value"]), 1)?;
    let start = Instant::now();
    let mut classifier = Classifier::load(dir, &adapter, LABELS, &lora::device("cpu")?)?;
    classifier.set_threads(threads);
    println!("load {:.2} s", start.elapsed().as_secs_f64());

    let text =
        |i: usize| Encoded { ids: (0..8 + i % 25).map(|t| (1000 + (i * 31 + t * 17) % 20_000) as u32).collect() };
    let texts: Vec<Encoded> = (0..count).map(text).collect();
    let labels: Vec<usize> = (0..count).map(|i| i % LABELS).collect();
    let rows: Vec<(Encoded, usize)> = texts.iter().cloned().zip(labels.iter().copied()).collect();
    for _ in 0..3 {
        let start = Instant::now();
        let mut total = 0.0;
        classifier.for_each_gradient(&texts, &labels, |_, loss, _| total += f64::from(loss))?;
        let train = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let evaluation = classifier.evaluate(&rows)?;
        let evaluate = start.elapsed().as_secs_f64();
        println!(
            "{count} examples, {threads} threads: gradients {train:.2} s, evaluation {evaluate:.2} s, loss {:.4} {:.4}",
            total / count as f64,
            evaluation.loss
        );
    }
    Ok(())
}
