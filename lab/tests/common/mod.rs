//! Rows and a model that are small enough for a test.

use std::path::Path;

const WORDS: [&str; 6] = ["fracture", "of", "left", "arm", "eye", "ear"];

/// The tiny checkpoint of `lora`'s tests, a word tokenizer, and rows: so many in `train.csv`, and 30 in `test.csv`.
pub(crate) fn files(dir: &Path, train: usize) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora/tests/fixtures/tiny-bert");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(file), dir.join(file)).unwrap();
    }
    let vocabulary: serde_json::Map<_, _> =
        WORDS.iter().zip(1..).map(|(word, id)| ((*word).to_owned(), serde_json::json!(id))).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "of" },
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let rows = |from: usize, to: usize| -> String {
        let row = |i: usize| format!("{} of {},{}\n", WORDS[i % 6], WORDS[(i / 6) % 6], ["a", "b", "c"][i % 3]);
        "text,label\n".to_owned() + &(from..to).map(row).collect::<String>()
    };
    std::fs::write(dir.join("train.csv"), rows(0, train)).unwrap();
    std::fs::write(dir.join("test.csv"), rows(train, train + 30)).unwrap();
}
