//! Chat templates against transformers. The fixture is `fixtures/chat.json`; `scripts/chat_fixture.py` makes it anew.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use lora::{ChatTemplate, LoraError, Message, Tokenizer};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Expected {
    bos_token: String,
    eos_token: String,
    templates: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    /// None where the template refuses.
    text: Option<String>,
}

fn expected() -> Expected {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A directory with this `tokenizer_config.json`.
fn directory(config: &serde_json::Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    dir
}

fn load(config: &serde_json::Value) -> Result<Option<ChatTemplate>, LoraError> {
    ChatTemplate::from_dir(directory(config).path())
}

#[test]
fn conversations_become_the_texts_that_transformers_makes_of_them() {
    let expected = expected();
    for (name, template) in &expected.templates {
        // Each way in which a directory can hold it.
        let special = |config: serde_json::Value| {
            let mut config = config;
            config["bos_token"] = json!({ "content": expected.bos_token, "lstrip": false });
            config["eos_token"] = json!(expected.eos_token);
            config
        };
        let own = directory(&special(json!({})));
        std::fs::write(own.path().join("chat_template.jinja"), template).unwrap();
        let named = json!({ "chat_template": [
            { "name": "tool_use", "template": "no" }, { "name": "default", "template": template },
        ] });
        let ways = [
            load(&special(json!({ "chat_template": template }))).unwrap().unwrap(),
            load(&special(named)).unwrap().unwrap(),
            ChatTemplate::from_dir(own.path()).unwrap().unwrap(),
        ];
        for found in ways {
            for case in expected.cases.iter().filter(|case| case.template == *name) {
                match (found.render(&case.messages, case.add_generation_prompt), &case.text) {
                    (Ok(found), Some(wanted)) => assert_eq!(&found, wanted, "{name} {:?}", case.messages),
                    (Err(error), None) => assert!(error.to_string().contains("take turns"), "{error}"),
                    (found, wanted) => panic!("{name}: {found:?} for {wanted:?}"),
                }
            }
        }
    }
}

#[test]
fn a_directory_without_a_template_has_none_and_a_broken_one_is_named() {
    assert!(load(&json!({ "bos_token": null })).unwrap().is_none());
    assert!(ChatTemplate::from_dir(tempfile::tempdir().unwrap().path()).unwrap().is_none());
    for broken in [json!({ "chat_template": "{% for %}" }), json!({ "chat_template": 3 }), json!([1])] {
        let error = load(&broken).err().unwrap();
        assert!(matches!(error, LoraError::ChatTemplate { .. }) && error.to_string().contains("tokenizer_config.json"));
    }
}

#[test]
fn a_template_that_does_not_end_is_given_up() {
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a * b }}{% endfor %}{% endfor %}";
    let template = load(&json!({ "chat_template": endless })).unwrap().unwrap();
    assert!(matches!(template.render(&[], false), Err(LoraError::ChatTemplate { .. })));
}

/// A base model's end of text is not what ends an answer in its template: both do.
#[test]
fn what_closes_the_assistants_message_ends_an_answer_beside_what_the_configuration_names() {
    let special = |id: u32, content: &str| json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    let marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "decoder": null,
        "added_tokens": marks.iter().zip(0..).map(|(mark, id)| special(id, mark)).collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": { "type": "WordLevel", "vocab": { "<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2, "a": 3, "user": 4, "assistant": 5 }, "unk_token": "a" },
    });
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let dir = directory(&json!({ "chat_template": template, "eos_token": "<|endoftext|>" }));
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let tokenizer = Tokenizer::from_file(&dir.path().join("tokenizer.json")).unwrap();
    let template = ChatTemplate::from_dir(dir.path()).unwrap().unwrap();
    assert_eq!(template.end_of_answer(&tokenizer), Some(2));
    for (ids, wanted) in [(json!(0), vec![0, 2]), (json!([2, 0]), vec![2, 0]), (json!(null), vec![2])] {
        std::fs::write(dir.path().join("generation_config.json"), json!({ "eos_token_id": ids }).to_string()).unwrap();
        assert_eq!(lora::stop_tokens(dir.path(), &template, &tokenizer).unwrap(), wanted);
    }
}

/// Words are tokens here, and so are the marks.
#[test]
fn what_the_assistant_says_last_is_learnt_and_all_before_is_given() {
    let words = ["<ask>", "<say>", "<end>", "ear", "eye", "H66", "H10"];
    let vocabulary: serde_json::Map<_, _> = words.iter().zip(1..).map(|(w, id)| ((*w).to_owned(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<end>" },
    });
    let template = "{% for m in messages %}{{ '<ask> ' if m.role == 'user' else '<say> ' }}{{ m.content }} <end> {% endfor %}{% if add_generation_prompt %}<say> {% endif %}";
    let dir = directory(&json!({ "chat_template": template }));
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let tokenizer = Tokenizer::from_file(&dir.path().join("tokenizer.json")).unwrap();
    let template = ChatTemplate::from_dir(dir.path()).unwrap().unwrap();
    let turns = [("user", "ear"), ("assistant", "H66"), ("user", "eye"), ("assistant", "H10")];
    let messages = turns.map(|(role, content)| Message::new(role, content));
    let (text, prompt) = template.encode(&tokenizer, &messages).unwrap();
    assert_eq!(text.ids, [1, 4, 3, 2, 6, 3, 1, 5, 3, 2, 7, 3]);
    assert_eq!(text.ids[prompt..], [7, 3]);
    let (text, prompt) = template.encode(&tokenizer, &messages[..2]).unwrap();
    assert_eq!(text.ids[prompt..], [6, 3]);
    // No mark is a special token of this tokenizer: nothing but the configuration says where an answer ends.
    let stops = || lora::stop_tokens(dir.path(), &template, &tokenizer).unwrap();
    assert!(stops().is_empty());
    std::fs::write(dir.path().join("config.json"), json!({ "eos_token_id": 7 }).to_string()).unwrap();
    assert_eq!(stops(), [7]);
    for wrong in [&messages[..1], &[]] {
        assert!(matches!(template.encode(&tokenizer, wrong), Err(LoraError::ChatTemplate { .. })));
    }
}
