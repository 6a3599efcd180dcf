//! The calls of the contract, one by one: made by `build.rs` from the .proto files.

use strum::IntoEnumIterator as _;

include!(concat!(env!("OUT_DIR"), "/rpc.rs"));

impl Rpc {
    /// The call with this path on the wire.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Self::iter().find(|rpc| rpc.path() == path)
    }

    /// All calls.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_by_its_own_path_and_no_other() {
        assert!(Rpc::all().count() >= 20);
        for rpc in Rpc::all() {
            assert_eq!(Rpc::of_path(rpc.path()), Some(rpc));
            assert_eq!(Rpc::of_path(&rpc.path().to_lowercase()), None);
        }
        assert_eq!(Rpc::Submit.path(), "/plainchant.v1.Federation/Submit");
        assert_eq!(Rpc::Join.path(), "/plainchant.v1.Enrolment/Join");
    }
}
