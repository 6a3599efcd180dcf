//! `log` and `verify`: the record, as this aggregator has it, and as a file.

use anyhow::Context as _;
use protocol::log::audit::audit;
use protocol::log::file::MAX_FILE_BYTES;

use super::args::{Log, Verify};
use super::{NotYet, replace};
use crate::{record, setup};

pub(super) async fn log(args: Log) -> anyhow::Result<()> {
    let home = setup::open(&args.dir).await?;
    let Some(out) = &args.out else {
        let checkpoint = record::checkpoint(&home).await?;
        home.store.close().await;
        print!("{checkpoint}");
        return Ok(());
    };
    let file = record::file(&home).await?;
    home.store.close().await;
    let file = file.ok_or_else(|| NotYet("there is no record before all members have joined".to_owned()))?;
    // What is stored may be damaged: nobody should hear that from somebody else first.
    let audited = audit(&file).context("the stored record is damaged")?;
    replace(out, &file).with_context(|| format!("cannot write {}", out.display()))?;
    println!("{}: {} entries, root {}", out.display(), audited.head.size, audited.head.root);
    Ok(())
}

pub(super) fn verify(args: &Verify) -> anyhow::Result<()> {
    let path = args.file.display();
    let size = std::fs::metadata(&args.file).with_context(|| format!("cannot read {path}"))?.len();
    anyhow::ensure!(size <= MAX_FILE_BYTES as u64, "{path}: larger than {MAX_FILE_BYTES} bytes");
    let audited = audit(&std::fs::read(&args.file).with_context(|| format!("cannot read {path}"))?)?;
    terms::check_record(&audited)?;
    println!("{audited}");
    println!("it holds, if charter and roster are those that you know");
    Ok(())
}
