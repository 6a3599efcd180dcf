//! What both accountants say of settings from standard input, one JSON object a line: `rate`, `noise`, `steps`, `delta`. For
//! `benches/accountant`.

use std::io::{BufRead as _, stdin};
use std::time::Instant;

use privacy::accountant::{Accountant, Rounds};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Setting {
    rate: f64,
    noise: f64,
    steps: u64,
    delta: f64,
}

#[derive(Serialize)]
struct Answer {
    rdp: f64,
    pld: f64,
    rdp_seconds: f64,
    pld_seconds: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in stdin().lock().lines() {
        let Setting { rate, noise, steps, delta } = serde_json::from_str(&line?)?;
        let rounds = [Rounds::new(rate, noise, steps)];
        let timed = |by: Accountant| {
            let start = Instant::now();
            by.epsilon(&rounds, delta).map(|found| (found, start.elapsed().as_secs_f64()))
        };
        let ((rdp, rdp_seconds), (pld, pld_seconds)) = (timed(Accountant::Rdp)?, timed(Accountant::Pld)?);
        println!("{}", serde_json::to_string(&Answer { rdp, pld, rdp_seconds, pld_seconds })?);
    }
    Ok(())
}
