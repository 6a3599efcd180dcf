//! How the step size goes over a run: a warm-up, then a decay, both known before the first round.

use crate::AdapterError;

/// The share of the learning rate that each step takes. It follows from the charter alone, never from data.
///
/// Steps are counted from 0, as transformers counts the optimizer's: with a warm-up of w rounds step s takes s / w of the rate, so the first
/// takes nothing of it; step w is the first full one; and the last of n decayed steps takes a little more than `final_fraction`, which step n
/// would come to. (`get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup`, `get_cosine_schedule_with_warmup`; with a final fraction
/// `get_polynomial_decay_schedule_with_warmup` of power 1 and `get_cosine_with_min_lr_schedule_with_warmup`.) Past step n it stays there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Schedule {
    /// Steps of the linear warm-up.
    pub warmup: u64,
    /// What follows.
    pub decay: Decay,
    /// Steps of the whole run, warm-up included.
    pub steps: u64,
    /// The share of the learning rate where a decay ends.
    pub final_fraction: f64,
}

/// How the step size falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// On a line.
    Linear,
    /// On half a cosine.
    Cosine,
}

impl Schedule {
    /// Checks every value.
    ///
    /// # Errors
    /// [`AdapterError::Invalid`] naming the key.
    pub fn validate(&self) -> Result<(), AdapterError> {
        let invalid = |key, found: String, rule| Err(AdapterError::Invalid { key, found, rule });
        if !(0.0..=1.0).contains(&self.final_fraction) {
            return invalid("final_fraction", self.final_fraction.to_string(), "0 to 1");
        }
        if self.decay != Decay::Constant && self.warmup > self.steps {
            return invalid("warmup_rounds", self.warmup.to_string(), "at most the rounds of the run");
        }
        Ok(())
    }

    /// What step `step`, counted from 0, takes of the learning rate: 0 to 1, the same 64 bits on every machine. The cosine is `libm`'s, in Rust; the standard
    /// library's is the platform's, whose last bit differs.
    #[must_use]
    pub fn fraction(&self, step: u64) -> f64 {
        if step < self.warmup {
            return step as f64 / self.warmup as f64;
        }
        let all = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let left = match self.decay {
            Decay::Constant => return 1.0,
            Decay::Linear => self.steps.saturating_sub(step) as f64 / all,
            Decay::Cosine => {
                let past = (step - self.warmup) as f64 / all;
                0.5 * (1.0 + libm::cos(std::f64::consts::PI * past.min(1.0)))
            }
        };
        left * (1.0 - self.final_fraction) + self.final_fraction
    }

    /// Its values, for a digest.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let decay = match self.decay {
            Decay::Constant => 0,
            Decay::Linear => 1,
            Decay::Cosine => 2,
        };
        let mut bytes = self.warmup.to_le_bytes().to_vec();
        bytes.push(decay);
        bytes.extend(self.steps.to_le_bytes());
        bytes.extend(self.final_fraction.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decay_stays_where_it_ended_and_a_constant_schedule_takes_all() {
        let schedule = |decay| Schedule { warmup: 2, decay, steps: 10, final_fraction: 0.25 };
        for decay in [Decay::Linear, Decay::Cosine] {
            assert_eq!(
                [0, 1, 2, 6, 10, 11, 1000].map(|step| schedule(decay).fraction(step)),
                [0.0, 0.5, 1.0, 0.625, 0.25, 0.25, 0.25]
            );
        }
        assert_eq!([0, 1, 2, 1000].map(|step| schedule(Decay::Constant).fraction(step)), [0.0, 0.5, 1.0, 1.0]);
        assert_eq!([0, 7].map(|step| Schedule::default().fraction(step)), [1.0, 1.0]);
    }

    #[test]
    fn fractions_and_warm_ups_out_of_range_are_named() {
        let key = |schedule: Schedule| match schedule.validate() {
            Err(AdapterError::Invalid { key, .. }) => key,
            other => panic!("{other:?}"),
        };
        let good = Schedule { warmup: 2, decay: Decay::Cosine, steps: 10, final_fraction: 0.25 };
        assert!(good.validate().is_ok());
        for final_fraction in [-0.1, 1.1, f64::NAN] {
            assert_eq!(key(Schedule { final_fraction, ..good }), "final_fraction");
        }
        assert_eq!(key(Schedule { warmup: 11, ..good }), "warmup_rounds");
    }
}
