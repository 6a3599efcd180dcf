//! Who may be connected: so many callers in all and from one network, and nobody from whom nothing comes.
//!
//! While more is asked than can be answered, connections whose calls are refused are read now and then, and their answers leave together: most of what a refusal
//! costs is the system's work for a packet in and one out, and that is then done once for many. Others, with contributions above all, go on as ever.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

use crate::limits::Limits;
use crate::observe::Metrics;
use crate::service::Crowd;

/// A peer from whom nothing comes for this long is gone or never meant to speak: HTTP/2's pings are answered far sooner.
const SILENCE: Duration = Duration::from_secs(60);
/// After the system could not give a connection (it had no descriptor left), the next is asked for after this long.
const PAUSE: Duration = Duration::from_millis(100);
/// While too many calls are there, a connection that had one refused and was read to its end is read again after this long, or sooner when few wait.
const HOLD: Duration = Duration::from_millis(500);
/// Meanwhile what is written leaves after this long, with what else is answered until then.
const GATHER: Duration = Duration::from_millis(2);
/// More than refusals take is written at once.
const MUCH: usize = 4 << 10;

/// Connections as they come in, within the limits.
pub(crate) struct Connections {
    incoming: TcpIncoming,
    open: Arc<Open>,
    crowd: Arc<Crowd>,
    silence: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Connections {
    pub(crate) fn new(incoming: TcpIncoming, limits: &Limits, metrics: Metrics, crowd: Arc<Crowd>) -> Self {
        let most = (limits.connections as usize, limits.connections_per_address as usize);
        let open = Arc::new(Open { most, metrics, now: Mutex::default() });
        Self { incoming, open, crowd, silence: SILENCE, pause: None }
    }
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(Pin::new(&mut self.incoming).poll_next(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => {
                    tracing::warn!(%error, "no connection could be taken; trying again");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
                Some(Ok(stream)) => {
                    // It has gone when it has no address any more.
                    let Ok(peer) = stream.peer_addr() else { continue };
                    let Some(place) = Place::take(&self.open, network(peer.ip())) else { continue };
                    let (silence, silent) = (self.silence, Box::pin(sleep(self.silence)));
                    return Poll::Ready(Some(Ok(Connection {
                        stream,
                        crowd: Arc::clone(&self.crowd),
                        refused: Arc::default(),
                        held: None,
                        gathered: None,
                        silence,
                        heard: Instant::now(),
                        silent,
                        _place: place,
                    })));
                }
            }
        }
    }
}

/// How many connections are open.
struct Open {
    /// In all, and of one network.
    most: (usize, usize),
    metrics: Metrics,
    now: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// What counts as one caller: an address, or the 2^64 addresses that one IPv6 host has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// One open connection's place.
struct Place {
    open: Arc<Open>,
    network: IpAddr,
}

impl Place {
    fn take(open: &Arc<Open>, network: IpAddr) -> Option<Self> {
        let mut now = open.now.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, networks) = &mut *now;
        let of_network = networks.get(&network).copied().unwrap_or(0);
        let full = match (*all >= open.most.0, of_network >= open.most.1) {
            (_, true) => "address",
            (true, _) => "all",
            (false, false) => {
                *all += 1;
                networks.insert(network, of_network + 1);
                open.metrics.connections(*all);
                return Some(Self { open: Arc::clone(open), network });
            }
        };
        open.metrics.connection_refused(full);
        tracing::debug!(%network, full, "a connection too many");
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut now = self.open.now.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, networks) = &mut *now;
        *all = all.saturating_sub(1);
        self.open.metrics.connections(*all);
        match networks.get_mut(&self.network) {
            Some(of_network) if *of_network > 1 => *of_network -= 1,
            _ => drop(networks.remove(&self.network)),
        }
    }
}

/// A caller's connection; reading from it fails once nothing has come for a while.
pub(crate) struct Connection {
    stream: TcpStream,
    crowd: Arc<Crowd>,
    /// Whether a call of it was refused since it was held last.
    refused: Arc<AtomicBool>,
    /// Until when it is not read.
    held: Option<BoxFuture<'static, ()>>,
    /// When what is written may leave.
    gathered: Option<Pin<Box<Sleep>>>,
    silence: Duration,
    heard: Instant,
    silent: Pin<Box<Sleep>>,
    _place: Place,
}

/// What a call knows of the connection that it came over.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    tcp: TcpConnectInfo,
    refused: Arc<AtomicBool>,
}

impl Peer {
    /// Where it comes from.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.tcp.remote_addr().map(|address| address.ip())
    }

    /// A call of it was refused because too many are there.
    pub(crate) fn refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { tcp: self.stream.connect_info(), refused: Arc::clone(&self.refused) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(held) = &mut self.held {
            ready!(held.as_mut().poll(context));
            self.held = None;
        }
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, to) {
            self.heard = Instant::now();
            return Poll::Ready(read);
        }
        // A task that has done much is told that there is nothing to read although there may be.
        if coop::has_budget_remaining() && self.crowd.is_full() && self.refused.swap(false, Ordering::Relaxed) {
            let crowd = Arc::clone(&self.crowd);
            // Whether it came to an end in time or not, it is over.
            let until = async move { drop(timeout(HOLD, crowd.few_wait()).await) };
            self.held = Some(Box::pin(until));
            return self.poll_read(context, to);
        }
        loop {
            ready!(self.silent.as_mut().poll(context));
            let due = self.heard + self.silence;
            if due <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.silent = Box::pin(sleep_until(due));
        }
    }
}

