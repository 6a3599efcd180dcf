//! The way to the aggregator: name, port, TLS, certificate, clock.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::{Message as _, Roster};
use protos::v1;
use protos::version::{Version, agree};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tonic::Code;
use tonic::metadata::MetadataMap;
use tonic::transport::Uri;

use super::Report;
use crate::connection;
use crate::identity::Identity;
use crate::proxy::{self, Environment, Network, Proxy, ProxyError};
use crate::round::{MAX_CLOCK_SKEW_MS, is_refusal, now_ms};
use crate::version::OtherVersion;

/// How long a name or a connection may take.
const REACH: Duration = Duration::from_secs(10);
/// How long the aggregator may take to answer, proxy and TLS and all.
const ANSWER: Duration = Duration::from_secs(60);
const DAY_S: i64 = 86_400;
/// A running client renews in its last 30 days; one that has not by now does not run, or is not let.
const DAYS_TO_WORRY: i64 = 14;
/// An HTTP date has whole seconds.
const DATE_STEP_MS: i64 = 1_000;

/// Looks at everything between this machine and the aggregator, as far as it gets.
pub(super) async fn look(identity: &Identity, network: &Network, report: &mut Report) {
    let answered = match reach(identity, network, report).await {
        true => tls(identity, network, report).await,
        false => {
            report.skip(&["tls", "version"], "the port comes first");
            None
        }
    };
    certificate(identity, report);
    match answered {
        None => report.skip(&["clock"], "the aggregator was not asked"),
        Some(answered) => clock(answered, report),
    }
}

/// Name and port. Whether TLS is worth a try.
async fn reach(identity: &Identity, network: &Network, report: &mut Report) -> bool {
    let (invited, address) = (&identity.url, network.address(&identity.url));
    let Some((url, host)) = address.parse::<Uri>().ok().and_then(|url| Some((url.clone(), url.host()?.to_owned())))
    else {
        report.fail("address", format!("{address:?} is none"), "ask for a new invitation");
        report.skip(&["name", "port"], "the address comes first");
        return false;
    };
    match &network.url {
        Some(_) => {
            report.ok("address", format!("{address}, as client.toml's network.url says; the invitation's is {invited}"))
        }
        None => report.ok("address", format!("{address}, as the invitation says")),
    }
    let port = proxy::port(&url);
    match proxy::of(network, &Environment::read(), &url) {
        Err(error) => {
            report.fail("proxy", error, "correct it; its password is percent-encoded");
            report.skip(&["name", "port"], "the proxy comes first");
            false
        }
        Ok(None) => {
            let todo = "check this machine's DNS, or whether a proxy must be written in client.toml";
            resolve(host.trim_matches(['[', ']']), port, todo, report).await && direct(&host, port, report).await
        }
        Ok(Some(proxy)) => {
            report.ok("proxy", format!("{proxy} is asked for the way to {host}:{port}"));
            let todo = "check host and port of the proxy in client.toml or HTTPS_PROXY";
            resolve(proxy.host(), proxy.port(), todo, report).await && tunnel(&proxy, &host, port, report).await
        }
    }
}

async fn resolve(host: &str, port: u16, todo: &str, report: &mut Report) -> bool {
    let failed = match timeout(REACH, lookup_host((host, port))).await {
        Ok(Ok(found)) => {
            let mut found: Vec<String> = found.map(|address| address.ip().to_string()).collect();
            found.dedup();
            if !found.is_empty() {
                report.ok("name", format!("{host} is {}", found.join(", ")));
                return true;
            }
            "it has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", REACH.as_secs()),
    };
    report.unreached("name", format!("{host} is not resolved: {failed}"), todo);
    report.skip(&["port"], "the name comes first");
    false
}

async fn direct(host: &str, port: u16, report: &mut Report) -> bool {
    let start = Instant::now();
    let connecting = TcpStream::connect((host.trim_matches(['[', ']']), port));
    let error = match timeout(REACH, connecting).await {
        Ok(Ok(_)) => {
            report.ok("port", format!("{host}:{port} takes connections, after {} ms", start.elapsed().as_millis()));
            return true;
        }
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    let todo = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "ask the model builder whether `plainchant-aggregator serve` runs there, and on which port"
        }
        _ => "ask for outgoing TCP to that host and port, or write the proxy that must be used in client.toml",
    };
    report.unreached("port", format!("{host}:{port} is not reached: {error}"), todo);
    false
}

