//! A forward proxy: whom it serves, and what goes through its tunnels.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rewarm_http::{ClientConfig, Proxies};
use rewarm_proxy::packages::KnownFiles;
use rewarm_proxy::{Authority, Forward, Limits, Mode, Token};
use rewarm_testkit::server::{Reply, Server};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, RootCertStore, ServerConnection, StreamOwned};

use crate::common::{Connection, Message, Running, now, start_with};

pub(crate) struct Proxied {
    pub(crate) proxy: Running,
    credentials: String,
    /// What clients trust.
    roots: RootCertStore,
    _dir: tempfile::TempDir,
}

/// A forward proxy that trusts certificates for its origins in this PEM text.
fn proxied(trusted: &str) -> Proxied {
    proxied_knowing(trusted, KnownFiles::default())
}

/// The same, with files that are known already.
pub(crate) fn proxied_knowing(trusted: &str, known: KnownFiles) -> Proxied {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let cert_file = dir.path().join("trusted.pem");
    std::fs::write(&cert_file, trusted).expect("a file can be written");
    let token = Token::random().expect("the system has random bytes");
    let authority = Arc::new(Authority::new(now()).expect("it can be made"));
    let mut roots = RootCertStore::empty();
    let own = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
    roots.add(own).expect("it can be trusted");
    let credentials = STANDARD.encode(format!("rewarm:{}", token.reveal()));
    let client = ClientConfig {
        proxies: Proxies::None,
        retries: 0,
        cert_file: Some(cert_file),
        ..ClientConfig::new(dir.path().to_owned())
    };
    let mode = Mode::Forward(Forward { token, authority, known });
    Proxied { proxy: start_with(mode, Limits::default(), client), credentials, roots, _dir: dir }
}

impl Proxied {
    pub(crate) fn authorized(&self, request: &str) -> String {
        let (line, rest) = request.split_once("\r\n").expect("a request line");
        format!("{line}\r\nProxy-Authorization: Basic {}\r\n{rest}", self.credentials)
    }

    /// A connection through a tunnel, up to its grant.
    fn tunnel(&self, authority: &str) -> (Connection, Message) {
        let mut connection = self.proxy.connect();
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        connection.send(self.authorized(&request));
        // Like that to HEAD, the answer has no body.
        let granted = connection.answer("HEAD");
        (connection, granted)
    }

    /// The text of an answer to a request in a tunnel.
    fn secure(&self, authority: &str, request: &str) -> String {
        let (connection, granted) = self.tunnel(authority);
        assert_eq!(granted.status, 200, "{granted:?}");
        let name = authority.rsplit_once(':').expect("a port").0.to_owned();
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("they are known")
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let name = ServerName::try_from(name).expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut stream = StreamOwned::new(session, connection.stream);
        stream.write_all(request.as_bytes()).expect("the proxy takes it");
        let mut answer = String::new();
        // What is asserted is in what came; a refused upgrade ends without a farewell.
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// An origin that speaks TLS as `127.0.0.1`, with the certificate to trust; it answers every request
/// with its first line, to be kept for a while, and counts.
struct SecureOrigin {
    authority: String,
    pem: String,
    seen: std::sync::mpsc::Receiver<String>,
}

fn secure_origin() -> SecureOrigin {
    let made =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("it can be made");
    let (pem, chain) = (made.cert.pem(), vec![made.cert.der().clone()]);
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("they are known")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port can be had");
    let authority = listener.local_addr().expect("it is bound").to_string();
    let (told, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
            // A client that does not trust it goes away.
            let _ = answer_once(StreamOwned::new(session, stream), &told);
        }
    });
    SecureOrigin { authority, pem, seen }
}

