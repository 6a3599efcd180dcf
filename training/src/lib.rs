//! What one house does with its rows in a round. It knows no network: the client and the laboratory both train with it.
//!
//! The way through it:
//!
//! 1. [`Dataset`] reads the rows of a file one by one and gives their privacy units ([`Units`]); [`Corpus`] is what they are as tokens, in memory or
//!    beyond a bound on the disk ([`Texts`]), [`House`] which units of a corpus are one house's.
//! 2. [`Learner`] is a model that gives gradients of a corpus's rows; [`TextLearner`] is `lora`'s classifier, [`PromptLearner`] its language model.
//! 3. [`Part`] is what a charter and an announcement say about one house's part: rate, noise share, ledger lines; [`limit`] is what the
//!    ledger may spend.
//! 4. [`Mechanism`] turns a house's rows into the integers that it adds to the encrypted sum, with its [`Noise`] in them;
//!    [`mechanism`] gives the charter's: [`DpSgd`] for the record modes, [`ClientUpdate`] for `client`. In rounds with
//!    evaluation the metrics of held-out units go with it.
//! 5. [`load`] puts a data file and a model folder together, checked against the charter; [`Rehearsal`] runs rounds in the
//!    clear, for comparisons.
//! 6. [`evaluate`] says how well an adapter does on rows of one's own, [`Predictor`] what it says of texts: exactly, and for nobody else.

mod client_update;
mod corpus;
mod data;
mod data_error;
mod dp_sgd;
mod error;
mod evaluate;
mod held_out;
mod learner;
mod limit;
mod load;
mod mechanism;
mod noise;
mod part;
mod predict;
mod rehearsal;
mod texts;
mod units;

pub use client_update::ClientUpdate;
pub use corpus::{Corpus, House};
pub use data::{Columns, Content, DataSource, Dataset, Each, Format, Row};
pub use data_error::{At, DataError};
pub use dp_sgd::DpSgd;
pub use error::TrainError;
pub use evaluate::{Evaluated, LabelScore, LabelScores, Scores, Task, evaluate, load_adapter};
pub use learner::{Learner, Outcome, PromptLearner, Sink, TextLearner};
pub use limit::{limit, protected_unit, within_charged};
pub use load::{Loaded, ModelSource, describe_device, load};
pub use mechanism::{Mechanism, Tools, Trained, mechanism};
pub use noise::{FreshNoise, Noise, self_test};
pub use part::Part;
pub use predict::{Prediction, Predictor};
pub use rehearsal::{Rehearsal, Rehearsed};
pub use texts::Texts;
pub use units::Units;
