//! Who may make which call: one table. What has no row does not build, and what the table does not allow is denied before any
//! service hears of it.

use protocol::Role;
use protos::rpc::Rpc;

/// Whom a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Anybody who reaches the port; an invitation in the request decides.
    Invited,
    /// Every enrolled member.
    Members,
    /// Members that hold key shares: houses of the committee, and trustees.
    Committee,
    /// Members that hold data.
    Houses,
}

impl Whom {
    /// Whether a member of this role is among them.
    #[must_use]
    pub const fn includes(self, role: Role) -> bool {
        match self {
            Self::Invited | Self::Members => true,
            Self::Committee => matches!(role, Role::House | Role::Trustee),
            Self::Houses => matches!(role, Role::House | Role::Contributor),
        }
    }

    /// For people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Invited => "whoever holds an invitation",
            Self::Members => "enrolled members",
            Self::Committee => "members of the committee",
            Self::Houses => "houses",
        }
    }
}

/// gRPC's own health check, which everybody may ask: it says whether this program serves, and nothing else.
pub const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// gRPC's reflection, which says what the contract is: for enrolled members, as it is nobody else's business what they speak.
pub const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// The table.
#[must_use]
pub const fn whom(rpc: Rpc) -> Whom {
    match rpc {
        Rpc::Join => Whom::Invited,
        Rpc::GetRoster => Whom::Members,
        Rpc::RenewCertificate => Whom::Members,
        Rpc::OfferKeys => Whom::Committee,
        Rpc::MarkReady => Whom::Houses,
        Rpc::WatchEvents => Whom::Members,
        Rpc::FindUpload => Whom::Houses,
        Rpc::Submit => Whom::Houses,
        Rpc::GetCohort => Whom::Members,
        Rpc::GetSealedShares => Whom::Committee,
        Rpc::PutComplaint => Whom::Committee,
        Rpc::PutChecksums => Whom::Houses,
        Rpc::GetChecked => Whom::Members,
        Rpc::GetBody => Whom::Houses,
        Rpc::PutAnswer => Whom::Committee,
        Rpc::GetSum => Whom::Houses,
        Rpc::GetAnswers => Whom::Houses,
        Rpc::PutOutcome => Whom::Houses,
        Rpc::PutApproval => Whom::Houses,
        Rpc::PutFinalState => Whom::Houses,
        Rpc::PutCosignature => Whom::Committee,
        Rpc::GetCheckpoint => Whom::Members,
        Rpc::GetProof => Whom::Members,
    }
}
