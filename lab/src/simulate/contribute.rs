//! A client's half of a simulated round: train, draw noise, encrypt, deal, seal, sign.

use privacy::NoiseShare;
use protocol::message::{SHARE_INFO, ciphertext_digest, share_aad};
use protocol::{Announcement, Contribution, Digest, Message as _, Signed};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rayon::prelude::*;
use secure_sum::{Layout, MaskSeed, OneTimeKey};
use training::{Part, TrainError};
use zeroize::Zeroizing;

use super::SimulateError;
use super::federation::World;

/// Contributions that are encrypted side by side, so that not all values are in memory at once.
pub(super) const TOGETHER: usize = 32;

/// A client's contribution, kept until the round is opened.
pub(super) struct Made {
    pub(super) client: usize,
    pub(super) signed: Signed<Contribution>,
    pub(super) sealed: Vec<Vec<u8>>,
    pub(super) body: Vec<u8>,
}

/// What contributes: a client's integers, noise and all.
pub(super) type Contribute<'a> =
    dyn FnMut(&Part<'_>, usize, &adapter::State) -> Result<Zeroizing<Vec<i64>>, TrainError> + 'a;

impl World {
    /// Each client of `group` trains, one after the other; then all encrypt, side by side. The first takes what is in `pool`.
    pub(super) fn contributions(
        &self,
        announcement: &Announcement,
        layout: &Layout,
        group: &[usize],
        pool: &mut Option<Zeroizing<Vec<i64>>>,
        contribute: &mut Contribute<'_>,
    ) -> Result<Vec<Made>, SimulateError> {
        let mut values = Vec::with_capacity(group.len());
        for client in group {
            let name = self.clients[*client].signer.name();
            let part = Part::announced(self.charter(), name, announcement);
            let mut own = contribute(&part, *client, &self.state)?;
            if let Some(noise) = pool.take() {
                own.iter_mut().zip(noise.iter()).for_each(|(own, noise)| *own = own.saturating_add(*noise));
            }
            values.push((*client, own));
        }
        let encrypted = values.par_iter().map(|(client, values)| self.encrypt(announcement, layout, *client, values));
        encrypted.collect()
    }

    /// One draw with the variance of all the shares of `cohort` together.
    pub(super) fn pooled_noise(
        &self,
        announcement: &Announcement,
        cohort: usize,
        layout: &Layout,
    ) -> Result<Option<Zeroizing<Vec<i64>>>, SimulateError> {
        let name = self.clients[0].signer.name();
        let Some(share) = Part::announced(self.charter(), name, announcement).noise_share()? else { return Ok(None) };
        let norm = self.charter().privacy.integer_norm;
        let steps = f64::from(self.charter().noised_steps());
        let multiplier = share.deviation_of_sum(cohort) * steps.sqrt() / norm as f64;
        let sum = NoiseShare::local(multiplier, norm).map_err(TrainError::from)?;
        Ok(Some(sum.draw(layout.values().count).map_err(TrainError::from)?))
    }

    fn encrypt(
        &self,
        announcement: &Announcement,
        layout: &Layout,
        client: usize,
        values: &[i64],
    ) -> Result<Made, SimulateError> {
        let rng = &mut UnwrapErr(SysRng);
        let (signer, digest) = (&self.clients[client].signer, announcement.digest());
        let key = OneTimeKey::generate(layout, rng);
        let dealing = secure_sum::deal(&key, layout, &self.committee, rng).map_err(SimulateError::internal)?;
        let seed = MaskSeed(announcement.mask_seed());
        let body = secure_sum::encrypt(layout, &seed, key, values, rng).map_err(SimulateError::internal)?;
        let ciphertext = ciphertext_digest(body.chunks(layout.chunk_bytes()));
        let mut sealed = Vec::with_capacity(dealing.shares.len());
        for (seat, share) in announcement.committee.iter().zip(&dealing.shares) {
            let offer = seat.offer.unverified().map_err(SimulateError::internal)?;
            let mut versioned = vec![1];
            versioned.extend(offer.key);
            let receiver = secure_sum::SealingPublicKey::from_bytes(&versioned).map_err(SimulateError::internal)?;
            let aad = share_aad(&digest, signer.name(), seat.index, &ciphertext);
            let envelope = secure_sum::seal(&receiver, SHARE_INFO, &aad, &share.to_bytes());
            sealed.push(envelope.map_err(SimulateError::internal)?);
        }
        let manifest = Contribution {
            announcement: digest,
            member: signer.name().clone(),
            ciphertext,
            chunk_count: u32::try_from(layout.chunk_count()).unwrap_or(u32::MAX),
            commitments: dealing.commitments.to_bytes(),
            sealed_shares: sealed.iter().map(|share| Digest::sha256(share)).collect(),
            // Clients of a simulation have no ledger; what they spend is accounted for by the charter.
            ledger_head: Digest::from_bytes([0; 32]),
        };
        Ok(Made { client, signed: Signed::sign(&manifest, signer), sealed, body })
    }
}
