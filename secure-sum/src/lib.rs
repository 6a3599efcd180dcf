//! Additive homomorphic encryption with one-time keys and a threshold committee.
