//! The enrolled members and their public keys. Every client pins its digest.

use std::collections::{BTreeMap, BTreeSet};

use crate::charter::Charter;
use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Digest, HouseName, MemberIndex, RosterPosition};
use crate::signed::PublicKey;

/// The most members of a committee: share indices are one byte, from 1.
pub const MAX_MEMBERS: usize = 255;

/// The most members of a roster.
pub const MAX_ROSTER: usize = 16_384;

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Holds data, contributes, and holds key shares.
    House,
    /// Holds key shares only.
    Trustee,
    /// Holds data and contributes, but holds no key shares: a house outside of the committee that the charter names.
    Contributor,
}

/// One enrolled member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    name: HouseName,
    role: Role,
    signing_key: PublicKey,
    mailbox_key: [u8; 32],
    certificate_sha256: Digest,
}

impl Member {
    /// A member from its parts.
    pub fn new(
        name: HouseName,
        role: Role,
        signing_key: PublicKey,
        mailbox_key: [u8; 32],
        certificate_sha256: Digest,
    ) -> Self {
        Self { name, role, signing_key, mailbox_key, certificate_sha256 }
    }

    /// Its name in the charter.
    pub fn name(&self) -> &HouseName {
        &self.name
    }

    /// What it does.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it holds data.
    pub fn is_house(&self) -> bool {
        matches!(self.role, Role::House | Role::Contributor)
    }

    /// Whether it holds key shares.
    pub fn holds_shares(&self) -> bool {
        matches!(self.role, Role::House | Role::Trustee)
    }

    /// Its Ed25519 key.
    pub fn signing_key(&self) -> &PublicKey {
        &self.signing_key
    }

    /// Its HPKE X25519 public key, to which answers are sealed under release policy `clients`.
    pub fn mailbox_key(&self) -> &[u8; 32] {
        &self.mailbox_key
    }

    /// SHA-256 of its TLS certificate (DER).
    pub fn certificate_sha256(&self) -> &Digest {
        &self.certificate_sha256
    }
}

/// All members, in the charter's order: houses, then trustees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    charter: Digest,
    members: Vec<Member>,
    /// Where each name stands in `members`.
    positions: BTreeMap<HouseName, usize>,
    /// Positions of the members that hold key shares; the one at share index 1 first.
    committee: Vec<usize>,
}

impl Roster {
    /// A roster for `charter`: `members` in any order become the charter's order.
    ///
    /// # Errors
    /// [`RosterError`] when a member of the charter is missing, one is unknown or has another role, or two share a key.
    pub fn new(charter: &Charter, members: Vec<Member>) -> Result<Self, RosterError> {
        let mut sorted = Vec::with_capacity(members.len());
        let mut rest: BTreeMap<HouseName, Member> = BTreeMap::new();
        for member in members {
            if let Some(twin) = rest.insert(member.name.clone(), member) {
                return Err(RosterError::Duplicate { name: twin.name });
            }
        }
        for (name, role) in charter.members() {
            let Some(member) = rest.remove(&name) else {
                return Err(RosterError::Missing { name });
            };
            if member.role != role {
                return Err(RosterError::Role { name });
            }
            sorted.push(member);
        }
        if let Some((name, _)) = rest.pop_first() {
            return Err(RosterError::Unknown { name });
        }
        Self::of(charter.digest(), sorted)
    }

    fn of(charter: Digest, members: Vec<Member>) -> Result<Self, RosterError> {
        check_keys(&members)?;
        let positions = members.iter().enumerate().map(|(i, member)| (member.name.clone(), i)).collect();
        let committee =
            members.iter().enumerate().filter(|(_, member)| member.holds_shares()).map(|(i, _)| i).collect();
        Ok(Self { charter, members, positions, committee })
    }

    /// Checks that this roster (from a peer) is one for `charter`.
    ///
    /// # Errors
    /// [`RosterError`].
    pub fn check(&self, charter: &Charter) -> Result<(), RosterError> {
        if self.charter != charter.digest() {
            return Err(RosterError::Charter { expected: charter.digest(), found: self.charter });
        }
        let sorted = Self::new(charter, self.members.clone())?;
        if sorted == *self { Ok(()) } else { Err(RosterError::Order) }
    }

    /// The digest of its charter.
    pub fn charter(&self) -> Digest {
        self.charter
    }