impl Connection {
    /// Ready when so many bytes may be written.
    fn poll_gathered(&mut self, bytes: usize, context: &mut Context<'_>) -> Poll<()> {
        if self.held.is_none() || bytes > MUCH {
            self.gathered = None;
            return Poll::Ready(());
        }
        ready!(self.gathered.get_or_insert_with(|| Box::pin(sleep(GATHER))).as_mut().poll(context));
        self.gathered = None;
        Poll::Ready(())
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_gathered(bytes.len(), context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_gathered(bytes.iter().map(|slice| slice.len()).sum(), context));
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_stream::StreamExt as _;

    use super::*;

    fn open(most: (usize, usize)) -> Arc<Open> {
        Arc::new(Open { most, metrics: Metrics::new(), now: Mutex::default() })
    }

    #[test]
    fn places_are_few_for_one_network_and_in_all_and_are_free_again() {
        let open = open((5, 3));
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<Place> = (0..3).map(|_| Place::take(&open, one).unwrap()).collect();
        assert!(Place::take(&open, one).is_none());
        held.extend((0..2).map(|_| Place::take(&open, other).unwrap()));
        assert!(Place::take(&open, other).is_none(), "five are there");
        drop(held.remove(0));
        held.push(Place::take(&open, other).unwrap());
        drop(held);
        assert_eq!(*open.now.lock().unwrap(), (0, HashMap::new()));
    }

    #[test]
    fn one_host_of_version_6_is_one_network_and_a_mapped_address_is_that_of_version_4() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[tokio::test]
    async fn a_peer_that_says_nothing_any_more_is_given_up_and_one_that_speaks_is_not() {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = incoming.local_addr().unwrap();
        let mut connections = Connections::new(incoming, &Limits::default(), Metrics::new(), Arc::new(Crowd::new()));
        connections.silence = Duration::from_secs(2);
        let mut peer = TcpStream::connect(addr).await.unwrap();
        let mut connection = connections.next().await.unwrap().unwrap();
        let mut byte = [0];
        for _ in 0..6 {
            sleep(connections.silence / 4).await;
            peer.write_all(&[7]).await.unwrap();
            connection.read_exact(&mut byte).await.unwrap();
        }
        let silent = connection.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
    }

    async fn connected(crowd: &Arc<Crowd>) -> (TcpStream, Connection) {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = incoming.local_addr().unwrap();
        let mut connections = Connections::new(incoming, &Limits::default(), Metrics::new(), Arc::clone(crowd));
        let peer = TcpStream::connect(addr).await.unwrap();
        (peer, connections.next().await.unwrap().unwrap())
    }

    #[tokio::test]
    async fn a_connection_with_a_refused_call_is_read_now_and_then_while_too_many_are_there() {
        let crowd = Arc::new(Crowd::new());
        let (mut peer, mut connection) = connected(&crowd).await;
        let info = connection.connect_info();
        // So long a byte was on its way when it was written while the connection was read in vain.
        let mut took = async || {
            let mut byte = [0];
            let (read, sent) = tokio::join!(connection.read_exact(&mut byte), async {
                sleep(HOLD / 10).await;
                peer.write_all(&[7]).await.unwrap();
                Instant::now()
            });
            read.unwrap();
            sent.elapsed()
        };
        info.refused();
        assert!(took().await < HOLD / 2, "there is room");
        let many = crowd.full();
        assert!(took().await > HOLD / 2);
        assert!(took().await < HOLD / 2, "nothing of it was refused since");
        info.refused();
        drop(many);
        assert!(took().await < HOLD / 2, "there is room again");
    }

    #[tokio::test]
    async fn a_connection_that_is_held_is_read_as_soon_as_few_wait() {
        let crowd = Arc::new(Crowd::new());
        let (mut peer, mut connection) = connected(&crowd).await;
        let mut many = crowd.full();
        hold(&mut connection).await;
        peer.write_all(&[7]).await.unwrap();
        let start = Instant::now();
        many.truncate(many.len() / 4);
        connection.read_exact(&mut [0]).await.unwrap();
        assert!(start.elapsed() < HOLD / 2);
    }

    /// A call of it is refused, and it is read while nothing has come.
    async fn hold(connection: &mut Connection) {
        connection.connect_info().refused();
        assert!(timeout(HOLD / 10, connection.read_exact(&mut [0])).await.is_err(), "nothing has come");
    }

    #[tokio::test]
    async fn what_is_written_to_a_connection_that_is_held_leaves_together_but_much_at_once() {
        let crowd = Arc::new(Crowd::new());
        let (mut peer, mut connection) = connected(&crowd).await;
        let _many = crowd.full();
        let start = Instant::now();
        connection.write_all(&[1]).await.unwrap();
        assert!(connection.gathered.is_none() && start.elapsed() < HOLD / 2, "it is not held");
        hold(&mut connection).await;
        let start = Instant::now();
        connection.write_all(&[2, 3]).await.unwrap();
        assert!(start.elapsed() >= GATHER);
        let much = [4; MUCH + 1];
        assert_eq!(connection.write(&much).now_or_never().unwrap().unwrap(), much.len());
        let mut bytes = [0; MUCH + 4];
        peer.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[..4], [1, 2, 3, 4]);
    }
}
