//! Reads a file of labelled texts as `plainchant-client` does, and says how much memory that took.
//!
//! ```text
//! cargo run --release -p training --example read_rows -- rows.jsonl tokenizer.json 64
//! ```

use std::collections::BTreeSet;
use std::path::PathBuf;

use lora::Tokenizer;
use training::{Columns, Content, DataSource, Dataset, Texts};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(file), Some(tokenizer), Some(most)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: read_rows ROWS TOKENIZER.json MAX_TOKENS".into());
    };
    let most: usize = most.to_string_lossy().parse()?;
    let (file, tokenizer) = (PathBuf::from(file), Tokenizer::from_file(&PathBuf::from(tokenizer))?);
    let columns = Columns { text: "text", answer: "label", messages: None, unit: None };
    let source = DataSource { file: &file, format: None, columns };
    let labels = Dataset::labels(&source)?;
    let (mut texts, mut tokens, mut seen) = (Texts::within(256 << 20, &std::env::current_dir()?), 0, BTreeSet::new());
    let set = Dataset::read(&source, &labels, &mut |row| {
        let Content::Labelled { text, label } = &row.content else { return Err(row.unfit("no label".to_owned())) };
        let text = tokenizer.encode(text, most).map_err(|error| row.unfit(error.to_string()))?;
        tokens += text.ids.len();
        seen.insert(*label);
        texts.push(&text)
    })?;
    println!("{} rows, {} units, {} labels, {tokens} tokens", texts.len(), set.units().len(), seen.len());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no peak memory is told here"));
    Ok(())
}
