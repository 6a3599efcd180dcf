//! `digest`: what a charter says of a base model.

use std::path::Path;

use adapter::{Model, settings_digest, weights_digest};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::args::Digest;

/// Texts longer than this are cut where nothing else is written; fewer where the model takes fewer.
const MAX_TOKENS: u32 = 128;

/// The section `[model]` of a charter, but for the labels, which are not the base model's.
#[derive(Debug, Serialize)]
struct Section {
    name: String,
    sha256: String,
    settings_sha256: String,
    architecture: adapter::Architecture,
    num_hidden_layers: u32,
    hidden_size: u32,
    intermediate_size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<[String; 0]>,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<adapter::AttentionSizes>,
}

pub(super) async fn digest(args: Digest) -> anyhow::Result<()> {
    let folder = super::model_folder(&args.model).await?;
    let name = args.model;
    let section = tokio::task::spawn_blocking(move || section(&name, &folder)).await;
    let section = section.context("the digest ended without a result")??;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&section).context("cannot write JSON")?);
    } else {
        print!("{}", as_toml(section)?);
    }
    Ok(())
}

/// The section of this model, as text for a charter.
pub(super) async fn section_of(model: String) -> anyhow::Result<String> {
    let folder = super::model_folder(&model).await?;
    let section = tokio::task::spawn_blocking(move || section(&model, &folder)).await;
    as_toml(section.context("the digest ended without a result")??)
}

/// Reads the model in `folder`, which the user calls `name`.
fn section(name: &str, folder: &Path) -> anyhow::Result<Section> {
    #[derive(Deserialize)]
    struct Positions {
        max_position_embeddings: Option<u32>,
    }
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let in_config = || path.display().to_string();
    // An encoder's labels are the charter's to choose: any number that a head can have will do here.
    let model = Model::from_hf_config(&text, 2).or_else(|_| Model::from_hf_config(&text, 0)).with_context(in_config)?;
    let positions: Positions = serde_json::from_str(&text).with_context(in_config)?;
    Ok(Section {
        name: name.split_once('@').map_or(name, |(name, _)| name).to_owned(),
        sha256: hex::encode(weights_digest(folder)?),
        settings_sha256: hex::encode(settings_digest(folder)?),
        architecture: model.architecture,
        num_hidden_layers: model.num_hidden_layers,
        hidden_size: model.hidden_size,
        intermediate_size: model.intermediate_size,
        labels: model.architecture.is_language_model().then_some([]),
        max_tokens: positions.max_position_embeddings.map_or(MAX_TOKENS, |most| most.min(MAX_TOKENS)),
        attention: model.attention,
    })
}

/// The section with what is left to choose in comments.
fn as_toml(section: Section) -> anyhow::Result<String> {
    let Section { attention, .. } = section;
    let plain = Section { attention: None, ..section };
    let mut text = format!("[model]\n{}", toml::to_string(&plain).context("cannot write TOML")?);
    if plain.labels.is_none() {
        text.push_str(
            "# The classes, in the order of the head's rows; yours to write:\n# labels = [\"first\", \"second\"]\n",
        );
    }
    if let Some(sizes) = attention {
        let sizes = toml::to_string(&sizes).context("cannot write TOML")?;
        text = format!("{text}attention = {{ {} }}\n", sizes.trim_end().replace('\n', ", "));
    }
    text.push_str("# max_tokens is a proposal: longer texts are cut, and each token costs time.\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn families() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora/tests/fixtures/families")
    }

    const MODEL: &str = "[model]\n";

    /// The sample charter with this section in place of its own.
    fn charter(section: &str, lora: &[(&str, &str)]) -> protocol::Charter {
        let sample = protocol::charter::SAMPLE;
        let (before, rest) = sample.split_once(MODEL).unwrap();
        let (_, after) = rest.split_once("[lora]").unwrap();
        let text = format!("{before}{section}\n[lora]{after}");
        let text = lora.iter().fold(text, |text, (from, to)| text.replacen(from, to, 1));
        protocol::Charter::parse(&text).unwrap()
    }

    /// The digest is coreutils' (`LC_ALL=C sha256sum model-*-of-*.safetensors | sha256sum`), the sizes those of the config.json.
    #[test]
    fn a_language_models_section_makes_a_charter_whose_check_the_model_passes() {
        let folder = families().join("llama3");
        let section = section("Org/tiny@main", &folder).unwrap();
        assert_eq!(
            (section.name.as_str(), section.sha256.as_str()),
            ("Org/tiny", "5a5cc34c3834d08c35ef0a92b0f17fd964266fe61ba1125415cce2c5d276c3f1")
        );
        let targets = ("target_modules = [\"query\", \"value\"]", "target_modules = [\"q_proj\"]");
        let saved = ("modules_to_save = [\"classifier\"]", "modules_to_save = []");
        let json = serde_json::to_value(&section).unwrap();
        let charter = charter(&as_toml(section).unwrap(), &[targets, saved]);
        terms::check_base_model(&charter, &folder).unwrap();
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        assert_eq!(charter.model.hidden_size, config["hidden_size"].as_u64().unwrap() as u32);
        let heads = charter.model.attention.unwrap();
        assert_eq!(heads.num_key_value_heads, config["num_key_value_heads"].as_u64().unwrap() as u32);
        terms::Terms::of(&charter).unwrap().first_state().unwrap();
        assert_eq!((&json["architecture"], &json["labels"]), (&"llama".into(), &serde_json::json!([])));
    }

    #[test]
    fn an_encoders_section_leaves_the_labels_to_the_federation() {
        let section = section("bert", &families().join("bert")).unwrap();
        assert!(serde_json::to_value(&section).unwrap().get("labels").is_none());
        let text = as_toml(section).unwrap();
        assert!(text.contains("# labels = ") && !text.contains("attention"), "{text}");
        let charter = charter(&text.replace("# labels = ", "labels = "), &[]);
        assert_eq!(charter.model.labels, ["first", "second"]);
        terms::check_base_model(&charter, &families().join("bert")).unwrap();
    }

    #[test]
    fn a_folder_that_is_no_model_is_refused_by_file() {
        let error = format!("{:#}", section("x", Path::new("/nowhere/at/all")).unwrap_err());
        assert!(error.contains("config.json"), "{error}");
    }
}