async fn tunnel(proxy: &Proxy, host: &str, port: u16, report: &mut Report) -> bool {
    match proxy.tunnel(host, port).await {
        Ok(_) => {
            report.ok("port", format!("{proxy} gives a tunnel to {host}:{port}"));
            true
        }
        // Its text says what to do.
        Err(error @ (ProxyError::NoPassword { .. } | ProxyError::Password { .. })) => {
            report.fail("port", error, "ask who runs the proxy for a user and a password");
            false
        }
        Err(error) => {
            report.unreached("port", error, "ask who runs the proxy");
            false
        }
    }
}

/// What the aggregator's clock said, and this machine's before and after.
pub(super) struct Answered {
    date: Option<SystemTime>,
    before_ms: u64,
    after_ms: u64,
}

/// TLS end to end, and this member's certificate, by asking for the roster.
async fn tls(identity: &Identity, network: &Network, report: &mut Report) -> Option<Answered> {
    let mut client = match connection::federation(identity, network) {
        Ok(client) => client,
        Err(error) => {
            report.fail("tls", error, "if files in this folder are damaged, ask for a new invitation");
            report.skip(&["version"], "TLS comes first");
            return None;
        }
    };
    let before_ms = now_ms();
    let Ok(answer) = timeout(ANSWER, client.get_roster(v1::GetRosterRequest {})).await else {
        let todo = "ask the model builder whether it is the aggregator that listens there";
        report.unreached("tls", format!("no answer in {} s", ANSWER.as_secs()), todo);
        report.skip(&["version"], "the aggregator was not asked");
        return None;
    };
    let after_ms = now_ms();
    let answered = |metadata: &MetadataMap, report: &mut Report| {
        version(said(metadata), report);
        Some(Answered { date: date(metadata), before_ms, after_ms })
    };
    match answer {
        Ok(response) => {
            let known = Roster::from_bytes(&response.get_ref().roster);
            let roster = known.map_or("malformed".to_owned(), |roster| roster.digest().to_string());
            report.ok(
                "tls",
                format!("the aggregator is the one that was joined, and takes this member; roster {roster}"),
            );
            answered(response.metadata(), report)
        }
        Err(status) if status.code() == Code::FailedPrecondition => {
            let said = "the aggregator is the one that was joined, and takes this member; there is no roster yet";
            report.ok("tls", format!("{said}: {}", status.message()));
            answered(status.metadata(), report)
        }
        Err(ref status) if let Some(other) = OtherVersion::of(status) => {
            report.ok("tls", "the aggregator is the one that was joined");
            version(Err(other.clone()), report);
            None
        }
        Err(status) if is_refusal(&status) => {
            let todo = "ask the model builder; a member that was revoked needs a new `invite`, and joins again here";
            report.fail("tls", format!("the aggregator does not take this member: {}", status.message()), todo);
            answered(status.metadata(), report)
        }
        Err(status) => {
            let text = connection::describe(&status);
            let (said, todo) = broken(&text);
            if said == NOT_OURS || said == OTHER_TIME {
                report.fail("tls", format!("{said}: {text}"), todo);
            } else {
                report.unreached("tls", format!("{said}: {text}"), todo);
            }
            report.skip(&["version"], "TLS comes first");
            None
        }
    }
}

/// The newest version that an answer says.
fn said(metadata: &MetadataMap) -> Result<Version, OtherVersion> {
    Ok(Version::said(metadata.as_ref())?)
}

/// The versions of the protocol that the aggregator and this program speak.
fn version(aggregator: Result<Version, OtherVersion>, report: &mut Report) {
    let spoken = aggregator.and_then(|aggregator| Ok((aggregator, agree(Version::PRESENT, aggregator)?)));
    match spoken {
        Ok((aggregator, spoken)) => {
            let said =
                format!("the aggregator speaks {aggregator}, this program {}: {spoken} is spoken", Version::PRESENT);
            if aggregator > Version::PRESENT {
                let todo = "install the newer plainchant-client before the aggregator is updated again";
                report.warn("version", said, todo);
            } else {
                report.ok("version", said);
            }
        }
        Err(error) => report.fail("version", error, "update the one that is behind"),
    }
}

