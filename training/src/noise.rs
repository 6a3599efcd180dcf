//! Where a house's noise comes from.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use privacy::{NoiseError, NoiseShare, SELF_TEST_SAMPLES, SelfTest};
use zeroize::Zeroizing;

use crate::TrainError;

/// A source of noise: every sample is used once.
pub trait Noise {
    /// Says what will be asked for next, so that it can be drawn while gradients are computed.
    fn begin(&mut self, share: &NoiseShare, count: usize);

    /// Adds samples of `share` to `values`, one each. Gives how long the caller waited for them.
    ///
    /// # Errors
    /// The sampler failed; `values` must then not leave.
    fn add(&mut self, share: &NoiseShare, values: &mut [i64]) -> Result<Duration, TrainError>;
}

/// Tests noise as a contribution gets it, added to zeros.
///
/// # Errors
/// [`TrainError::NoiseFault`]; the sampler failed.
pub fn self_test(noise: &mut dyn Noise, share: &NoiseShare) -> Result<SelfTest, TrainError> {
    let mut samples = Zeroizing::new(vec![0; SELF_TEST_SAMPLES]);
    noise.add(share, &mut samples)?;
    Ok(share.self_test(&samples)?)
}

/// Noise from opendp's sampler, drawn on threads beside the caller's.
#[derive(Default)]
pub struct FreshNoise {
    ahead: Option<Lot>,
    /// Whether the next lot is begun as soon as one is used.
    stocked: bool,
}

/// Samples that are being drawn, or lie ready.
struct Lot {
    share: NoiseShare,
    count: usize,
    samples: JoinHandle<Result<Zeroizing<Vec<i64>>, NoiseError>>,
}

impl FreshNoise {
    /// Drawn when asked for: a step's noise beside its gradients.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, and as soon as a lot is used the next one like it is drawn, while the house encrypts, sends and waits: a
    /// round whose share and length are the last one's finds it ready. It costs one vector of memory, wiped unless used.
    pub fn stocked() -> Self {
        Self { stocked: true, ..Self::default() }
    }
}

impl Noise for FreshNoise {
    fn begin(&mut self, share: &NoiseShare, count: usize) {
        let kept = self.ahead.as_ref().is_some_and(|lot| lot.share == *share && lot.count == count);
        if !kept {
            let own = share.clone();
            let samples = std::thread::spawn(move || own.draw(count));
            self.ahead = Some(Lot { share: share.clone(), count, samples });
        }
    }

    fn add(&mut self, share: &NoiseShare, values: &mut [i64]) -> Result<Duration, TrainError> {
        let start = Instant::now();
        self.begin(share, values.len());
        // `begin` has just made sure that there is one.
        let lot = self.ahead.take().ok_or(TrainError::Worker)?;
        let noise = lot.samples.join().map_err(|_| TrainError::Worker)??;
        for (value, noise) in values.iter_mut().zip(noise.iter()) {
            *value = value.saturating_add(*noise);
        }
        let waited = start.elapsed();
        if self.stocked {
            self.begin(share, values.len());
        }
        Ok(waited)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn drawn(noise: &mut FreshNoise, share: &NoiseShare) -> Vec<i64> {
        let mut values = vec![0; 64];
        noise.add(share, &mut values).unwrap();
        values
    }

    /// 64 samples of deviation 1,000 are equal by chance with a probability far below 2^-600.
    #[test]
    fn no_lot_is_used_twice_whether_drawn_ahead_or_not() {
        let share = NoiseShare::local(1.0, 1000).unwrap();
        for mut noise in [FreshNoise::new(), FreshNoise::stocked()] {
            let lots: Vec<_> = (0..4).map(|_| drawn(&mut noise, &share)).collect();
            for (i, lot) in lots.iter().enumerate() {
                assert!(lots[..i].iter().all(|before| before != lot));
                assert!(lot.iter().any(|sample| *sample != 0));
            }
        }
    }

    /// What lies ready for one share is not taken for another.
    #[test]
    fn a_stock_of_another_share_is_thrown_away() {
        let (wide, narrow) = (NoiseShare::local(1.0, 1 << 30).unwrap(), NoiseShare::local(1.0, 4).unwrap());
        let mut noise = FreshNoise::stocked();
        drawn(&mut noise, &wide);
        // Thirty deviations: exceeded by 64 right samples with a probability below 1e-190.
        assert!(drawn(&mut noise, &narrow).iter().all(|sample| sample.abs() < 120));
        noise.begin(&narrow, 63);
        assert_eq!(drawn(&mut noise, &narrow).len(), 64);
    }
}
