//! Federated LoRA strategies: what the houses train, so that a sum over houses is all that anybody needs.

use adapter::Train;
use protocol::charter;

use crate::TermsError;

/// A way of training low-rank products together. It must be a function of the sum over houses alone: an aggregator that adds up ciphertexts then
/// runs it exactly, and no single update is ever opened.
pub trait Strategy {
    /// Its name in the charter.
    fn name(&self) -> &'static str;

    /// The factors whose gradients (mode client: updates) the houses contribute, in this order of the adapter's trained tensors; what is not trained stays as the
    /// charter's seed gives it.
    fn trains(&self) -> Train;
}

/// FFA-LoRA: with one A for all, the mean of the products B A is the product of B's mean and A, so a sum of B's is exact under every mode,
/// and noise in B enters the products linearly.
#[derive(Debug, Clone, Copy)]
pub struct FfaLora;

/// FedIT: A and B are summed each by itself. In the record modes a round is one global step on both, which is exact; under mode client, and
/// under record-local with several steps, the product of the means stands for the mean of the products, as FedIT has it.
#[derive(Debug, Clone, Copy)]
pub struct FedIt;

/// RoLoRA: B and A are trained by turns, beginning with B, while the other stays; in a turn the mean of the products is the product of the mean and what
/// stays, so a sum is exact under every mode, and A is learnt too. A contribution is as long as the longer turn's.
#[derive(Debug, Clone, Copy)]
pub struct RoLora;

impl Strategy for FfaLora {
    fn name(&self) -> &'static str {
        charter::Strategy::FfaLora.as_str()
    }

    fn trains(&self) -> Train {
        Train::B
    }
}

impl Strategy for FedIt {
    fn name(&self) -> &'static str {
        charter::Strategy::FedIt.as_str()
    }

    fn trains(&self) -> Train {
        Train::AB
    }
}

impl Strategy for RoLora {
    fn name(&self) -> &'static str {
        charter::Strategy::RoLora.as_str()
    }

    fn trains(&self) -> Train {
        Train::Alternating
    }
}

/// The strategy that a charter names.
///
/// # Errors
/// [`TermsError::Strategy`] for one that needs single updates; a charter that names it was refused already.
pub fn strategy(name: charter::Strategy) -> Result<&'static dyn Strategy, TermsError> {
    use charter::Strategy::{FedexLora, FlexLora, Flora, LoraFair};
    match name {
        charter::Strategy::FfaLora => Ok(&FfaLora),
        charter::Strategy::FedIt => Ok(&FedIt),
        charter::Strategy::RoLora => Ok(&RoLora),
        Flora | FedexLora | LoraFair | FlexLora => Err(TermsError::Strategy(name.as_str())),
    }
}
