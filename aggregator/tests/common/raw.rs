//! Any call by its path, with any bytes as its messages; and how often each was answered, by the aggregator's own count.

use std::net::SocketAddr;

use bytes::{Buf as _, BufMut as _, Bytes};
use protos::rpc::Rpc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Any bytes as a message.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Sends these messages, and gives the answer's: all of them, or the first `most`.
pub async fn call(channel: Channel, rpc: Rpc, messages: Vec<Bytes>, most: usize) -> Result<Vec<Bytes>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let request = Request::new(tokio_stream::iter(messages));
    let mut answer = grpc.streaming(request, PathAndQuery::from_static(rpc.path()), Raw).await?.into_inner();
    let mut came = Vec::new();
    while came.len() < most
        && let Some(message) = answer.message().await?
    {
        came.push(message);
    }
    Ok(came)
}

/// How many calls of this kind the aggregator has answered, as its metrics say.
pub async fn answered(observed: SocketAddr, rpc: Rpc) -> u64 {
    let text = get(observed, "/metrics").await;
    let of_rpc = format!("plainchant_calls_total{{rpc=\"{rpc:?}\",");
    let counts = text.lines().filter(|line| line.starts_with(&of_rpc));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// What the aggregator shows at this path.
pub async fn get(observed: SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(observed).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {observed}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
