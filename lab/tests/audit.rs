//! Audits of the real mechanism and of broken ones, small.
#![expect(clippy::unwrap_used, reason = "tests")]

use lab::audit::{AuditError, Broken, Setting, one_run};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

fn setting(broken: Option<Broken>) -> Setting {
    Setting {
        epsilon: 1.0,
        delta: 1e-8,
        rate: 0.5,
        rounds: 4,
        houses: 4,
        colluders: 1,
        canaries: 20_000,
        guessed: 0.02,
        // What is proved is proved but for a chance of a ten-thousandth.
        error: 1e-4,
        broken,
    }
}

/// One round, in which a canary shows most: 748 of 1,200 guesses were right on average (deviation 18, 16 runs), where a coin has 600 (17).
#[test]
fn the_honest_mechanism_is_not_accused_and_its_canaries_are_seen() {
    let one_round = Setting { rate: 1.0, rounds: 1, canaries: 40_000, guessed: 0.03, ..setting(None) };
    for (setting, attacks) in [(one_round, 1), (setting(None), 2)] {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let found = one_run(&setting, &mut rng, |_| ()).unwrap();
        assert!(!found.is_violated(), "{found:?}");
        assert!((found.claim - 1.0).abs() < 0.01 && found.claim_rdp > found.claim, "{found:?}");
        assert!(attacks == 2 || found.findings[0].guesses.right > 675, "{found:?}");
        assert_eq!(found.rows(&setting).len(), attacks);
    }
}

/// Unclipped canaries and a noise that is used again give themselves away nearly all; a bound that holds but for a ten-thousandth is enough.
#[test]
fn a_mechanism_without_clipping_and_one_that_reuses_its_noise_are_refuted() {
    for broken in [Broken::NoClipping, Broken::SeedReused] {
        let mut rng = ChaCha20Rng::seed_from_u64(6);
        let found = one_run(&setting(Some(broken)), &mut rng, |_| ()).unwrap();
        assert!(found.is_violated() && found.bound() > 1.0, "{broken:?} {found:?}");
    }
}

/// Half the noise doubles the shift of a canary. Of 400 simulated audits in this setting with a continuous Gaussian none missed it (the least
/// bound was 1.09), so two real ones do not both.
#[test]
fn half_the_noise_is_found_in_two_runs() {
    let half = Setting {
        canaries: 40_000,
        error: 0.05,
        guessed: 0.03,
        delta: 1e-5,
        rate: 1.0,
        rounds: 1,
        ..setting(Some(Broken::NoiseHalf))
    };
    let refuted =
        (0..2).any(|seed| one_run(&half, &mut ChaCha20Rng::seed_from_u64(seed), |_| ()).unwrap().is_violated());
    assert!(refuted);
}

#[test]
fn settings_that_prove_nothing_are_refused_by_name() {
    let refused = |change: fn(&mut Setting)| {
        let mut wrong = setting(None);
        change(&mut wrong);
        match one_run(&wrong, &mut ChaCha20Rng::seed_from_u64(1), |_| ()) {
            Err(AuditError::Value { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|s| s.canaries = 10), "canaries");
    assert_eq!(refused(|s| s.canaries = 1_000_000), "canaries");
    assert_eq!(refused(|s| s.guessed = 0.0), "guessed");
    assert_eq!(refused(|s| s.error = 1.0), "error");
    assert_eq!(refused(|s| s.colluders = 0), "colluders");
    assert_eq!(refused(|s| s.colluders = 3), "colluders");
    assert_eq!(refused(|s| s.colluders = usize::MAX), "colluders");
    assert_eq!(refused(|s| s.houses = usize::MAX), "houses");
    assert_eq!(refused(|s| (s.broken, s.rate) = (Some(Broken::SeedReused), 1.0)), "rounds");
    assert_eq!(refused(|s| (s.broken, s.rounds) = (Some(Broken::SeedReused), 1)), "rounds");
    assert_eq!(refused(|s| s.rounds = 0), "rounds");
    let epsilon = one_run(&Setting { epsilon: -1.0, ..setting(None) }, &mut ChaCha20Rng::seed_from_u64(1), |_| ());
    assert!(matches!(epsilon, Err(AuditError::Accountant(_))));
}
