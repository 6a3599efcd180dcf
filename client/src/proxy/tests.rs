#![expect(clippy::unwrap_used, reason = "tests")]

use tokio::net::TcpListener;

use super::*;

fn environment(https_proxy: &str, no_proxy: &str) -> Environment {
    Environment { https_proxy: Some(Setting::from(https_proxy.to_owned())), no_proxy: no_proxy.to_owned() }
}

fn found(network: &Network, environment: &Environment, url: &str) -> Option<String> {
    of(network, environment, &url.parse().unwrap()).unwrap().map(|proxy| proxy.to_string())
}

fn written(proxy: &str) -> Network {
    Network { proxy: Some(Setting::from(proxy.to_owned())), url: None }
}

#[test]
fn the_configuration_comes_before_the_environment_and_the_environment_is_not_for_loopback() {
    let (nothing, variable) = (Network::default(), environment("http://env.example:3128", ""));
    let there = "https://aggregator.example:7443";
    assert_eq!(found(&nothing, &variable, there).unwrap(), "http://env.example:3128");
    assert_eq!(found(&written("http://own.example:8080"), &variable, there).unwrap(), "http://own.example:8080");
    assert_eq!(found(&written("none"), &variable, there), None);
    assert_eq!(found(&nothing, &Environment::default(), there), None);
    for here in ["127.0.0.1", "127.8.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "a.localhost"] {
        let url = format!("https://{here}:7443");
        assert_eq!(found(&nothing, &variable, &url), None, "{url}");
        assert!(found(&written("own.example"), &variable, &url).is_some(), "{url}");
    }
}

#[test]
fn no_proxy_names_hosts_suffixes_addresses_ports_or_all() {
    for (list, host, excepted) in [
        ("aggregator.example", "aggregator.example", true),
        ("aggregator.example", "AGGREGATOR.example", true),
        (".example", "aggregator.example", true),
        ("*.example", "aggregator.example", true),
        ("example", "aggregator.example", true),
        ("ample", "aggregator.example", false),
        ("other.example, aggregator.example", "aggregator.example", true),
        ("aggregator.example:7443", "aggregator.example", true),
        ("aggregator.example:443", "aggregator.example", false),
        ("10.1.2.3", "10.1.2.3", true),
        ("2.3", "10.1.2.3", false),
        ("::1:2", "[::1:2]", true),
        ("*", "aggregator.example", true),
        ("", "aggregator.example", false),
        (",.", "aggregator.example", false),
    ] {
        assert_eq!(is_excepted(list, host, 7443), excepted, "{list} {host}");
        let proxy = found(&Network::default(), &environment("env.example:1", list), &format!("https://{host}:7443"));
        assert_eq!(proxy.is_none(), excepted, "{list} {host}");
    }
}

/// The value is what Python's `base64.b64encode(b"ward 7:p@ss:w\xc3\xb6rd")` gives.
#[test]
fn user_and_password_are_decoded_sent_as_basic_and_never_shown() {
    let proxy = Proxy::parse("http://ward%207:p%40ss:w%C3%B6rd@proxy.example:3128/").unwrap();
    assert_eq!(proxy.authorization.as_ref().unwrap().as_str(), "Basic d2FyZCA3OnBAc3M6d8O2cmQ=");
    let setting = Setting::from("http://ward:secret@proxy.example".to_owned());
    let shown = format!("{proxy} {proxy:?} {setting:?} {:?}", environment("http://ward:secret@proxy.example", ""));
    assert!(shown.contains("http://proxy.example:3128"), "{shown}");
    for secret in ["ward", "p%40ss", "p@ss", "d2Fy", "secret"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn what_is_no_http_proxy_is_refused_without_being_shown() {
    for wrong in
        ["https://secret@proxy.example:1", "socks5://proxy.example", "http://", "secret@", "proxy:99999", "a b"]
    {
        let error = of(&written(wrong), &Environment::default(), &"https://a.example".parse().unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("network.proxy must be"), "{wrong}: {error}");
        let url = "https://a.example".parse().unwrap();
        let error = of(&Network::default(), &environment(wrong, ""), &url).unwrap_err().to_string();
        assert!(error.starts_with("HTTPS_PROXY must be") && !error.contains("secret"), "{wrong}: {error}");
    }
    assert!(Proxy::parse("http://na%3Ame:password@proxy.example").is_none(), "a colon ends the name");
}

/// What a proxy that answers with `answer`, and then stays there, comes to; and what it was asked.
async fn asked(address: &str, answer: &'static [u8], stays: bool) -> (Result<(), ProxyError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        // The client may have gone before it has all of it.
        let _ = stream.write_all(answer).await;
        if stays {
            let _ = stream.read_u8().await;
        }
        String::from_utf8(request).unwrap()
    });
    let mut proxy = Proxy::parse(&address.replace("PLACE", &place.to_string())).unwrap();
    proxy.answer = Duration::from_millis(300);
    let result = proxy.tunnel("aggregator.example", 7443).await.map(drop);
    (result, served.await.unwrap())
}