fn answer_once(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    told: &std::sync::mpsc::Sender<String>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nConnection: close\r\n\
        Content-Length: {}\r\n\r\n{line}",
        line.len()
    );
    // Nobody counts any more at the end of a test.
    let _ = told.send(head.clone());
    stream.write_all(answer.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

#[test]
fn whoever_does_not_know_the_token_gets_nothing() {
    let origin = Server::start(|_| Reply::ok("hello"));
    let proxied = proxied("");
    let url = origin.url("/a");
    let host = origin.address();
    for credentials in
        ["", "Proxy-Authorization: Basic cmV3YXJtOndyb25n\r\n", "Authorization: Basic x\r\n"]
    {
        let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{credentials}\r\n");
        let answer = proxied.proxy.ask(&request);
        assert_eq!(answer.status, 407);
        assert_eq!(answer.header("proxy-authenticate"), Some("Basic realm=\"rewarm\""));
        let mut connection = proxied.proxy.connect();
        connection.send(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{credentials}\r\n"));
        let answer = connection.answer("GET");
        assert_eq!((answer.status, answer.header("connection")), (407, Some("close")));
        assert!(connection.is_closed());
    }
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn a_whole_url_is_answered_through_the_cache() {
    let origin = Server::start(|_| Reply::ok("hello").header("cache-control", "max-age=600"));
    let proxied = proxied("");
    let request =
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.url("/a"), origin.address());
    for _ in 0..2 {
        let answer = proxied.proxy.ask(&proxied.authorized(&request));
        assert_eq!((answer.status, answer.text()), (200, "hello".to_owned()));
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), 1);
    for name in ["proxy-authorization", "forwarded", "x-forwarded-for"] {
        assert_eq!(seen[0].header(name), None, "{name}");
    }
    let answer = proxied.proxy.ask(&proxied.authorized("GET /a HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_eq!(answer.status, 400);
}

#[test]
fn a_tunnel_ends_in_the_proxy_and_goes_through_the_cache() {
    let origin = secure_origin();
    let proxied = proxied(&origin.pem);
    let authority = &origin.authority;
    let request = format!("GET /a?b HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let first = proxied.secure(authority, &request);
    assert!(first.starts_with("HTTP/1.1 200") && first.ends_with("GET /a?b HTTP/1.1"), "{first}");
    let second = proxied.secure(authority, &request);
    assert!(second.contains("cache-status: rewarm; hit"), "{second}");
    assert!(origin.seen.recv().is_ok_and(|head| head.contains(&format!("host: {authority}"))));
    assert!(origin.seen.try_recv().is_err(), "it was asked once only");
}

#[test]
fn a_tunnel_leads_nowhere_else() {
    let origin = secure_origin();
    let proxied = proxied(&origin.pem);
    let request = "GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    let answer = proxied.secure(&origin.authority, request);
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    let host = &origin.authority;
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    );
    let answer = proxied.secure(&origin.authority, &upgrade);
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
    assert!(origin.seen.try_recv().is_err());
}

#[test]
fn an_origin_that_is_not_trusted_is_a_bad_gateway_with_the_reason() {
    let (origin, other) = (secure_origin(), secure_origin());
    let proxied = proxied(&other.pem);
    let host = &origin.authority;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = proxied.secure(host, &request);
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("certificate"), "{answer}");
}

#[test]
fn what_is_no_tls_is_refused_in_clear_text() {
    let proxied = proxied("");
    let (mut connection, granted) = proxied.tunnel("127.0.0.1:9");
    assert_eq!(granted.status, 200);
    connection.send("GET / HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n");
    let answer = connection.answer("GET");
    assert_eq!(answer.status, 501);
    assert!(answer.text().contains("only TLS"), "{answer:?}");
}

#[test]
fn requests_in_a_tunnel_are_read_as_strictly_as_others() {
    let origin = secure_origin();
    let proxied = proxied(&origin.pem);
    let host = &origin.authority;
    let both = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    let answer = proxied.secure(host, &both);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(origin.seen.try_recv().is_err());
}

#[test]
fn an_unfinished_handshake_ends_when_the_proxy_stops() {
    let mut proxied = proxied("");
    let (connection, granted) = proxied.tunnel("127.0.0.1:9");
    assert_eq!(granted.status, 200);
    drop(BufReader::new(connection.stream));
    proxied.proxy.stop();
    proxied.proxy.join();
}
