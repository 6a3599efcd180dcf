//! What comes as text: charters, invitations, names, checkpoints of the record, versions of the protocol.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::bounded;
use protocol::log::Checkpoint;
use protocol::{Charter, HouseName, Invitation, Message, Signer};
use protos::version::Version;

/// A document of TOML becomes a tree of tables, a few hundred bytes for the shortest key; a charter is bounded at
/// 256 KiB.
const TOML_FACTOR: usize = 1024;

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match kind {
        0 => {
            if let Ok(charter) = bounded(bytes, TOML_FACTOR, |_| Charter::parse(text)) {
                assert_eq!(charter.text(), text);
                assert_eq!(Charter::parse(charter.text()).map(|again| again.digest()), Ok(charter.digest()));
            }
        }
        1 => {
            if let Ok(invitation) = bounded(bytes, 4, |_| text.parse::<Invitation>()) {
                assert_eq!(invitation.to_string().parse::<Invitation>(), Ok(invitation.clone()));
                assert_eq!(Invitation::from_bytes(&invitation.to_bytes()), Ok(invitation));
            }
        }
        2 => {
            let signer = Signer::new(HouseName::new("aggregator").expect("a name"), &[7; 32]);
            let key = signer.public_key();
            if let Ok(checkpoint) = bounded(bytes, 4, |_| Checkpoint::open(text, "plainchant/fuzz", &key)) {
                let again = checkpoint.sign(&signer);
                assert_eq!(Checkpoint::open(&again, "plainchant/fuzz", &key), Ok(checkpoint));
            }
        }
        3 => {
            if let Ok(version) = bounded(bytes, 2, |_| text.parse::<Version>()) {
                assert_eq!(version.to_string(), text);
            }
        }
        _ => {
            if let Ok(name) = bounded(bytes, 2, |_| HouseName::new(text)) {
                assert_eq!(name.as_str(), text);
            }
        }
    }
});
