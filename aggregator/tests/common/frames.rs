//! HTTP/2 frames made by hand, over TLS, from any address of this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_HEADERS: u8 = 4;
/// RFC 9113, section 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9113, section 4.1.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The preface, and no settings of its own.
pub(crate) fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Headers of a gRPC call of this path; HPACK of static names and plain text (RFC 7541, appendix A).
pub(crate) fn headers_of(path: &str) -> Vec<u8> {
    // :method POST, :scheme https.
    let mut block = vec![0x83, 0x87];
    let mut plain = |name: &[u8], value: &str| {
        block.extend(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    };
    plain(&[0x04], path);
    plain(&[0x01], "aggregator.plainchant");
    plain(&[0x0f, 0x10], "application/grpc");
    plain(b"\x00\x02te", "trailers");
    block
}

/// A caller without a certificate.
#[derive(Clone)]
pub(crate) struct Attacker {
    to: SocketAddr,
    tls: TlsConnector,
}

pub(crate) type Stream = TlsStream<TcpStream>;

impl Attacker {
    pub(crate) fn new(to: SocketAddr, authority: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.to_vec())).unwrap();
        let config =
            ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { to, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// A connection from this address of this machine, without TLS.
    pub(crate) async fn tcp(&self, from: Ipv4Addr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect(self.to).await
    }

    pub(crate) async fn tls(&self, from: Ipv4Addr) -> std::io::Result<Stream> {
        let name = ServerName::try_from(aggregator::identity::SERVER_NAME).unwrap();
        self.tls.connect(name, self.tcp(from).await?).await
    }
}

/// Writes as long as it is let, and hears why it is not any more.
pub(crate) struct Peer {
    to: WriteHalf<Stream>,
    from: ReadHalf<Stream>,
}

/// How the aggregator ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this error code.
    GoAway(u32),
    Closed,
}

impl Peer {
    pub(crate) async fn open(attacker: &Attacker, from: Ipv4Addr) -> std::io::Result<Self> {
        let (read, write) = tokio::io::split(attacker.tls(from).await?);
        let mut peer = Self { to: write, from: read };
        peer.send(&opening()).await?;
        Ok(peer)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.to.write_all(bytes).await?;
        self.to.flush().await
    }

    /// Reads until the connection ends.
    pub(crate) async fn ended(from: &mut ReadHalf<Stream>) -> End {
        let mut head = [0; 9];
        while from.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            if from.read_exact(&mut payload).await.is_err() {
                break;
            }
            if head[3] == GOAWAY {
                return End::GoAway(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        End::Closed
    }

    /// Sends what `next` gives until it is let no more or `time` is over. Gives how it ended, if it did, and how many bytes were taken.
    pub(crate) async fn flood(
        self,
        time: std::time::Duration,
        mut next: impl FnMut() -> Vec<u8>,
    ) -> (Option<End>, usize) {
        let Self { mut to, mut from } = self;
        let mut taken = 0;
        let write = async {
            loop {
                let bytes = next();
                if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
                    // Why is read.
                    std::future::pending::<()>().await;
                }
                taken += bytes.len();
            }
        };
        let ended = async {
            tokio::select! {
                end = Self::ended(&mut from) => Some(end),
                () = write => None,
            }
        };
        let end = tokio::time::timeout(time, ended).await.unwrap_or(None);
        (end, taken)
    }
}
