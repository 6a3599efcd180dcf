//! The privacy researcher's program, `plainchant-lab`: what an epsilon costs, before anybody trains, and what came of it.
//!
//! - [`budget`]: two of epsilon, noise and rounds give the third, by every accountant, with warnings and plots.
//! - [`rows`] and [`table`]: results as flat rows, in Parquet and JSON.
//! - [`plot`]: charts through `plotters`, as SVG and PNG, without a font of the system.
//! - [`audit`]: a lower bound on epsilon from canaries in one run, and membership inference.
//! - [`simulate`]: whole federations in one process.
//! - [`sweep`]: a plan over grids. [`report`]: one page about runs.
//! - [`contract`] and [`task`]: a charter, rows and a model for federations in one process.
//! - [`cli`]: the program itself.

pub mod audit;
pub mod budget;
pub mod cli;
pub mod contract;
pub mod plot;
pub mod report;
pub mod rows;
pub mod simulate;
pub mod sweep;
pub mod table;
pub mod task;
