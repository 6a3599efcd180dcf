//! Charter, roster, signed messages and the round as pure transitions.
