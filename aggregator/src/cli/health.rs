//! `health`: asks a running server whether it serves, as a monitor or a container's health check does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use protos::v1::federation_server::SERVICE_NAME;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::args::Health;
use super::serve;
use crate::config::File;
use crate::identity::{self, SERVER_NAME};

/// The server does not serve, or is not reached.
#[derive(Debug, thiserror::Error)]
#[error("{addr}: {reason}")]
pub(super) struct NotServing {
    addr: SocketAddr,
    reason: String,
}

pub(super) async fn health(args: Health) -> anyhow::Result<()> {
    let authority = identity::authority(&args.dir)?;
    let listen = args.listen.or(File::load(&args.dir)?.serve.listen).unwrap_or(serve::LISTEN);
    anyhow::ensure!(
        listen.port() != 0,
        "port 0 is whichever was free: say --listen with the address that `serve` printed"
    );
    let (addr, limit) = (reached(listen), Duration::from_secs(args.seconds));
    let not_serving = |reason: String| NotServing { addr, reason };
    match tokio::time::timeout(limit, ask(addr, &authority)).await {
        Ok(Ok(ServingStatus::Serving)) => {
            println!("{addr}: serving");
            Ok(())
        }
        Ok(Ok(status)) => Err(not_serving(status.as_str_name().to_lowercase().replace('_', " ")).into()),
        Ok(Err(reason)) => Err(not_serving(reason).into()),
        Err(_) => Err(not_serving(format!("no answer within {} s", args.seconds)).into()),
    }
}

/// What the server says of its main service; anybody may ask. Only the folder's own authority is believed.
async fn ask(addr: SocketAddr, authority: &str) -> Result<ServingStatus, String> {
    let tls = ClientTlsConfig::new().domain_name(SERVER_NAME).ca_certificate(Certificate::from_pem(authority));
    let endpoint = Endpoint::from_shared(format!("https://{addr}")).and_then(|endpoint| endpoint.tls_config(tls));
    let channel = endpoint.map_err(|error| said(&error))?.connect().await.map_err(|error| said(&error))?;
    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let answer = HealthClient::new(channel).check(request).await.map_err(|status| status.message().to_owned())?;
    Ok(answer.into_inner().status())
}

/// The innermost reason: the layers around it say that something failed.
fn said(error: &tonic::transport::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// Where a server that listens here is reached from its own machine.
fn reached(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
