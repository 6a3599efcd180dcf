//! The house's folder, its configuration, model and rows.

use std::path::{Path, PathBuf};

use hub::{Hub, HubError, Settings};

use super::{Report, machine, tell};
use crate::cli::status;
use crate::config::{self, Config, DataConfig, TrainingConfig};
use crate::files;
use crate::identity::Identity;
use crate::policy::PolicyError;

/// Reads what `join` wrote.
pub(super) fn folder(dir: &Path, report: &mut Report) -> Option<Identity> {
    match Identity::load(dir) {
        Err(error) => {
            report.fail("folder", error, "give the folder that was joined, or join first");
            None
        }
        Ok(identity) => {
            if let Err(error) = files::may_write(dir) {
                report.fail("folder", error, "give the user that runs this program the folder");
                return Some(identity);
            }
            let (name, federation) = (identity.name(), &identity.charter.name);
            report.ok("folder", format!("{} is {name} in {federation}", dir.display()));
            Some(identity)
        }
    }
}

/// Whether others on this machine can read the keys.
pub(super) fn secrets(dir: &Path, report: &mut Report) {
    let folders = [dir.join("keys"), dir.join("state").join("keys")];
    if !folders.iter().any(|folder| folder.exists()) {
        report.skip(&["permissions"], "there are no keys here");
        return;
    }
    match files::readable_by_others(&folders) {
        Err(error) => report.fail("permissions", error, "give the user that runs this program the folder"),
        Ok(open) => match open.as_slice() {
            [] => report.ok("permissions", "keys are their owner's only"),
            [first, ..] => {
                let said = format!("others on this machine can read {} of the keys: {}", open.len(), first.display());
                let todo = format!(
                    "chmod -R go-rwx {}; if somebody may have read them, ask for a new invitation",
                    dir.display()
                );
                report.fail("permissions", said, &todo);
            }
        },
    }
}

/// `client.toml`, and what it refuses of the charter.
pub(super) fn config(dir: &Path, identity: Option<&Identity>, report: &mut Report) -> Option<Config> {
    let config = match Config::load(dir) {
        Ok(config) => config,
        Err(error) => {
            report.fail("client.toml", error, "correct it; the client.toml that `join` writes explains every key");
            return None;
        }
    };
    let any = |value: &str| value == "any";
    let hours = config.policy.hours.as_ref().map(|hours| format!("; hours: {}", status::hours(hours)));
    let hours = hours.unwrap_or_default();
    match identity.map(|identity| config.policy.check(&identity.charter)) {
        Some(Err(PolicyError::NothingApproved { found })) => {
            let dir = dir.display();
            let todo =
                format!("plainchant-client charter show {dir}, then plainchant-client charter approve {dir} {found}");
            report.fail("client.toml", "no charter is approved yet", &todo);
        }
        Some(Err(error)) => report.fail("client.toml", error, "change the policy, or do not take part"),
        _ if config.network.has_user() && files::is_readable_by_others(&dir.join(config::FILE)) => {
            let todo = format!("chmod go-rwx {}", dir.join(config::FILE).display());
            report.warn("client.toml", "others on this machine can read the proxy's password in it", &todo);
        }
        _ if config.policy.roster.is_empty() => {
            let dir = dir.display();
            let todo = format!(
                "once all have joined, plainchant-client roster show {dir}, then plainchant-client roster approve {dir} DIGEST"
            );
            let said = format!("no roster is approved yet: `run` waits for all to have joined, and then ends{hours}");
            report.warn("client.toml", said, &todo);
        }
        _ if any(&config.policy.approve) || any(&config.policy.roster) => {
            let open = [("charter", &config.policy.approve), ("roster", &config.policy.roster)];
            let open: Vec<&str> = open.iter().filter(|(_, value)| any(value)).map(|(what, _)| *what).collect();
            let said = format!("its policy takes any {}: for trials only{hours}", open.join(" and any "));
            report.warn("client.toml", said, "`charter approve` and `roster approve` write what is agreed to");
        }
        _ => {
            report.ok("client.toml", format!("is whole, and its policy takes the charter{hours}"));
        }
    }
    Some(config)
}

/// Device, model and rows; a trustee has none.
pub(super) fn training(dir: &Path, identity: &Identity, config: &Config, report: &mut Report) {
    const CHECKS: [&str; 4] = ["device", "model", "memory", "data"];
    if identity.charter.house(identity.name()).is_none() {
        report.skip(&CHECKS, "a trustee trains nothing");
        return;
    }
    let (Some(data), Some(training)) = (&config.data, &config.training) else {
        report.fail("data", "a house's client.toml needs [data] and [training]", "write both");
        report.skip(&CHECKS[..3], "client.toml comes first");
        return;
    };
    match ::training::describe_device(&training.device) {
        Ok(device) => report.ok("device", format!("{:?} is {device}", training.device)),
        Err(error) => report.fail("device", error, "write another device in client.toml, or \"auto\""),
    }
    let Some(folder) = model_folder(training, report) else {
        report.skip(&CHECKS[2..], "the model comes first");
        return;
    };
    machine::memory(&folder, report);
    rows(dir, identity, data, training, &folder, report);
}

/// The base model's folder, if it holds the charter's model. Nothing is fetched.
fn model_folder(training: &TrainingConfig, report: &mut Report) -> Option<PathBuf> {
    let offline = Hub::new(Settings { offline: true, ..Settings::from_env() });
    match offline.folder(&training.model) {
        Ok(folder) => return Some(folder),
        Err(HubError::NotCached { id, cache, lack }) => report.warn(
            "model",
            format!("{id} is not here yet: {} has {lack}", cache.display()),
            "`plainchant-client check` fetches it, for which the hub must be reached; or write a folder",
        ),
        Err(error) => report.fail("model", error, "write the folder of the charter's model in client.toml"),
    }
    None
}

/// Every bad row, as `check` finds them.
fn rows(
    dir: &Path,
    identity: &Identity,
    data: &DataConfig,
    training: &TrainingConfig,
    folder: &Path,
    report: &mut Report,
) {
    let charter = &identity.charter;
    tell("reading the model's files");
    if let Err(error) = terms::check_base_model(charter, folder) {
        report.fail("model", error, "take the charter's model anew: this is another one, or it is damaged");
        report.skip(&["data"], "the model comes first");
        return;
    }
    report.ok("model", format!("{} is {}, the charter's", folder.display(), charter.model.name));
    tell("reading the rows");
    let source = data.source(terms::is_language_model(charter));
    match ::training::load(charter, &source, &training.source(folder), dir) {
        Ok(loaded) => {
            let (rows, held_out) = (loaded.house.units.rows().len(), loaded.house.held_out.rows().len());
            report.ok("data", format!("{rows} rows to train on, {held_out} held out; {} are cut", loaded.cut_rows));
        }
        Err(error) => report.fail("data", error, "correct the file, or data and model in client.toml"),
    }
}
