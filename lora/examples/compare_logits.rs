//! A real checkpoint's logits against transformers': `compare_logits MODEL_DIR EXPECTED_JSON [DEVICE]`, the file made by
//! `python3 lora/scripts/check_logits.py MODEL_DIR EXPECTED_JSON`. Prints the largest difference over the largest |logit|, whether the texts
//! are tokenized alike, and whether greedy decoding says the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use lora::{ChatTemplate, Encoded, Message, Pretrained, Tokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    versions: BTreeMap<String, String>,
    rows: Vec<Row>,
    answer: Answer,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
    places: Vec<usize>,
    values: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Answer {
    ids: Vec<u32>,
    question: String,
    prompt: String,
    prompt_tokens: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(file)) = (args.next(), args.next()) else {
        return Err("usage: compare_logits MODEL_DIR EXPECTED_JSON [DEVICE]".into());
    };
    let device = lora::device(args.next().as_deref().unwrap_or("cpu"))?;
    let dir = Path::new(&dir);
    let expected: Expected = serde_json::from_slice(&std::fs::read(file)?)?;
    let start = Instant::now();
    let model = Pretrained::load(dir, &device)?;
    println!(
        "{:?}, on {}, loaded in {:.1} s",
        expected.versions,
        lora::describe_device(&device),
        start.elapsed().as_secs_f64()
    );
    let tokenizer = Tokenizer::from_file(&dir.join("tokenizer.json"))?;
    let width = model.sizes().vocab_size;
    for row in &expected.rows {
        let alike = tokenizer.encode(&row.text, 256)?.ids == row.ids;
        let start = Instant::now();
        let logits = model.logits(&[Encoded { ids: row.ids.clone() }])?.remove(0);
        let (mut off, mut largest) = (0.0f32, 0.0f32);
        for (place, wanted) in row.places.iter().zip(&row.values) {
            for (found, wanted) in logits.iter().skip(place * width).zip(wanted) {
                off = off.max((found - wanted).abs());
                largest = largest.max(wanted.abs());
            }
        }
        let (tokens, seconds) = (row.ids.len(), start.elapsed().as_secs_f64());
        println!(
            "{tokens:4} tokens: {:.2e} of the largest |logit| {largest:.1}; tokenized alike: {alike}; {seconds:.2} s",
            off / largest
        );
    }
    let Answer { ids, question, prompt, prompt_tokens } = &expected.answer;
    let template = ChatTemplate::from_dir(dir)?.ok_or("the model has no chat template")?;
    let rendered = template.render(&[Message::new("user", question)], true)?;
    let alike = rendered == *prompt && tokenizer.encode_plain(prompt)?.ids == ids[..*prompt_tokens];
    // What is said next is the likeliest after what was said, all at once.
    let logits = model.logits(&[Encoded { ids: ids[..ids.len() - 1].to_vec() }])?.remove(0);
    let said = logits.chunks_exact(width).skip(prompt_tokens - 1).map(likeliest);
    println!(
        "prompt rendered and tokenized alike: {alike}; greedy decoding says the same: {}",
        said.eq(ids[*prompt_tokens..].iter().copied())
    );
    Ok(())
}

fn likeliest(row: &[f32]) -> u32 {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as u32
}
