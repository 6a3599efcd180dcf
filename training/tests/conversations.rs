//! Rows that are whole conversations.
#![expect(clippy::unwrap_used, reason = "tests")]

use lora::Message;
use training::{Columns, Content, DataError, DataSource, Dataset};

const FIELDS: Columns<'static> = Columns { text: "prompt", answer: "completion", messages: None, unit: None };

fn load(name: &str, content: &str, columns: Columns<'_>) -> Result<(Vec<Vec<Message>>, Dataset), DataError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    std::fs::write(&file, content).unwrap();
    let mut rows = Vec::new();
    let set = Dataset::read(&DataSource { file: &file, format: None, columns }, &[], &mut |row| {
        let Content::Conversation(messages) = row.content else { panic!("{:?}", row.content) };
        rows.push(messages);
        Ok(())
    })?;
    Ok((rows, set))
}

fn said(pairs: &[(&str, &str)]) -> Vec<Message> {
    pairs.iter().map(|(role, content)| Message::new(role, content)).collect()
}

#[test]
fn conversations_are_read_with_blanks_line_ends_and_fields_of_nothing() {
    let rows = r#"{"id": 1, "messages": [{"role": "user", "content": "ear"}, {"content": "H66\n", "role": "assistant", "name": null}]}

{"messages": [{"role":"system","content":"Be short."},{"role":"user","content":"eye"},{"role":"assistant","content":"H10"},{"role":"user","content":"hand"},{"role":"assistant","content":"S62"}], "id": 2}
"#;
    let (found, set) = load("a.jsonl", rows, FIELDS).unwrap();
    let wanted = [
        said(&[("user", "ear"), ("assistant", "H66\n")]),
        said(&[("system", "Be short."), ("user", "eye"), ("assistant", "H10"), ("user", "hand"), ("assistant", "S62")]),
    ];
    assert_eq!(found, wanted);
    assert_eq!((set.units().len(), set.has_named_units()), (2, false));
    let named = Columns { unit: Some("id"), ..FIELDS };
    let rows = rows.replace("\"id\": 2", "\"id\": 1");
    assert_eq!(load("a.jsonl", &rows, named).unwrap().1.units().iter().collect::<Vec<_>>(), [[0, 1]]);
}

/// Configured, else `messages` where the first row has neither prompt nor completion.
#[test]
fn which_field_is_read_follows_from_the_configuration_and_the_first_row() {
    let list = r#"[{"role":"user","content":"ear"},{"role":"assistant","content":"H66"}]"#;
    let both = format!(r#"{{"prompt":"eye","completion":"H10","messages":{list}}}"#);
    let pair = said(&[("user", "eye"), ("assistant", "H10")]);
    let talk = said(&[("user", "ear"), ("assistant", "H66")]);
    assert_eq!(load("a.jsonl", &both, FIELDS).unwrap().0, [pair]);
    let chosen = Columns { messages: Some("messages"), ..FIELDS };
    assert_eq!(load("a.jsonl", &both, chosen).unwrap().0, [talk.as_slice()]);
    let other = Columns { messages: Some("talk"), ..FIELDS };
    assert_eq!(load("a.jsonl", &format!(r#"{{"talk":{list}}}"#), other).unwrap().0, [talk.as_slice()]);
    // One of the two is a mistake, and no conversation.
    let half = load("a.jsonl", &format!(r#"{{"prompt":"eye","messages":{list}}}"#), FIELDS).unwrap_err();
    assert!(matches!(&half, DataError::MissingColumn { column, .. } if column == "completion"), "{half}");
    // The first row decides for all.
    let mixed = format!("{{\"messages\":{list}}}\n{{\"completion\":\"H10\",\"prompt\":\"eye\"}}");
    let error = load("a.jsonl", &mixed, FIELDS).unwrap_err();
    assert!(error.to_string().contains("no column 'messages' in line 2; it has: completion, prompt"), "{error}");
    for (content, columns) in [("messages\n[]\n", FIELDS), ("prompt,completion\na,b\n", chosen)] {
        let error = load("a.csv", content, columns).unwrap_err();
        assert!(matches!(error, DataError::NoLists { .. }), "{error}");
    }
}

#[test]
fn every_bad_conversation_is_reported_by_line() {
    let (user, assistant) = (r#"{"role":"user","content":"ear"}"#, r#"{"role":"assistant","content":"H66"}"#);
    let cases = [
        (format!("[{user},{assistant}]"), ""),
        ("\"ear\"".to_owned(), "is not a list of {role, content}"),
        ("{}".to_owned(), "is not a list of {role, content}"),
        ("[]".to_owned(), "is an empty list"),
        ("[\"ear\"]".to_owned(), "has a message 1 that is no object"),
        (format!("[{user},{{\"role\":\"assistant\"}}]"), "has a message 2 without content"),
        (
            format!("[{user},{{\"role\":\"assistant\",\"content\":[]}}]"),
            "has a message 2 whose content is not a string",
        ),
        (format!("[{user},{{\"role\":\"tool\",\"content\":\"x\"}},{assistant}]"), "has a message 2 of the role 'tool'"),
        (format!("[{{\"role\":\"user\",\"content\":\" \"}},{assistant}]"), "has an empty message 1"),
        (format!("[{user}]"), "does not end with a message of the assistant"),
        (format!("[{assistant}]"), "has no message of the user"),
        (
            format!("[{user},{{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[1]}}]"),
            "has a message 2 with 'tool_calls'",
        ),
        (format!("[{{\"role\":\"user\",\"content\":\"a\\u0000\"}},{assistant}]"), "holds a NUL"),
    ];
    let rows: String = cases.iter().map(|(row, _)| format!("{{\"messages\":{row}}}\n")).collect();
    let error = load("a.jsonl", &rows, FIELDS).unwrap_err();
    let DataError::Several { problems, more: false, .. } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), cases.len() - 1);
    for (((_, wanted), line), problem) in cases.iter().zip(1..).skip(1).zip(problems) {
        let text = problem.to_string();
        assert!(text.contains(&format!("line {line}: 'messages' {wanted}")), "{wanted}: {text}");
    }
}

/// Else a row would change sides when a file is written anew in another way.
#[test]
fn a_conversations_side_of_the_split_does_not_hang_on_how_it_is_written() {
    let sides = |name: &str, content: &str| {
        let house = load(name, content, FIELDS).unwrap().1.house(0.5);
        (house.units.rows().to_vec(), house.held_out.rows().to_vec())
    };
    let csv: String = (0..100).map(|i| format!("question {i},answer\n")).collect();
    let spaced: String = (0..100)
        .map(|i| format!("{{\"messages\": [{{\"content\": \"question {i}\", \"role\": \"user\"}}, {{\"role\": \"assistant\", \"content\": \"answer\"}}]}}\n"))
        .collect();
    let sides = [sides("a.csv", &format!("prompt,completion\n{csv}")), sides("a.jsonl", &spaced)];
    assert_eq!(sides[0], sides[1]);
    assert!(sides[0].0.len() > 20 && sides[0].1.len() > 20);
}
