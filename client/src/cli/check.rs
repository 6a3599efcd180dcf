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
    let (loaded, _) = trainer::load(charter, data, training, dir)?;
    let (units, held_out) = (&loaded.house.units, &loaded.house.held_out);
    let (rows, held_out_rows) = (units.rows().len(), held_out.rows().len());
    let largest = units.largest().max(held_out.largest());
    let batch = units.len() as f64 * place.sampling_rate;
    if as_json {
        let value = json!({
            "units": units.len(),
            "rows": rows,
            "held_out_units": held_out.len(),
            "held_out_rows": held_out_rows,
            "cut_rows": loaded.cut_rows,
            "largest_unit": largest,
            "named_units": loaded.named_units,
            "mean_batch": batch,
            "nominal_batch": place.nominal_batch,
        });
        println!("{value}");
        return Ok(());
    }
    let what = data.unit_column.as_ref().map_or("row".to_owned(), |column| format!("`{column}`"));
    println!("rows             {rows} to train on, {held_out_rows} held out for evaluations");
    let most = charter.model.max_tokens;
    println!("cut rows         {} lose their end: they have more than the charter's {most} tokens", loaded.cut_rows);
    println!("units            {} and {}; one {what} each, of at most {largest} rows", units.len(), held_out.len());
    println!("batch            {batch:.1} units in the mean; the charter counts on {}", place.nominal_batch);
    println!("data, model and tokenizer fit the charter; nothing was trained or spent");
    Ok(())
}