const NOT_OURS: &str = "the certificate shown there is not from the authority of this federation";
const OTHER_TIME: &str = "the certificate shown there is not good at the time of this machine";

/// What a connection that came to nothing says, by what rustls says in it, and what to do.
fn broken(text: &str) -> (&'static str, &'static str) {
    if text.contains("certificate expired") || text.contains("certificate not valid yet") {
        return (OTHER_TIME, "set this machine's clock; if it is right, ask the model builder");
    }
    if text.contains("invalid peer certificate") {
        return (
            NOT_OURS,
            "either it is another server's address, or a proxy or firewall in between opens TLS: ask for this host and port to be let through untouched",
        );
    }
    if text.contains("received fatal alert") {
        return (
            "the other end refuses this member's TLS",
            "ask the model builder; a certificate that has ended needs `revoke` and `invite`",
        );
    }
    ("no TLS comes about", "see that the aggregator listens there, and that nothing in between ends connections")
}

fn certificate(identity: &Identity, report: &mut Report) {
    let left_s = identity.certificate_ends_at_s() - i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX);
    let days = left_s / DAY_S;
    let renew = "let `run` go: it renews the certificate while it can reach the aggregator";
    if left_s <= 0 {
        let todo = format!("the model builder must `revoke` and `invite` {} again", identity.name());
        report.fail("certificate", format!("ended {} days ago", -days), &todo);
    } else if days < DAYS_TO_WORRY {
        report.warn("certificate", format!("ends in {days} days"), renew);
    } else {
        report.ok("certificate", format!("good for {days} days; `run` renews it in its last 30"));
    }
}

fn date(metadata: &MetadataMap) -> Option<SystemTime> {
    httpdate::parse_http_date(metadata.get("date")?.to_str().ok()?).ok()
}

/// The aggregator's clock against this one. Only an aggregator's that is ahead has its announcements refused.
fn clock(answered: Answered, report: &mut Report) {
    let date = answered.date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
    let Some(date) = date.and_then(|date| i64::try_from(date.as_millis()).ok()) else {
        report.warn("clock", "the aggregator's is not known: its answer has no date", "");
        return;
    };
    let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    // Between the two the aggregator read its clock.
    let (least, most) = (date - ms(answered.after_ms), date + DATE_STEP_MS - ms(answered.before_ms));
    let limit = ms(MAX_CLOCK_SKEW_MS);
    let seconds = |ms: i64| ms.abs() / 1000;
    let todo = "set this machine's clock by NTP; if it is right, tell the model builder";
    if least > limit {
        report.fail(
            "clock",
            format!("the aggregator's is {} s ahead; up to {} s are taken", seconds(least), limit / 1000),
            todo,
        );
    } else if most < -limit {
        report.warn("clock", format!("the aggregator's is {} s behind", seconds(most)), todo);
    } else {
        report.ok("clock", "the aggregator's and this machine's agree");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(offset_s: u64, ahead: bool) -> serde_json::Value {
        let offset = Duration::from_secs(offset_s);
        let (now, at) = (now_ms(), SystemTime::now());
        let date = if ahead { at + offset } else { at - offset };
        let mut metadata = MetadataMap::new();
        if let Ok(value) = httpdate::fmt_http_date(date).parse() {
            metadata.insert("date", value);
        }
        let mut report = Report { as_json: true, findings: Vec::new(), failed: 0, unreached: 0 };
        clock(Answered { date: self::date(&metadata), before_ms: now, after_ms: now + 5 }, &mut report);
        report.findings.remove(0)
    }

    #[test]
    fn a_clock_that_is_off_by_more_than_announcements_may_be_is_told_and_one_within_is_not() {
        assert_eq!(said(0, true)["verdict"], "ok");
        assert_eq!(said(28, true)["verdict"], "ok");
        assert_eq!(said(28, false)["verdict"], "ok");
        assert_eq!(said(33, true)["verdict"], "fail");
        assert_eq!(said(33, false)["verdict"], "warn");
        let mut report = Report { as_json: true, findings: Vec::new(), failed: 0, unreached: 0 };
        clock(Answered { date: date(&MetadataMap::new()), before_ms: 0, after_ms: 0 }, &mut report);
        assert!(report.findings.remove(0)["said"].as_str().is_some_and(|said| said.contains("not known")));
    }
}
