//! The page itself: one HTML file with its figures in it, which loads nothing.

use std::fmt::Write as _;

use super::{ReportError, figures};
use crate::plot;
use crate::rows::{self, RunRow};
use crate::simulate::Finished;

const STYLE: &str = "body{font:16px/1.5 'Noto Sans',Helvetica,Arial,sans-serif;color:#1f2328;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;font-size:.85rem;display:block;overflow-x:auto}th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #e2e5e9}\
th:first-child,td:first-child{text-align:left}figure{margin:2rem 0}figcaption{color:#59636e;font-size:.9rem}svg{max-width:100%;height:auto}\
pre{background:#f6f8fa;padding:1rem;overflow-x:auto}.warning{background:#fff4e5;border-left:4px solid #d55e00;padding:.6rem 1rem}";

/// The page about these runs.
///
/// # Errors
/// A figure that cannot be drawn.
pub fn page(finished: &Finished, commands: &[String]) -> Result<String, ReportError> {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Plainchant: simulated federations</title>\
        <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n<h1>Simulated federations</h1>\n"
    );
    // Writing to a string cannot fail.
    let _ = writeln!(page, "<p>{}</p>", summary(&finished.runs));
    if finished.runs.iter().any(|run| run.mode == "none") {
        page += "<p class=\"warning\">Runs of mode <b>none</b> protect nobody; they are here for comparison.</p>\n";
    }
    if finished.runs.iter().any(|run| run.noise == "pooled") {
        page += "<p class=\"warning\">Noise was <b>pooled</b>: one draw a round for the whole sum, of the variance of all shares. \
            The client program always draws its own share.</p>\n";
    }
    for figure in figures(finished) {
        let svg = plot::svg(std::slice::from_ref(&figure.chart))?;
        let _ = writeln!(page, "<figure>{svg}<figcaption>{}</figcaption></figure>", escape(&figure.about));
    }
    page += "<h2>Runs</h2>\n";
    page += &table(&finished.runs);
    page += "<h2>Again</h2>\n<pre>";
    page += &escape(&commands.join("\n"));
    page += "</pre>\n<p>Splits, batches and dropouts follow from the seeds; noise and keys are drawn from the operating system, so that numbers \
        differ by the noise of a run. Every row is in runs, curve and clients, as Parquet and JSON.</p>\n</body></html>\n";
    Ok(page)
}

fn summary(runs: &[RunRow]) -> String {
    let distinct = |of: fn(&RunRow) -> String| {
        let mut values: Vec<String> = runs.iter().map(of).collect();
        values.sort();
        values.dedup();
        values
    };
    let modes = distinct(|run| run.mode.clone()).join(", ");
    let seeds = distinct(|run| run.seed.to_string()).len();
    let clients = distinct(|run| run.clients.to_string()).join(", ");
    format!("{} runs: modes {modes}; {clients} clients; {seeds} seeds.", runs.len())
}

fn table(runs: &[RunRow]) -> String {
    let head = [
        "run",
        "mode",
        "epsilon",
        "delta",
        "noise multiplier",
        "noise",
        "rounds",
        "clients",
        "norm",
        "rank",
        "rate",
        "plain",
        "macro",
        "macro F1",
        "loss",
        "worst client",
        "spread",
        "seconds",
        "MB up",
    ];
    let mut text = String::from("<table><tr>");
    for column in head {
        let _ = write!(text, "<th>{column}</th>");
    }
    text += "</tr>\n";
    for run in runs {
        let cells = [
            escape(&run.run),
            escape(&run.mode),
            rows::epsilon(run.epsilon),
            format!("{:e}", run.delta),
            format!("{:.4}", run.noise_multiplier),
            escape(&run.noise),
            run.rounds.to_string(),
            run.clients.to_string(),
            run.clipping_norm.to_string(),
            run.rank.to_string(),
            run.learning_rate.to_string(),
            format!("{:.4}", run.plain),
            format!("{:.4}", run.macro_),
            format!("{:.4}", run.macro_f1),
            format!("{:.4}", run.loss),
            format!("{:.3}", run.worst_client),
            format!("{:.3}", run.client_spread),
            format!("{:.1}", run.seconds),
            format!("{:.1}", run.bytes_up as f64 / 1e6),
        ];
        text += "<tr>";
        for cell in cells {
            let _ = write!(text, "<td>{cell}</td>");
        }
        text += "</tr>\n";
    }
    text + "</table>\n"
}

/// Text between tags: what a run is named after may come from a file.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
