//! Texts to token ids, by a Hugging Face `tokenizer.json`.

use std::path::{Path, PathBuf};

use crate::LoraError;

/// A text as token ids, special tokens included, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The token ids, at least one.
    pub ids: Vec<u32>,
}

/// A tokenizer and the file it came from.
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Its own padding and truncation are switched off.
    ///
    /// # Errors
    ///
    /// [`LoraError::Read`] or [`LoraError::Tokenizer`], which name the file.
    pub fn from_file(path: &Path) -> Result<Self, LoraError> {
        let bytes = std::fs::read(path).map_err(|source| LoraError::Read { path: path.to_owned(), source })?;
        let refuse = |e: tokenizers::Error| LoraError::Tokenizer { path: path.to_owned(), reason: e.to_string() };
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(refuse)?;
        inner.with_padding(None).with_truncation(None).map_err(refuse)?;
        Ok(Self { path: path.to_owned(), inner })
    }

    /// The largest id that any text may get; `None` of an empty vocabulary.
    #[must_use]
    pub fn largest_id(&self) -> Option<u32> {
        self.inner.get_vocab(true).values().copied().max()
    }

    /// Whether a token is a special one, which no text is made of.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.inner.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }

    /// The text of `ids`, special tokens left out.
    ///
    /// # Errors
    /// [`LoraError::Tokenizer`] where the tokenizer cannot.
    pub fn decode(&self, ids: &[u32]) -> Result<String, LoraError> {
        let refuse = |e: tokenizers::Error| LoraError::Tokenizer { path: self.path.clone(), reason: e.to_string() };
        self.inner.decode(ids, true).map_err(refuse)
    }

    /// The tokens of `text` as it is: special tokens are where the text spells them.
    ///
    /// # Errors
    /// [`LoraError::Tokenizer`] where the tokenizer refuses the text.
    pub fn encode_plain(&self, text: &str) -> Result<Encoded, LoraError> {
        let refuse = |e: tokenizers::Error| LoraError::Tokenizer { path: self.path.clone(), reason: e.to_string() };
        Ok(Encoded { ids: self.inner.encode(text, false).map_err(refuse)?.get_ids().to_vec() })
    }

    /// The tokens of `text` with the special tokens around it, at most `max_tokens` in all: a longer text loses its end, never the
    /// closing special token.
    ///
    /// # Errors
    ///
    /// [`LoraError::Tokenizer`] where `max_tokens` leaves no room beside the special tokens, or the tokenizer refuses the text.
    pub fn encode(&self, text: &str, max_tokens: usize) -> Result<Encoded, LoraError> {
        Ok(self.encode_within(text, max_tokens)?.0)
    }

    /// As [`encode`](Self::encode), with how many tokens of the text were cut off.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_within(&self, text: &str, max_tokens: usize) -> Result<(Encoded, usize), LoraError> {
        use tokenizers::PostProcessor as _;

        let refuse = |reason: String| LoraError::Tokenizer { path: self.path.clone(), reason };
        let special = self.inner.get_post_processor().map_or(0, |p| p.added_tokens(false));
        let room = max_tokens.saturating_sub(special);
        if room == 0 {
            return Err(refuse(format!("{max_tokens} tokens leave no room beside {special} special tokens")));
        }
        let mut encoding = self.inner.encode(text, false).map_err(|e| refuse(e.to_string()))?;
        let cut = encoding.len().saturating_sub(room);
        encoding.truncate(room, 0, tokenizers::TruncationDirection::Right);
        let encoding = self.inner.post_process(encoding, None, true).map_err(|e| refuse(e.to_string()))?;
        Ok((Encoded { ids: encoding.get_ids().to_vec() }, cut))
    }
}
