//! Encoding with a small word-piece tokenizer whose ids can be worked out by hand.

#![expect(clippy::unwrap_used, reason = "tests")]

use lora::{LoraError, Tokenizer};

const JSON: &str = r###"{
  "version": "1.0",
  "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
  "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
              "pad_token": "[PAD]"},
  "added_tokens": [],
  "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"},
  "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
  "decoder": null,
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "chol": 4, "##era": 5, "due": 6, "to": 7, "##s": 8}}
}"###;

fn tokenizer() -> (tempfile::TempDir, Tokenizer) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, JSON).unwrap();
    (dir, Tokenizer::from_file(&path).unwrap())
}

#[test]
fn texts_become_word_pieces_between_the_special_tokens_without_padding() {
    let (_dir, tokenizer) = tokenizer();
    assert_eq!(tokenizer.encode("Cholera due to xyz", 16).unwrap().ids, [2, 4, 5, 6, 7, 1, 3]);
    assert_eq!(tokenizer.encode("", 16).unwrap().ids, [2, 3]);
}

#[test]
fn a_long_text_loses_its_end_but_never_the_closing_token() {
    let (_dir, tokenizer) = tokenizer();
    assert_eq!(tokenizer.encode("cholera due to", 5).unwrap().ids, [2, 4, 5, 6, 3]);
    assert_eq!(tokenizer.encode("cholera due to", 3).unwrap().ids, [2, 4, 3]);
}

#[test]
fn a_limit_without_room_for_text_is_refused_by_file() {
    let (_dir, tokenizer) = tokenizer();
    let error = tokenizer.encode("cholera", 2).unwrap_err();
    assert!(matches!(&error, LoraError::Tokenizer { .. }) && error.to_string().contains("tokenizer.json"), "{error}");
}
