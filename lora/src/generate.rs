//! What a language model says after prompts, the likeliest token each time.

use std::path::Path;

use burn::tensor::Tensor;
use serde::Deserialize;

use crate::LoraError;
use crate::cache::Cache;
use crate::chat::ChatTemplate;
use crate::classifier::to_vec;
use crate::evaluate::largest;
use crate::language::{LanguageModel, scores};
use crate::parallel::for_each;
use crate::tokenizer::{Encoded, Tokenizer};
use crate::transformer::Input;

/// Prompts that grow together, at most: each token costs a pass over all weights, whether one text or several get one.
const TOGETHER: usize = 16;
/// Pairs of tokens of prompts that are read together, padding included, at most (but one prompt always): the scores of each layer and head are so many.
const PAIRS: usize = 16 * 256 * 256;

/// The tokens that end what a model says: `eos_token_id` of `generation_config.json`, else of `config.json`, and what closes the assistant's message in its chat
/// template (`<|im_end|>` of a base model whose `eos_token_id` is `<|endoftext|>`), which is learnt as the end of an answer.
///
/// # Errors
/// [`LoraError::Read`] or [`LoraError::Config`] naming the file.
pub fn stop_tokens(dir: &Path, template: &ChatTemplate, tokenizer: &Tokenizer) -> Result<Vec<u32>, LoraError> {
    let mut stops = configured_stops(dir)?;
    stops.extend(template.end_of_answer(tokenizer).filter(|id| !stops.contains(id)));
    Ok(stops)
}

fn configured_stops(dir: &Path) -> Result<Vec<u32>, LoraError> {
    #[derive(Deserialize)]
    struct Config {
        eos_token_id: Option<Ids>,
    }
    /// In either spelling.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(u32),
        Several(Vec<u32>),
    }
    for path in ["generation_config.json", "config.json"].map(|file| dir.join(file)) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(LoraError::Read { path, source }),
        };
        let config = serde_json::from_str(&text);
        let config: Config = config.map_err(|e| LoraError::Config { path: path.clone(), reason: e.to_string() })?;
        match config.eos_token_id {
            Some(Ids::One(id)) => return Ok(vec![id]),
            Some(Ids::Several(ids)) => return Ok(ids),
            None => {}
        }
    }
    Ok(Vec::new())
}

/// Prompts in order of their lengths, in groups of bounded size.
fn groups(order: &[usize], prompts: &[Encoded]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in order {
        // The longest so far.
        let tokens = prompts[*index].ids.len();
        match groups.last_mut() {
            Some(group) if group.len() < TOGETHER && (group.len() + 1) * tokens * tokens <= PAIRS => group.push(*index),
            _ => groups.push(vec![*index]),
        }
    }
    groups
}

impl LanguageModel {
    /// What the model says after `prompt`: at most `most` tokens, up to one of `stops`, which is left out.
    ///
    /// # Errors
    /// As [`LanguageModel::say_each`].
    pub fn say(&self, prompt: &Encoded, most: usize, stops: &[u32]) -> Result<Vec<u32>, LoraError> {
        let said = self.say_each(std::slice::from_ref(prompt), most, stops, |_| ())?;
        Ok(said.into_iter().next().unwrap_or_default())
    }

    /// What the model says after each of `prompts`: at most `most` tokens, up to one of `stops`, which is left out, and no further than the model has
    /// positions. `done` is told how many prompts are finished.
    ///
    /// The likeliest token is the first of equally likely ones. Which prompts are computed together may change the last bits of a logit.
    ///
    /// # Errors
    /// [`LoraError`] naming the prompt that the model cannot take.
    pub fn say_each(
        &self,
        prompts: &[Encoded],
        most: usize,
        stops: &[u32],
        mut done: impl FnMut(usize),
    ) -> Result<Vec<Vec<u32>>, LoraError> {
        self.adapted.check(prompts)?;
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|index| prompts[*index].ids.len());
        let groups = groups(&order, prompts);
        let (mut said, mut finished) = (vec![Vec::new(); prompts.len()], 0);
        let work = |group: &Vec<usize>| {
            let prompts: Vec<&[u32]> = group.iter().map(|index| prompts[*index].ids.as_slice()).collect();
            self.say_together(&prompts, most, stops)
        };
        for_each(self.adapted.workers(), &groups, work, |group, texts| {
            for (index, text) in group.iter().zip(texts) {
                said[*index] = text;
            }
            finished += group.len();
            done(finished);
        })?;
        Ok(said)
    }

    fn say_together(&self, prompts: &[&[u32]], most: usize, stops: &[u32]) -> Result<Vec<Vec<u32>>, LoraError> {
        let added = self.adapted.attached.shared();
        let positions = self.sizes().max_tokens;
        let mut cache = Cache::new(self.adapted.spec(), prompts.len());
        let mut said = vec![Vec::new(); prompts.len()];
        let mut open = vec![true; prompts.len()];
        let mut new: Vec<Vec<u32>> = prompts.iter().map(|prompt| prompt.to_vec()).collect();
        for _ in 0..most {
            let lengths: Vec<usize> = new.iter().map(Vec::len).collect();
            let tokens = lengths.iter().copied().max().unwrap_or(0);
            let mut ids = vec![0; new.len() * tokens];
            for (row, text) in ids.chunks_exact_mut(tokens.max(1)).zip(&new) {
                row[..text.len()].copy_from_slice(text);
            }
            let input = Input::new(&ids, &lengths, tokens, &self.adapted.device);
            let hidden = self.adapted.model.forward_after(&mut cache, &input, &added);
            let next = self.likeliest(&hidden, &lengths)?;
            for (row, token) in next.into_iter().enumerate() {
                // A text that is at its end goes on beside the others, unheard.
                new[row] = vec![token];
                open[row] &= !stops.contains(&token) && prompts[row].len() + said[row].len() < positions;
                if open[row] {
                    said[row].push(token);
                }
            }
            if open.iter().all(|open| !open) {
                break;
            }
        }
        Ok(said)
    }

    /// The likeliest token after each text's last.
    fn likeliest(&self, hidden: &Tensor<3>, lengths: &[usize]) -> Result<Vec<u32>, LoraError> {
        let last =
            |(row, length): (usize, &usize)| hidden.clone().narrow(0, row, 1).narrow(1, length.saturating_sub(1), 1);
        let last = Tensor::cat(lengths.iter().enumerate().map(last).collect(), 0);
        let width = self.sizes().vocab_size;
        let logits = to_vec("logits", scores(last, &self.words))?;
        Ok(logits.chunks_exact(width).map(|row| largest(row) as u32).collect())
    }
}
