//! Clipping, integer encoding, noise, accounting and the ledger of differential privacy.
