//! HTTP/2 as it came: what of it are gRPC's messages, byte for byte, and how much is anything else.

use std::collections::BTreeMap;

use prost::Message;

/// The preface of a connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame's head (section 4.1).
const HEAD: usize = 9;
const DATA: u8 = 0;
const PADDED: u8 = 8;

/// What came.
pub(super) struct Frames {
    /// The data of each stream, in the order of the streams.
    pub(super) data: Vec<Vec<u8>>,
    /// Bytes of frames that carry no data: settings, headers, windows, pings.
    pub(super) other: usize,
}

/// Reads all of `bytes`; `None` for anything that is not whole frames after a preface, data without padding.
pub(super) fn read(bytes: &[u8]) -> Option<Frames> {
    let mut rest = bytes.strip_prefix(PREFACE)?;
    let (mut data, mut other) = (BTreeMap::<u32, Vec<u8>>::new(), 0);
    while !rest.is_empty() {
        let (head, behind) = rest.split_first_chunk::<HEAD>()?;
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let payload = behind.get(..u32::from_be_bytes([0, a, b, c]) as usize)?;
        if kind == DATA {
            if flags & PADDED != 0 {
                return None;
            }
            data.entry(u32::from_be_bytes(stream)).or_default().extend_from_slice(payload);
        } else {
            other += HEAD + payload.len();
        }
        rest = behind.get(payload.len()..)?;
    }
    Some(Frames { data: data.into_values().collect(), other })
}

/// Messages as gRPC writes them on a stream, uncompressed.
pub(super) fn written<M: Message>(messages: &[M]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        let encoded = message.encode_to_vec();
        bytes.push(0);
        bytes.extend_from_slice(&u32::try_from(encoded.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&encoded);
    }
    bytes
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn data_is_put_together_by_stream_and_what_is_no_whole_frame_is_refused() {
        let came = [
            PREFACE.to_vec(),
            frame(4, 0, 0, &[0; 12]),
            frame(DATA, 0, 3, b"one "),
            frame(DATA, 0, 1, b"first"),
            frame(DATA, 1, 3, b"two"),
        ]
        .concat();
        let frames = read(&came).unwrap();
        assert_eq!((frames.data, frames.other), (vec![b"first".to_vec(), b"one two".to_vec()], 21));
        assert!(read(&came[1..]).is_none() && read(&came[..came.len() - 1]).is_none());
        assert!(read(&[PREFACE, &frame(DATA, PADDED, 1, b"\x01x\0")].concat()).is_none());
        assert_eq!(written(&["a".to_owned()]), [0, 0, 0, 0, 3, 10, 1, b'a'], "protobuf's string value");
    }
}
