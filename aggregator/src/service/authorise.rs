//! Who is calling: the one function between a request and every federation call. What is not allowed here is denied.

use protocol::{HouseName, Signed, Statement};
use tonic::Request;

use crate::identity::certificate_digest;
use crate::refusal::Refusal;
use crate::store::Store;

/// An enrolled member, as its TLS certificate says; there is no other way to make one.
#[derive(Debug, Clone)]
pub(crate) struct Caller(HouseName);

impl Caller {
    /// Its name.
    pub(crate) fn name(&self) -> &HouseName {
        &self.0
    }

    /// Refuses a message that another member signed, whoever passes it on.
    pub(crate) fn speaks_for_itself<T: Statement>(&self, message: &Signed<T>) -> Result<(), Refusal> {
        if *message.signer() == self.0 {
            return Ok(());
        }
        Err(Refusal::NotTheCaller { caller: self.0.clone(), signer: message.signer().clone() })
    }
}

/// The member whose certificate the caller showed. TLS has checked that the federation's authority signed it, that it
/// is in its time and that the caller holds its key.
pub(crate) async fn authorise<T>(store: &Store, request: &Request<T>) -> Result<Caller, Refusal> {
    let certificates = request.peer_certs().ok_or(Refusal::NoCertificate)?;
    let certificate = certificates.first().ok_or(Refusal::NoCertificate)?;
    let name = store.member_by_certificate(certificate_digest(certificate)).await?.ok_or(Refusal::NotEnrolled)?;
    Ok(Caller(name))
}