#[tokio::test]
async fn the_proxy_is_asked_for_the_aggregators_name_with_the_password() {
    let answer = b"HTTP/1.0 200 Connection established\r\nProxy-agent: other\r\n\r\n";
    let (result, request) = asked("http://ward:secret@PLACE", answer, true).await;
    result.unwrap();
    let lines: Vec<&str> = request.lines().collect();
    assert_eq!(
        lines,
        [
            "CONNECT aggregator.example:7443 HTTP/1.1",
            "Host: aggregator.example:7443",
            "Proxy-Authorization: Basic d2FyZDpzZWNyZXQ=",
            ""
        ]
    );
    let (result, request) = asked("http://PLACE", answer, true).await;
    result.unwrap();
    assert!(!request.contains("Authorization"), "{request}");
}

#[tokio::test]
async fn every_refusal_and_every_broken_answer_is_named_and_none_is_waited_for() {
    let endless: &'static [u8] = Box::leak([b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; 40_000]].concat().into());
    let exact = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; MAX_HEAD_BYTES - 24], b"\r\n\r\n"].concat();
    assert_eq!(exact.len(), MAX_HEAD_BYTES);
    asked("http://PLACE", Box::leak(exact.into()), true).await.0.unwrap();
    type Kind = fn(&ProxyError) -> bool;
    let cases: [(&str, &'static [u8], bool, Kind); 11] = [
        ("PLACE", b"HTTP/1.1 407 No\r\n\r\n", true, |e| matches!(e, ProxyError::NoPassword { .. })),
        ("u:secret@PLACE", b"HTTP/1.1 407 No\r\n\r\n", true, |e| matches!(e, ProxyError::Password { .. })),
        ("u:secret@PLACE", b"HTTP/1.0 401 No\r\n\r\n", true, |e| matches!(e, ProxyError::Password { status: 401, .. })),
        ("u:secret@PLACE", b"HTTP/1.1 403 No\r\n\r\n", true, |e| matches!(e, ProxyError::Refused { status: 403, .. })),
        ("PLACE", b"HTTP/1.1 302 Login\r\n\r\n", true, |e| matches!(e, ProxyError::Refused { status: 302, .. })),
        ("PLACE", b"HTTP/1.1 502 No\r\n\r\n", true, |e| matches!(e, ProxyError::NotThrough { status: 502, .. })),
        ("PLACE", b"SSH-2.0-OpenSSH_9.2\r\n", true, |e| matches!(e, ProxyError::Garbled { .. })),
        ("PLACE", b"HTTP/1.1 200 OK\r\n\r\nhello", true, |e| matches!(e, ProxyError::Garbled { .. })),
        ("PLACE", b"HTTP/1.1 200 OK\r\n", true, |e| matches!(e, ProxyError::Silent { .. })),
        ("PLACE", b"HTTP/1.1 200 OK\r\n", false, |e| matches!(e, ProxyError::Broken { .. })),
        ("PLACE", endless, true, |e| matches!(e, ProxyError::Endless { .. })),
    ];
    for (address, answer, stays, expected) in cases {
        let (result, _) = tokio::time::timeout(Duration::from_secs(5), asked(address, answer, stays)).await.unwrap();
        let error = result.unwrap_err();
        assert!(expected(&error), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("http://127.0.0.1:") && !text.contains("secret"), "{text}");
    }
}
