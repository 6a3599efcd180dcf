//! `check`.

use std::path::Path;

use serde_json::json;

use super::Failure;
use crate::config::Config;
use crate::identity::Identity;
use crate::round::RunError;
use crate::trainer;

pub(super) fn run(dir: &Path, as_json: bool) -> Result<(), Failure> {
    let identity = Identity::load(dir).map_err(RunError::from)?;
    let config = Config::load(dir).map_err(RunError::from)?;
    let (charter, name) = (&identity.charter, identity.name());
    let Some(place) = charter.house(name) else {
        println!("{name} is a trustee: it holds key shares, and no data to check");
        return Ok(());
    };
    let (Some(data), Some(training)) = (&config.data, &config.training) else {
        return Err(RunError::NoTrainer(name.clone()).into());
    };
    let loaded = trainer::load(charter, data, training)?;
    let (units, held_out) = (&loaded.house.units, &loaded.house.held_out);
    let rows = |units: &[Vec<usize>]| units.iter().map(Vec::len).sum::<usize>();
    let largest = units.iter().chain(held_out).map(Vec::len).max().unwrap_or(0);
    let batch = units.len() as f64 * place.sampling_rate;
    if as_json {
        let value = json!({
            "units": units.len(),
            "rows": rows(units),
            "held_out_units": held_out.len(),
            "held_out_rows": rows(held_out),
            "largest_unit": largest,
            "named_units": loaded.named_units,
            "mean_batch": batch,
            "nominal_batch": place.nominal_batch,
        });
        println!("{value}");
        return Ok(());
    }
    let what = data.unit_column.as_ref().map_or("row".to_owned(), |column| format!("`{column}`"));
    println!("rows             {} to train on, {} held out for evaluations", rows(units), rows(held_out));
    println!("units            {} and {}; one {what} each, of at most {largest} rows", units.len(), held_out.len());
    println!("batch            {batch:.1} units in the mean; the charter counts on {}", place.nominal_batch);
    println!("data, model and tokenizer fit the charter; nothing was trained or spent");
    Ok(())
}
