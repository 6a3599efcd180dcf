//! Which files of a repository make a model here.

use std::path::Path;

use adapter::{BASE_INDEX, BASE_WEIGHTS};

/// Without these there is no model to train.
pub(crate) const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];

/// These are taken where a repository has them.
pub(crate) const OPTIONAL: [&str; 4] =
    ["generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];

/// How a repository holds its weights.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// One safetensors file.
    Single,
    /// Several, named by an index.
    Indexed,
    /// Pickles, named here: they run code when they are read.
    Pickles(Vec<String>),
    /// None of these.
    None,
}

/// What a repository or folder with files of these names has; one file goes before several, as when it is loaded.
pub(crate) fn weights<'a>(names: impl IntoIterator<Item = &'a str>) -> Weights {
    let names: Vec<&str> = names.into_iter().collect();
    if names.contains(&BASE_WEIGHTS) {
        return Weights::Single;
    }
    if names.contains(&BASE_INDEX) {
        return Weights::Indexed;
    }
    let pickle = |name: &&str| {
        let end = Path::new(name).extension().and_then(|end| end.to_str()).unwrap_or_default();
        ["bin", "pt", "pth", "ckpt", "pkl", "pickle"].contains(&end) && !name.contains('/')
    };
    let pickles: Vec<String> = names.into_iter().filter(pickle).map(str::to_owned).collect();
    if pickles.is_empty() { Weights::None } else { Weights::Pickles(pickles) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safetensors_go_before_pickles_and_one_file_before_several() {
        assert_eq!(weights(["pytorch_model.bin", BASE_INDEX, BASE_WEIGHTS]), Weights::Single);
        assert_eq!(weights(["pytorch_model.bin", BASE_INDEX]), Weights::Indexed);
        let pickles = weights(["config.json", "pytorch_model.bin", "model.pt", "onnx/x.bin", "model.gguf"]);
        assert_eq!(pickles, Weights::Pickles(vec!["pytorch_model.bin".to_owned(), "model.pt".to_owned()]));
        assert_eq!(weights(["config.json", "model.gguf"]), Weights::None);
    }
}
