//! A TCP relay in front of the aggregator that loses what the aggregator says, and cuts connections. TLS goes through it end to end: it sees bytes and
//! nothing else.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of all connections.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Way {
    /// Nothing of what the aggregator says comes through.
    loses: bool,
    /// Connections of an earlier one are cut.
    generation: u64,
}

/// How often each fault came about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    pub connections: usize,
    pub cut: usize,
    pub lost: usize,
    pub stalled: usize,
}

pub struct Relay {
    pub addr: SocketAddr,
    way: watch::Sender<Way>,
    faults: Arc<Mutex<Faults>>,
}

/// What becomes of one connection by itself, after so many bytes of its caller.
#[derive(Clone, Copy)]
enum Fate {
    None,
    Cut {
        after: usize,
    },
    /// The aggregator hears what comes within this time, and is not heard; then the connection is cut.
    Lose {
        after: usize,
        time: Duration,
    },
    /// Nothing more comes through, until the caller ends it.
    Stall {
        after: usize,
    },
}

impl Relay {
    /// One that does only what it is told.
    pub async fn start(to: SocketAddr) -> Self {
        Self::serve(to, || Fate::None).await
    }

    /// One by which most connections meet a fault of their own, drawn from `seed`.
    pub async fn unreliable(to: SocketAddr, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self::serve(to, move || {
            // What a handshake and a few calls take, or a whole contribution.
            let after = if rng.random() { rng.random_range(1..6_000) } else { rng.random_range(6_000..80_000) };
            match rng.random_range(0..8) {
                0 => Fate::None,
                1..4 => Fate::Cut { after },
                _ => Fate::Lose { after, time: Duration::from_millis(rng.random_range(1..60)) },
            }
        })
        .await
    }

    /// One by which each connection stalls after so many bytes of its caller as `after` says, if it says any.
    pub async fn stalling(to: SocketAddr, mut after: impl FnMut() -> Option<usize> + Send + 'static) -> Self {
        Self::serve(to, move || after().map_or(Fate::None, |after| Fate::Stall { after })).await
    }

    async fn serve(to: SocketAddr, mut fate: impl FnMut() -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (way, ways) = watch::channel(Way::default());
        let faults = Arc::new(Mutex::new(Faults::default()));
        let counted = Arc::clone(&faults);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                counted.lock().unwrap().connections += 1;
                tokio::spawn(pass(caller, to, ways.clone(), fate(), Arc::clone(&counted)));
            }
        });
        Self { addr, way, faults }
    }

    /// From now on nothing of what the aggregator says comes through, until [`Self::cut`].
    pub fn lose_answers(&self) {
        self.way.send_modify(|way| way.loses = true);
    }

    /// Ends all connections; later ones come through.
    pub fn cut(&self) {
        self.way.send_modify(|way| *way = Way { loses: false, generation: way.generation + 1 });
    }

    pub fn faults(&self) -> Faults {
        *self.faults.lock().unwrap()
    }
}

async fn pass(
    caller: TcpStream,
    to: SocketAddr,
    mut ways: watch::Receiver<Way>,
    fate: Fate,
    faults: Arc<Mutex<Faults>>,
) {
    let generation = ways.borrow().generation;
    // The aggregator may be down: the caller finds its connection closed.
    let Ok(aggregator) = TcpStream::connect(to).await else { return };
    // As both ends do.
    if caller.set_nodelay(true).is_err() || aggregator.set_nodelay(true).is_err() {
        return;
    }
    let ((mut from_caller, mut to_caller), (mut from_aggregator, mut to_aggregator)) =
        (caller.into_split(), aggregator.into_split());
    let (mute, muted) = watch::channel(false);
    let ways_down = ways.clone();
    let up = async {
        let (mut buffer, mut passed) = (vec![0; 16 << 10], 0);
        while let Ok(bytes @ 1..) = from_caller.read(&mut buffer).await {
            match fate {
                Fate::Cut { after } if passed + bytes > after => {
                    // A part of what came, and no more.
                    let _ = to_aggregator.write_all(&buffer[..after.saturating_sub(passed).min(bytes)]).await;
                    faults.lock().unwrap().cut += 1;
                    return;
                }
                Fate::Lose { after, time } if passed + bytes > after && !*mute.borrow() => {
                    mute.send_replace(true);
                    faults.lock().unwrap().lost += 1;
                    if to_aggregator.write_all(&buffer[..bytes]).await.is_err() {
                        return;
                    }
                    let rest = tokio::io::copy(&mut from_caller, &mut to_aggregator);
                    // How it ended is no matter: the connection is cut.
                    let _ = tokio::time::timeout(time, rest).await;
                    return;
                }
                Fate::Stall { after } if passed + bytes > after => {
                    // The other end may have closed it.
                    let _ = to_aggregator.write_all(&buffer[..after.saturating_sub(passed).min(bytes)]).await;
                    faults.lock().unwrap().stalled += 1;
                    while let Ok(1..) = from_caller.read(&mut buffer).await {}
                    return;
                }
                _ => {}
            }
            passed += bytes;
            if to_aggregator.write_all(&buffer[..bytes]).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(bytes @ 1..) = from_aggregator.read(&mut buffer).await {
            let way = *ways_down.borrow();
            let lost = *muted.borrow() || way.loses || way.generation != generation;
            if !lost && to_caller.write_all(&buffer[..bytes]).await.is_err() {
                return;
            }
        }
        if *muted.borrow() {
            // Whoever is not heard is not heard to end either.
            std::future::pending::<()>().await;
        }
    };
    let cut = ways.wait_for(|way| way.generation != generation);
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = cut => {}
    }
}
