//! The rows that every run of the program leaves behind: one a run, one a round, one a client.

use crate::row;

row! {
    /// One finished run: a federation trained once, with one setting and one seed.
    pub struct RunRow {
        /// The run's name, unique in its folder.
        pub run: String,
        /// The privacy mode, in the charter's words, or `central` for DP-SGD on pooled data.
        pub mode: String,
        /// What the whole run spends; infinite or not a number without privacy.
        pub epsilon: f64,
        /// At this delta.
        pub delta: f64,
        /// The accountant that says so.
        pub accountant: String,
        /// Noise that is counted on, over the clipping norm.
        pub noise_multiplier: f64,
        /// Rounds that were run: the plan's, or fewer where an evaluation's patience ended it. Epsilon is the whole plan's.
        pub rounds: u64,
        /// Clients.
        pub clients: u64,
        /// Clipping norm.
        pub clipping_norm: f64,
        /// Rank of the adapter.
        pub rank: u64,
        /// The server optimizer's learning rate.
        pub learning_rate: f64,
        /// Seed of the split and of everything that is not secret.
        pub seed: u64,
        /// Accuracy on the test rows at the end, 0 to 1.
        pub plain: f64,
        /// Mean over the classes of the accuracy within each, 0 to 1.
        pub macro_: f64,
        /// Mean over the classes of F1, 0 to 1.
        pub macro_f1: f64,
        /// Mean loss on the test rows at the end.
        pub loss: f64,
        /// The lowest accuracy on any client's own held-out rows, 0 to 1.
        pub worst_client: f64,
        /// Standard deviation of the clients' accuracies.
        pub client_spread: f64,
        /// Seconds that the run took.
        pub seconds: f64,
        /// Bytes that all clients sent.
        pub bytes_up: u64,
        /// How noise was drawn: `shares`, as the programs do, or `pooled`.
        pub noise: String,
    }
}

row! {
    /// How a run stood after a round.
    pub struct CurveRow {
        /// The run's name.
        pub run: String,
        /// The round, from 1.
        pub round: u64,
        /// Mean loss on the test rows.
        pub loss: f64,
        /// Accuracy on the test rows, 0 to 1.
        pub plain: f64,
        /// Mean over the classes of the accuracy within each, 0 to 1.
        pub macro_: f64,
        /// Mean over the classes of F1, 0 to 1.
        pub macro_f1: f64,
        /// Spent so far.
        pub epsilon: f64,
        /// Accuracy on the clients' held-out units as the encrypted sum gives it, noise and all; not a number where it was not evaluated, or drowned.
        pub noised_plain: f64,
        /// The same of macro F1.
        pub noised_macro_f1: f64,
    }
}

row! {
    /// How the final model serves one client.
    pub struct ClientRow {
        /// The run's name.
        pub run: String,
        /// The client's number, from 0.
        pub client: u64,
        /// Rows that it trained on.
        pub rows: u64,
        /// Accuracy on its own held-out rows, 0 to 1.
        pub plain: f64,
        /// Mean over the classes of the accuracy within each, 0 to 1.
        pub macro_: f64,
        /// Mean over the classes of F1, 0 to 1.
        pub macro_f1: f64,
    }
}

/// Epsilon for a person: a run without privacy has none.
pub(crate) fn epsilon(epsilon: f64) -> String {
    if epsilon.is_finite() { epsilon.to_string() } else { "none".to_owned() }
}