    /// The members that hold key shares, in order; number i (from 0) has share index i + 1.
    pub fn committee(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.committee.iter().map(|position| &self.members[*position])
    }

    /// All members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The houses, in order.
    pub fn houses(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_house())
    }

    /// The member with this name.
    pub fn member(&self, name: &HouseName) -> Option<&Member> {
        self.members.get(*self.positions.get(name)?)
    }

    /// Where the member with this name stands in the roster.
    pub fn position_of(&self, name: &HouseName) -> Option<RosterPosition> {
        RosterPosition::new(u32::try_from(self.positions.get(name)? + 1).ok()?).ok()
    }

    /// The member that stands there.
    pub fn at(&self, position: RosterPosition) -> Option<&Member> {
        self.members.get(position.get() as usize - 1)
    }

    /// The share index of the member with this name; none where it holds no shares.
    pub fn index_of(&self, name: &HouseName) -> Option<MemberIndex> {
        let seat = self.committee.binary_search(self.positions.get(name)?).ok()?;
        MemberIndex::new(u8::try_from(seat + 1).ok()?).ok()
    }

    /// The member at this share index.
    pub fn seated(&self, index: MemberIndex) -> Option<&Member> {
        self.members.get(*self.committee.get(index.position())?)
    }

    /// The member whose TLS certificate has this SHA-256.
    pub fn by_certificate(&self, certificate_sha256: &Digest) -> Option<&Member> {
        self.members.iter().find(|member| member.certificate_sha256 == *certificate_sha256)
    }
}

impl Message for Roster {
    const LABEL: &'static str = "roster";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.charter);
        writer.list(&self.members, |writer, member| {
            writer.name(&member.name);
            writer.u8(match member.role {
                Role::House => 0,
                Role::Trustee => 1,
                Role::Contributor => 2,
            });
            writer.fixed(member.signing_key.as_bytes());
            writer.fixed(&member.mailbox_key);
            writer.digest(&member.certificate_sha256);
        });
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        let charter = reader.digest("charter")?;
        let members = reader.list("members", MAX_ROSTER, |reader| {
            let name = reader.name("name")?;
            let role = match reader.u8("role")? {
                0 => Role::House,
                1 => Role::Trustee,
                2 => Role::Contributor,
                _ => {
                    return Err(EncodingError::invalid("role", "is none of 0 (house), 1 (trustee), 2 (contributor)"));
                }
            };
            let signing_key = PublicKey::from_bytes(&reader.array("signing_key")?)
                .ok_or_else(|| EncodingError::invalid("signing_key", "is no Ed25519 public key"))?;
            let mailbox_key = reader.array("mailbox_key")?;
            let certificate_sha256 = reader.digest("certificate_sha256")?;
            Ok(Member { name, role, signing_key, mailbox_key, certificate_sha256 })
        })?;
        Self::of(charter, members).map_err(|error| EncodingError::invalid("members", error))
    }
}

fn check_keys(members: &[Member]) -> Result<(), RosterError> {
    let (mut names, mut signing, mut mailbox, mut certificates) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for member in members {
        let fresh = names.insert(&member.name)
            & signing.insert(member.signing_key.as_bytes())
            & mailbox.insert(member.mailbox_key)
            & certificates.insert(member.certificate_sha256);
        if !fresh {
            return Err(RosterError::Duplicate { name: member.name.clone() });
        }
    }
    Ok(())
}

/// Why a roster was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named after what they hold; each variant says its rule")]
pub enum RosterError {
    /// A member of the charter has not enrolled.
    #[error("member `{name}` of the charter has not enrolled")]
    Missing { name: HouseName },
    /// A member that the charter does not name.
    #[error("member `{name}` is not in the charter")]
    Unknown { name: HouseName },
    /// A house enrolled as trustee or the reverse.
    #[error("member `{name}` has another role in the charter")]
    Role { name: HouseName },
    /// Two members share a name, a key or a certificate.
    #[error("member `{name}` has a name, key or certificate of another member")]
    Duplicate { name: HouseName },
    /// For another charter.
    #[error("the roster is for charter {found}, not {expected}")]
    Charter { expected: Digest, found: Digest },
    /// Not in the charter's order.
    #[error("the roster is not in the charter's order (houses, then trustees)")]
    Order,
}
