//! A tiny language model with its tokenizer, and rows for it.

use std::path::Path;

/// Rows that fit the model: a header, and a prompt and a completion each.
pub(crate) fn rows() -> String {
    let rows = [("ear", "H66"), ("eye", "H10"), ("hand", "S62")].repeat(20);
    let rows: String = rows.iter().map(|(prompt, said)| format!("{prompt}\t{said}\n")).collect();
    format!("question\tcompletion\n{rows}")
}

/// Writes model and rows into `dir`, and gives the `client.toml` of a house that has them.
pub(crate) fn write(dir: &Path) -> String {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora/tests/fixtures/families/qwen2");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(model.join(file), dir.join(file)).unwrap();
    }
    let words = ["<of>", "ask", "say", "end", "ear", "eye", "hand", "H66", "H10", "S62"];
    let vocabulary: serde_json::Map<_, _> =
        words.iter().zip(1..).map(|(word, id)| ((*word).to_owned(), serde_json::json!(id))).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<of>" },
    });
    let template = "{% for m in messages %}{{ m.role }} {{ m.content }} end {% endfor %}{% if add_generation_prompt %}assistant {% endif %}";
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = serde_json::json!({ "chat_template": template }).to_string();
    std::fs::write(dir.join("tokenizer_config.json"), config).unwrap();
    std::fs::write(dir.join("rows.tsv"), rows()).unwrap();
    format!(
        "[data]\nfile = {:?}\nprompt_column = \"question\"\n[training]\nmodel = {dir:?}\nthreads = 1\n[policy]\napprove = \"any\"\nepsilon_ceiling = 8.0\nmin_cohort = 3\n",
        dir.join("rows.tsv")
    )
}

/// The digest of its weights.
pub(crate) fn weights(dir: &Path) -> protocol::Digest {
    protocol::Digest::sha256(&std::fs::read(dir.join("model.safetensors")).unwrap())
}
