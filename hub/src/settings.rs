//! The variables of the environment that Python's `huggingface_hub` reads, with the same meaning.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where models are cached, and how the hub is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The cache: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `hub` below `HF_HOME`, which is `huggingface` below `XDG_CACHE_HOME` or
    /// `~/.cache` where it is not set.
    pub cache: PathBuf,
    /// Whether the cache is all there is: `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is 1, on, yes or true.
    pub offline: bool,
    /// Who asks: `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH` or `token` below `HF_HOME`.
    pub token: Option<String>,
    /// The hub's address: `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// How long it may say nothing: `HF_HUB_DOWNLOAD_TIMEOUT`, whole seconds; 10 s where it is not set.
    pub silence: Duration,
}

const ENDPOINT: &str = "https://huggingface.co";
const SILENCE: Duration = Duration::from_secs(10);

impl Settings {
    /// What the environment of this program says.
    #[must_use]
    pub fn from_env() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    /// What these variables say; an empty one counts as not set.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let user = set("HOME").or_else(|| set("USERPROFILE")).map_or_else(std::env::temp_dir, PathBuf::from);
        let path = |name: &str| set(name).map(|text| expand(&text, &user));
        let home = path("HF_HOME")
            .unwrap_or_else(|| path("XDG_CACHE_HOME").unwrap_or_else(|| user.join(".cache")).join("huggingface"));
        let is_true = |text: String| ["1", "ON", "YES", "TRUE"].contains(&&*text.to_uppercase());
        let clean = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let from_file = || std::fs::read_to_string(path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"))).ok();
        let token = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).or_else(from_file);
        let seconds = set("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse().ok());
        Self {
            cache: path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home.join("hub")),
            offline: set("HF_HUB_OFFLINE").or_else(|| set("TRANSFORMERS_OFFLINE")).is_some_and(is_true),
            token: token.and_then(clean),
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()).trim_end_matches('/').to_owned(),
            silence: seconds.filter(|seconds| *seconds > 0).map_or(SILENCE, Duration::from_secs),
        }
    }
}

/// The token is a secret.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

/// `~` at the beginning is the user's folder.
fn expand(text: &str, user: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => user.to_owned(),
        Some(rest) if rest.starts_with('/') => user.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Settings {
        Settings::of(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    /// As `huggingface_hub.constants` of 1.x computes them.
    #[test]
    fn the_cache_is_where_pythons_library_has_it() {
        let cache = |variables: &[(&str, &str)]| of(variables).cache;
        let home = ("HOME", "/home/ada");
        assert_eq!(cache(&[home]), Path::new("/home/ada/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")]), Path::new("/home/ada/hf/hub"));
        assert_eq!(cache(&[home, ("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
        let both = [home, ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")];
        assert_eq!(cache(&both), Path::new("/new"));
        assert_eq!(cache(&[home, ("HF_HUB_CACHE", "")]), Path::new("/home/ada/.cache/huggingface/hub"));
    }

    #[test]
    fn offline_is_what_python_takes_for_true() {
        let offline = |value: &str| of(&[("HF_HUB_OFFLINE", value)]).offline;
        assert!(["1", "on", "Yes", "TRUE"].into_iter().all(offline));
        assert!(!["0", "", "false", "no", "2"].into_iter().any(offline));
        assert!(of(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert!(!of(&[("TRANSFORMERS_OFFLINE", "1"), ("HF_HUB_OFFLINE", "0")]).offline);
    }

    #[test]
    fn the_token_comes_from_the_environment_before_the_file_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "from-file\n").unwrap();
        let home = ("HF_HOME", dir.path().to_str().unwrap());
        assert_eq!(of(&[home]).token.as_deref(), Some("from-file"));
        assert_eq!(of(&[home, ("HUGGING_FACE_HUB_TOKEN", "old")]).token.as_deref(), Some("old"));
        let newest = of(&[home, ("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_TOKEN", " new\n")]);
        assert_eq!(newest.token.as_deref(), Some("new"));
        assert!(!format!("{newest:?}").contains("new"), "{newest:?}");
        assert_eq!(of(&[("HF_HOME", "/nowhere/at/all")]).token, None);
    }

    #[test]
    fn the_endpoint_and_the_patience_can_be_set() {
        assert_eq!(of(&[]).endpoint, "https://huggingface.co");
        assert_eq!(of(&[("HF_ENDPOINT", "https://mirror.example/")]).endpoint, "https://mirror.example");
        assert_eq!(of(&[]).silence, Duration::from_secs(10));
        assert_eq!(of(&[("HF_HUB_DOWNLOAD_TIMEOUT", "3")]).silence, Duration::from_secs(3));
        assert_eq!(of(&[("HF_HUB_DOWNLOAD_TIMEOUT", "0")]).silence, Duration::from_secs(10));
    }
}
