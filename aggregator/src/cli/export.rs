//! `export`: the final adapter as a PEFT directory.

use anyhow::Context as _;
use protocol::Digest;

use super::NotYet;
use super::args::Export;
use crate::setup;
use crate::store::{Setting, Shelf};
use terms::Terms;

pub(super) async fn export(args: Export) -> anyhow::Result<()> {
    let home = setup::open(&args.dir).await?;
    let Some(blob) = home.store.setting(Setting::FinalState).await? else {
        let dir = args.dir.display();
        let reason = format!("the final adapter is not here yet; see `plainchant-aggregator status {dir}`");
        return Err(NotYet(reason).into());
    };
    let digest: [u8; 32] = blob.as_slice().try_into().context("the database is damaged: the final state's digest")?;
    let bytes = home.store.blobs().get(Shelf::Kept, &Digest::from_bytes(digest)).await?;
    let state = Terms::of(&home.charter)?.read_state(&bytes).context("the stored final state")?;
    state.adapter().save_dir(&args.out)?;
    println!("{}: adapter after {} rounds, state {}", args.out.display(), state.step(), hex::encode(state.digest()));
    home.store.close().await;
    Ok(())
}
