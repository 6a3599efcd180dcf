//! Signing requests (PKCS#10), which callers without a certificate send: the aggregator's parser of them, with the check of the request's own signature.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::{bounded, edited, signing_request};
use protos::limits::SIGNING_REQUEST_BYTES;
use rcgen::{CertificateSigningRequestParams, PublicKeyData as _};

/// A certificate's parts are structs of their own, some hundred bytes for the shortest.
const FACTOR: usize = 128;

static VALID: LazyLock<Vec<u8>> = LazyLock::new(signing_request);

fuzz_target!(|input: &[u8]| {
    let bytes = edited(&VALID, input);
    // Nothing longer is looked at.
    if bytes.len() > SIGNING_REQUEST_BYTES {
        return;
    }
    let read = bounded(&bytes, FACTOR, |bytes| CertificateSigningRequestParams::from_der(&bytes.into()));
    if let Ok(request) = read {
        assert!(!request.public_key.der_bytes().is_empty(), "a request without a key");
    } else {
        assert!(bytes != *VALID, "the valid request is refused");
    }
});
