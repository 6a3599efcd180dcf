//! One client's key from its birth to its end, for `secure-sum/scripts/heap_search.py`, which looks into this process's
//! memory whenever it says a word on standard output and waits for a line.
//!
//! What is secret goes to files in the folder of the first argument, written by the system call straight from where it
//! lies, so that this program makes no copies of its own.

use std::convert::Infallible;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use rand::rngs::SysRng;
use rand::{TryCryptoRng, TryRng};
use secure_sum::{
    Accumulator, Commitments, Committee, EnvelopeProof, KeyShare, Layout, MaskSeed, OneTimeKey, SealingKey, ShareSum,
    Values, combine, deal, encrypt, open, seal_with, unseal,
};
use zeroize::Zeroize;

type Outcome<T> = Result<T, Box<dyn Error>>;

const SEED: MaskSeed = MaskSeed([1; 32]);
const COUNT: usize = 10_000;

fn main() -> Outcome<()> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("heap FOLDER [p50|p100]")?);
    let clamp = if std::env::args().nth(2).as_deref() == Some("p100") { 1 << 45 } else { 1_000 };
    let layout = Layout::derive(3, Values { count: COUNT, clamp, noise_deviation: 0.0 })?;
    std::fs::write(folder.join("layout"), layout.to_bytes())?;
    life(&layout, &folder)?;
    pause("dropped")
}

/// Everything that a client, a member and an opener do; nothing is left when it returns.
#[inline(never)]
fn life(layout: &Layout, folder: &Path) -> Outcome<()> {
    let committee = Committee::new(4, 3)?;
    let mut rng = Recorder { folder, name: "seed-key", pause: "" };
    let key = OneTimeKey::generate(layout, &mut rng);
    rng.name = "ikm";
    let member = SealingKey::generate(&mut rng);
    write(folder, "sealing-key", &member.to_bytes()[1..])?;
    // As from the member's own store.
    let member = SealingKey::from_bytes(&member.to_bytes())?;
    rng.name = "polynomials";
    let dealing = deal(&key, layout, &committee, &mut rng)?;
    for (share, name) in dealing.shares.iter().zip(["share-1", "share-2", "share-3", "share-4"]) {
        write(folder, name, &share.to_bytes()[1..])?;
    }
    rng.name = "ephemeral";
    let sealed = seal_with(&member.public(), b"info", b"aad", &dealing.shares[0].to_bytes(), &mut rng)?;
    pause("alive")?;

    (rng.name, rng.pause) = ("seed-error", "encrypting");
    let body = encrypt(layout, &SEED, key, &[5; COUNT], &mut rng)?;
    let received = KeyShare::from_bytes(layout, &unseal(&member, b"info", b"aad", &sealed)?)?;
    received.check(&dealing.commitments, 1)?;
    rng.name = "nonce";
    let _ = EnvelopeProof::make(&member, b"info", b"aad", &sealed, &mut rng).to_bytes();
    let mut answers = Vec::new();
    for (index, share) in (1..).zip([&received, &dealing.shares[1], &dealing.shares[2]]) {
        let mut answer = ShareSum::new(layout);
        answer.add(share)?;
        answers.push((index, ShareSum::from_bytes(layout, &answer.to_bytes())?));
    }
    // A sum over this one key: what opens it is the key itself, in the opener's own places.
    let mut commitments = Commitments::zero(layout, &committee);
    commitments.add(&dealing.commitments)?;
    let opened = combine(layout, &committee, &commitments, &answers, 3)?;
    let mut sum = Accumulator::new(layout);
    sum.add(&body)?;
    assert_eq!(open(layout, &SEED, &sum, &opened, 3)?, [5; COUNT]);
    Ok(())
}

/// Says a word and waits for a line.
fn pause(word: &str) -> Outcome<()> {
    println!("{word}");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    open_file(folder, name)?.write_all(bytes)
}

fn open_file(folder: &Path, name: &str) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(folder.join(name))
}

/// The operating system's generator, whose draws go to a file too.
struct Recorder<'a> {
    folder: &'a Path,
    name: &'static str,
    /// A word to say once at the next draw.
    pause: &'static str,
}

impl TryRng for Recorder<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        let number = u32::from_le_bytes(bytes);
        bytes.zeroize();
        Ok(number)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        let number = u64::from_le_bytes(bytes);
        bytes.zeroize();
        Ok(number)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        // A draw that is not recorded would be searched for in vain, so a full disk ends the program.
        if SysRng.try_fill_bytes(bytes).is_err() || write(self.folder, self.name, bytes).is_err() {
            std::process::abort();
        }
        if !self.pause.is_empty() && pause(std::mem::take(&mut self.pause)).is_err() {
            std::process::abort();
        }
        Ok(())
    }
}

impl TryCryptoRng for Recorder<'_> {}
