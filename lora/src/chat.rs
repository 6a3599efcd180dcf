//! Conversations as texts, by a model's own chat template.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use serde::{Deserialize, Serialize};

use crate::LoraError;
use crate::tokenizer::{Encoded, Tokenizer};

const CONFIG: &str = "tokenizer_config.json";
/// Where newer models keep it.
const TEMPLATE: &str = "chat_template.jinja";
const NAME: &str = "chat";
/// Steps of a template's program, after which it is given up: it comes with a model from elsewhere.
const FUEL: u64 = 1_000_000;
/// A text that a template makes is no longer than this.
const LONGEST: usize = 1 << 24;

/// What one side says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: content.to_owned() }
    }
}

/// A model's chat template, in Jinja as transformers runs it.
pub struct ChatTemplate {
    path: PathBuf,
    environment: Environment<'static>,
    special: Special,
}

/// Texts of special tokens that templates name.
#[derive(Debug, Default, Deserialize)]
struct Special {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    pad_token: Option<Token>,
    unk_token: Option<Token>,
}

/// A special token, in either spelling.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Added { content: String },
}

/// `chat_template` in either spelling.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    template: String,
}

#[derive(Deserialize)]
struct Config {
    chat_template: Option<Templates>,
    #[serde(flatten)]
    special: Special,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Added { content: text } => text,
        }
    }
}

impl ChatTemplate {
    /// The chat template of a model's directory: `chat_template.jinja`, or the one (the one named `default`) in `tokenizer_config.json`; `None`
    /// where there is neither.
    ///
    /// # Errors
    /// [`LoraError::Read`], or [`LoraError::ChatTemplate`] for what is no template.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, LoraError> {
        let (path, own) = (dir.join(CONFIG), dir.join(TEMPLATE));
        let read = |path: &Path| match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LoraError::Read { path: path.to_owned(), source }),
        };
        let mut config = Config { chat_template: None, special: Special::default() };
        if let Some(text) = read(&path)? {
            let refuse = |e: serde_json::Error| LoraError::ChatTemplate { path: path.clone(), reason: e.to_string() };
            config = serde_json::from_str(&text).map_err(refuse)?;
        }
        if let Some(source) = read(&own)? {
            return Self::new(&own, source, config.special).map(Some);
        }
        let source = match config.chat_template {
            None => None,
            Some(Templates::One(source)) => Some(source),
            Some(Templates::Named(all)) => all.into_iter().find(|one| one.name == "default").map(|one| one.template),
        };
        source.map(|source| Self::new(&path, source, config.special)).transpose()
    }

    fn new(path: &Path, source: String, special: Special) -> Result<Self, LoraError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment
            .set_syntax(syntax.map_err(|e| LoraError::ChatTemplate { path: path.to_owned(), reason: e.to_string() })?);
        environment.set_fuel(Some(FUEL));
        // Templates say s.strip() and the like, as Python has it.
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |reason: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        });
        let path = path.to_owned();
        match environment.add_template_owned(NAME, source) {
            Ok(()) => Ok(Self { path, environment, special }),
            Err(error) => Err(LoraError::ChatTemplate { path, reason: error.to_string() }),
        }
    }

    /// The text of a conversation; with `add_generation_prompt` what makes the assistant speak next is at its end.
    ///
    /// # Errors
    /// [`LoraError::ChatTemplate`] when the template refuses the conversation, or is given up.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, LoraError> {
        let text = |token: &Option<Token>| token.as_ref().map(|token| token.text().to_owned());
        let Special { bos_token, eos_token, pad_token, unk_token } = &self.special;
        let values = context! {
            messages => messages.iter().map(|message| {
                Value::from_pairs([("role", &message.role), ("content", &message.content)])
            }).collect::<Value>(),
            add_generation_prompt,
            bos_token => text(bos_token),
            eos_token => text(eos_token),
            pad_token => text(pad_token),
            unk_token => text(unk_token),
        };
        let refuse = |reason: String| LoraError::ChatTemplate { path: self.path.clone(), reason };
        let rendered = self.environment.get_template(NAME).and_then(|template| template.render(values));
        let rendered = rendered.map_err(|e| refuse(e.to_string()))?;
        if rendered.len() > LONGEST { Err(refuse(format!("made {} bytes", rendered.len()))) } else { Ok(rendered) }
    }

    /// The special token that comes first after what the assistant says; `None` where the template has none there, or refuses a plain conversation.
    #[must_use]
    pub fn end_of_answer(&self, tokenizer: &Tokenizer) -> Option<u32> {
        let learnt = |answer: &str| {
            let conversation = [Message::new("user", "a"), Message::new("assistant", answer)];
            self.encode(tokenizer, &conversation).ok().map(|(whole, given)| whole.ids[given..].to_vec())
        };
        // What follows is where two answers end alike.
        let (one, other) = (learnt("yes")?, learnt("no 1")?);
        let after = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
        one.into_iter().rev().take(after).filter(|id| tokenizer.is_special(*id)).last()
    }

    /// A conversation as tokens, and how many of them are given: all up to the last message, which the assistant says.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; [`LoraError::ChatTemplate`] when the last message is not the assistant's.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<(Encoded, usize), LoraError> {
        let Some((_, before)) = messages.split_last().filter(|(last, _)| last.role == "assistant") else {
            let reason = "a conversation to learn from ends with a message of the assistant".to_owned();
            return Err(LoraError::ChatTemplate { path: self.path.clone(), reason });
        };
        let (whole, given) = (self.render(messages, false)?, self.render(before, true)?);
        let (whole, given) = (tokenizer.encode_plain(&whole)?, tokenizer.encode_plain(&given)?);
        // Where both texts part: a token that both sides of the border are in is learnt.
        let prompt = whole.ids.iter().zip(&given.ids).take_while(|(a, b)| a == b).count();
        Ok((whole, prompt))
    }
}

/// JSON as Python's `json.dumps` writes it, which transformers puts in place of Jinja's own filter: no escapes for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    options.assert_all_used()?;
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonJson);
    let failed = |e: String| Error::new(ErrorKind::BadSerialization, e);
    value.serialize(&mut serializer).map_err(|e| failed(e.to_string()))?;
    String::from_utf8(out).map_err(|e| failed(e.to_string()))
}

/// Separators with a blank.
struct PythonJson;

impl serde_json::ser::Formatter for PythonJson {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
