//! Conversations as rows: lists of `{role, content}`.

use lora::Message;
use serde_json::Value;

/// The field that is looked for where none is configured.
pub(super) const FIELD: &str = "messages";

pub(super) const USER: &str = "user";
pub(super) const ASSISTANT: &str = "assistant";
const ROLES: [&str; 3] = ["system", USER, ASSISTANT];

/// The messages of a JSON value, or why it holds none.
pub(super) fn of_json(value: &Value) -> Result<Vec<Message>, String> {
    let Value::Array(list) = value else { return Err("is not a list of {role, content}".to_owned()) };
    list.iter().zip(1..).map(|(message, number)| of_object(message, number)).collect()
}

fn of_object(message: &Value, number: usize) -> Result<Message, String> {
    let Value::Object(fields) = message else { return Err(format!("has a message {number} that is no object")) };
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(format!("has a message {number} whose {name} is not a string")),
        None => Err(format!("has a message {number} without {name}")),
    };
    // Whatever else is said there (calls of tools, weights) would be lost without a word.
    let known = |name: &str| name == "role" || name == "content";
    if let Some((name, _)) = fields.iter().find(|(name, value)| !known(name) && !value.is_null()) {
        return Err(format!(
            "has a message {number} with '{name}' beside role and content, which is not learnt: leave it out"
        ));
    }
    Ok(Message::new(text("role")?, text("content")?))
}

/// Whether a conversation can be learnt from.
pub(super) fn check(messages: &[Message]) -> Result<(), String> {
    if messages.is_empty() {
        return Err("is an empty list".to_owned());
    }
    for (message, number) in messages.iter().zip(1..) {
        if !ROLES.contains(&message.role.as_str()) {
            let role: String = message.role.chars().take(40).collect();
            return Err(format!("has a message {number} of the role '{role}'; there are system, user and assistant"));
        }
        if message.content.trim().is_empty() {
            return Err(format!("has an empty message {number}"));
        }
    }
    if !messages.iter().any(|message| message.role == USER) {
        return Err("has no message of the user".to_owned());
    }
    match messages.last() {
        Some(last) if last.role == ASSISTANT => Ok(()),
        _ => Err("does not end with a message of the assistant, which is what is learnt".to_owned()),
    }
}

/// What a conversation's place in a split follows from. It is the same in every format, and for a prompt and its answer the same as of a row with
/// `prompt` and `completion`.
pub(super) fn key(messages: &[Message]) -> String {
    match messages {
        [user, assistant] if user.role == USER => format!("{}\0{}", user.content, assistant.content),
        _ => messages.iter().map(|message| format!("{}\0{}\0\0", message.role, message.content)).collect(),
    }
}
