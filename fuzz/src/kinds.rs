//! The messages of the protocol.

use protocol::client::Memory;
use protocol::server::Input;
use protocol::{
    Announcement, Answer, Approval, BodyChecksum, CohortList, Complaint, Contribution, Invitation, KeyStock, Message,
    Notice, OneTimeKeyOffer, Outcome, Ready, RecordLeaf, Roster, Signed, Statement, SumClaim,
};

use crate::bounded;

/// Reads bytes as one kind of message and checks what is read.
type Decode = fn(&[u8]);

/// Every message, by name; statements are read alone and signed.
pub const KINDS: [(&str, Decode); 18] = [
    ("ready", signed::<Ready>),
    ("offer", signed::<OneTimeKeyOffer>),
    ("announcement", signed::<Announcement>),
    ("contribution", signed::<Contribution>),
    ("answer", signed::<Answer>),
    ("outcome", signed::<Outcome>),
    ("approval", signed::<Approval>),
    ("stock", message::<KeyStock>),
    ("cohort", message::<CohortList>),
    ("roster", message::<Roster>),
    ("leaf", message::<RecordLeaf>),
    ("notice", message::<Notice>),
    ("input", message::<Input>),
    ("memory", message::<Memory>),
    ("invitation", message::<Invitation>),
    ("claim", signed::<SumClaim>),
    ("checksum", signed::<BodyChecksum>),
    ("complaint", signed::<Complaint>),
];

/// What is read has exactly the bytes it was read from.
pub(crate) fn message<T: Message>(bytes: &[u8]) {
    // The smallest item of a list is a name: 5 bytes read become a String of 24 and its own allocation, in a list that
    // doubles as it grows.
    if let Ok(value) = bounded(bytes, 32, T::from_bytes) {
        assert_eq!(value.to_bytes(), bytes);
    }
}

/// The same for a statement, alone and signed.
fn signed<T: Statement>(bytes: &[u8]) {
    message::<T>(bytes);
    message::<Signed<T>>(bytes);
}
