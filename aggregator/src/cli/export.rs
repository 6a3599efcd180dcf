//! `export`: the final adapter as a PEFT directory, or in the weights of its base model.

use std::path::Path;

use adapter::{AdapterError, BaseBiases, Merge, State};
use anyhow::Context as _;
use protocol::Digest;

use super::NotYet;
use super::args::Export;
use crate::setup::{self, Home};
use crate::store::{Setting, Shelf};
use terms::Terms;

/// The state after the last round, once the houses have handed it over.
pub(super) async fn final_state(home: &Home, dir: &Path) -> anyhow::Result<State> {
    let Some(blob) = home.store.setting(Setting::FinalState).await? else {
        let dir = dir.display();
        let reason = format!("the final adapter is not here yet; see `plainchant-aggregator status {dir}`");
        return Err(NotYet(reason).into());
    };
    let digest: [u8; 32] = blob.as_slice().try_into().context("the database is damaged: the final state's digest")?;
    let bytes = home.store.blobs().get(Shelf::Kept, &Digest::from_bytes(digest)).await?;
    Terms::of(&home.charter)?.read_state(&bytes).context("the stored final state")
}

pub(super) async fn export(args: Export) -> anyhow::Result<()> {
    let home = setup::open(&args.dir).await?;
    let state = final_state(&home, &args.dir).await?;
    let (out, rounds, digest) = (args.out.display(), state.step(), hex::encode(state.digest()));
    match &args.merge_into {
        None => {
            match &args.model {
                None => match state.adapter().save_dir(&args.out) {
                    Err(e @ AdapterError::NeedsBase { .. }) => {
                        return Err(anyhow::Error::new(e).context("name the base model with --model"));
                    }
                    saved => saved?,
                },
                Some(base) => {
                    let base = super::model_folder(base).await?;
                    terms::check_base_model(&home.charter, &base)?;
                    let adapter = state.adapter();
                    let biases = BaseBiases::read(adapter.model(), adapter.config(), &base)?;
                    adapter.save_dir_with_base(&args.out, &biases)?;
                }
            }
            println!("{out}: adapter after {rounds} rounds, state {digest}");
        }
        Some(base) => {
            anyhow::ensure!(
                terms::is_language_model(&home.charter),
                "a classifier's head is no part of its base model: export the adapter, without --merge-into"
            );
            let base = super::model_folder(base).await?;
            terms::check_base_model(&home.charter, &base)?;
            let tensors = state.adapter().merge(&base, &args.out, Merge::Into)?;
            println!(
                "{out}: the base model with the adapter in {tensors} tensors, after {rounds} rounds, state {digest}"
            );
        }
    }
    home.store.close().await;
    Ok(())
}
