//! `status`: what the storage says, beside a running server or without one.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;

use super::args::Status;
use crate::{setup, status};

const WATCH: Duration = Duration::from_secs(2);

pub(super) async fn status(args: Status) -> anyhow::Result<()> {
    let home = setup::open(&args.dir).await?;
    if args.watch {
        let (terminal, mut pasts) = (std::io::stdout().is_terminal(), status::Pasts::default());
        loop {
            let status = status::read_again(&home, &mut pasts).await?;
            // Clears a terminal's screen; elsewhere one block follows another.
            print!("{}", if terminal { "\x1b[2J\x1b[H" } else { "\n" });
            print(&status);
            tokio::time::sleep(WATCH).await;
        }
    }
    let status = status::read(&home).await?;
    home.store.close().await;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&status).context("cannot write JSON")?);
        return Ok(());
    }
    print(&status);
    Ok(())
}

fn print(status: &status::Status) {
    println!("federation  {}", status.federation);
    println!("charter     {}", status.charter);
    match &status.halted {
        Some(reason) => println!("stage       halted: {reason}"),
        None => println!("stage       {}", status.stage),
    }
    if let Some(reason) = &status.stalled {
        println!("STALLED     no round can begin: {reason}");
    }
    println!("joined      {}", list(&status.joined));
    println!("missing     {}", list(&status.missing));
    let keys: Vec<String> = status.keys.iter().map(|(name, stock)| format!("{name} {stock}")).collect();
    println!("keys        {}", list(&keys));
    println!("revoked     {}", list(&status.revoked));
    println!(
        "round       {} of {}, attempt {} of {}: {}",
        status.round, status.rounds, status.attempt, status.attempts, status.phase
    );
    println!("waits for   {}", list(&status.waiting_for));
    println!("contributed {}", list(&status.contributed));
    let isolated: Vec<String> = status.isolated.iter().map(|(name, ground)| format!("{name} ({ground})")).collect();
    println!("isolated    {}", list(&isolated));
    println!("suspects    {}", list(&status.suspects));
    println!("last        {}", status.last.as_deref().unwrap_or("-"));
    match status.epsilon {
        Some(epsilon) => println!("epsilon     {epsilon:.3} at delta {:e}, by the accountant", status.delta),
        None if status.mode == "none" => println!("epsilon     NO PRIVACY: the charter's mode is `none`"),
        None => println!("epsilon     beyond what the accountant can state"),
    }
    match status.metrics.points.last() {
        Some(point) => println!("metrics     {point}"),
        None => println!("metrics     {}", status.metrics.note),
    }
    println!("record      {} leaves", status.record);
    if status.approvals_needed > 0 {
        println!(
            "hand-over   agreed to by {} of {} that must: {}",
            status.approved.len(),
            status.approvals_needed,
            list(&status.approved)
        );
    }
    println!("adapter     {}", if status.final_adapter { "here: `export` writes it" } else { "not here yet" });
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join(", ") }
}
