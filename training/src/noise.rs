//! Where a house's noise comes from.

use std::thread::JoinHandle;
use std::time::Duration;

use privacy::{NoiseError, NoiseShare};
use zeroize::Zeroizing;

use crate::TrainError;

/// A source of noise: every sample is used once.
pub trait Noise {
    /// Says what will be asked for next, so that it can be drawn while gradients are computed.
    fn begin(&mut self, share: &NoiseShare, count: usize);

    /// Adds samples of `share` to `values`, one each. Gives the time that drawing them took, on whatever thread.
    ///
    /// # Errors
    /// The sampler failed; `values` must then not leave.
    fn add(&mut self, share: &NoiseShare, values: &mut [i64]) -> Result<Duration, TrainError>;
}

type Drawn = (Result<Zeroizing<Vec<i64>>, NoiseError>, Duration);

/// Noise from opendp's sampler, drawn on a thread of its own.
#[derive(Default)]
pub struct FreshNoise {
    ahead: Option<(NoiseShare, usize, JoinHandle<Drawn>)>,
}

impl FreshNoise {
    /// No sample is drawn yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Noise for FreshNoise {
    fn begin(&mut self, share: &NoiseShare, count: usize) {
        let kept = self.ahead.as_ref().is_some_and(|(known, size, _)| known == share && *size == count);
        if !kept {
            let own = share.clone();
            self.ahead = Some((share.clone(), count, std::thread::spawn(move || draw(&own, count))));
        }
    }

    fn add(&mut self, share: &NoiseShare, values: &mut [i64]) -> Result<Duration, TrainError> {
        let (noise, time) = match self.ahead.take() {
            Some((known, count, thread)) if known == *share && count == values.len() => {
                thread.join().map_err(|_| TrainError::Worker)?
            }
            _ => draw(share, values.len()),
        };
        for (value, noise) in values.iter_mut().zip(noise?.iter()) {
            *value = value.saturating_add(*noise);
        }
        Ok(time)
    }
}

fn draw(share: &NoiseShare, count: usize) -> Drawn {
    let start = std::time::Instant::now();
    let noise = share.draw(count);
    (noise, start.elapsed())
}
