//! How well the model answers: perplexity, and whether it says exactly what is to be said.

use std::path::Path;

use adapter::Adapter;
use anyhow::Context as _;
use common::progress::Ui;
use lora::{ChatTemplate, Encoded, LanguageModel, Message, Tokenizer};
use serde::Serialize;

use crate::task::Instruction;

/// An answer is given up after so many tokens; the longest sentence has fewer.
const MOST: usize = 28;

/// The model, and what it is asked.
pub struct Judge {
    /// The base model with the adapter set last.
    pub model: LanguageModel,
    tokenizer: Tokenizer,
    stops: Vec<u32>,
    asked: Vec<Asked>,
    /// Of which so many are for the loss that is shown meanwhile.
    public: Vec<Asked>,
}

struct Asked {
    instruction: Instruction,
    /// Prompt and completion.
    whole: Encoded,
    /// How many tokens are the prompt's.
    prompt: usize,
}

/// How well it answers.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Score {
    /// Of a token of the answers that are to be given.
    pub perplexity: f64,
    /// Share of the answers that are said exactly.
    pub exact: f64,
}

/// One question and what was said.
#[derive(Debug, Clone, Serialize)]
pub struct Said {
    /// What was asked.
    pub prompt: String,
    /// What is to be said.
    pub wanted: String,
    /// What was said.
    pub said: String,
}

impl Said {
    /// Whether it is what was to be said.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.said == self.wanted
    }
}

impl Judge {
    /// Loads the model with `adapter`, to ask it `test` and to show its loss on `public`.
    ///
    /// # Errors
    /// A file that is missing or is none, or a text that the model does not take.
    pub fn new(folder: &Path, adapter: &Adapter, test: &[Instruction], public: &[Instruction]) -> anyhow::Result<Self> {
        let model = LanguageModel::load(folder, adapter, &lora::device("cpu")?)?;
        let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"))?;
        let template = ChatTemplate::from_dir(folder)?.context("the base model has no chat template")?;
        let encode = |instruction: &Instruction| {
            let Instruction { prompt, completion } = instruction;
            let messages = [Message::new("user", prompt), Message::new("assistant", completion)];
            let (whole, prompt) = template.encode(&tokenizer, &messages)?;
            Ok(Asked { instruction: instruction.clone(), whole, prompt })
        };
        let [asked, public] = [test, public].map(|all| all.iter().map(encode).collect::<anyhow::Result<Vec<Asked>>>());
        let stops = lora::stop_tokens(folder, &template, &tokenizer)?;
        Ok(Self { model, stops, asked: asked?, public: public?, tokenizer })
    }

    /// Mean loss of a token of the public answers, under the adapter.
    ///
    /// # Errors
    /// An adapter of another shape.
    pub fn public_loss(&mut self, adapter: &Adapter) -> anyhow::Result<f64> {
        self.model.set_adapter(adapter)?;
        loss(&self.model, &self.public)
    }

    /// Asks everything under `adapter`.
    ///
    /// # Errors
    /// An adapter of another shape.
    pub fn ask(&mut self, adapter: &Adapter, name: &str, ui: Ui) -> anyhow::Result<(Score, Vec<Said>)> {
        self.model.set_adapter(adapter)?;
        let perplexity = loss(&self.model, &self.asked)?.exp();
        let prompt = |asked: &Asked| Encoded { ids: asked.whole.ids.iter().take(asked.prompt).copied().collect() };
        let prompts: Vec<Encoded> = self.asked.iter().map(prompt).collect();
        let bar = ui.steps(name, prompts.len() as u64);
        let answers = self.model.say_each(&prompts, MOST, &self.stops, |done| bar.at(done as u64, "answers"))?;
        let mut said = Vec::new();
        for (Asked { instruction, .. }, answer) in self.asked.iter().zip(answers) {
            said.push(Said {
                prompt: instruction.prompt.clone(),
                wanted: instruction.completion.clone(),
                said: self.tokenizer.decode(&answer)?.trim().to_owned(),
            });
        }
        let exact = said.iter().filter(|said| said.is_exact()).count() as f64 / said.len().max(1) as f64;
        Ok((Score { perplexity, exact }, said))
    }

    /// The gradients of `rows` of the public instructions; gives how many there were. For timing.
    ///
    /// # Errors
    /// A failure of the model.
    pub fn gradients(&self, rows: usize) -> anyhow::Result<usize> {
        let rows = &self.public[..rows.min(self.public.len())];
        let texts: Vec<Encoded> = rows.iter().map(|asked| asked.whole.clone()).collect();
        let prompts: Vec<usize> = rows.iter().map(|asked| asked.prompt).collect();
        self.model.for_each_gradient(&texts, &prompts, |_, _, _| ())?;
        Ok(rows.len())
    }
}

fn loss(model: &LanguageModel, asked: &[Asked]) -> anyhow::Result<f64> {
    let texts: Vec<Encoded> = asked.iter().map(|asked| asked.whole.clone()).collect();
    let prompts: Vec<usize> = asked.iter().map(|asked| asked.prompt).collect();
    let foreseen = model.foresee(&texts, &prompts)?;
    let (sum, tokens) = foreseen.iter().fold((0.0, 0.0), |(sum, tokens), one| {
        (sum + f64::from(one.loss) * one.tokens as f64, tokens + one.tokens as f64)
    });
    Ok(sum / tokens)
}
