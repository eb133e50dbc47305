//! `rewarm proxy --upstream`: how it starts, what it says, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rewarm_testkit::sandbox::Sandbox;
use rewarm_testkit::server::{Gate, Reply, Server};

use crate::support::sandbox;

struct Running {
    child: Child,
    address: String,
    line: serde_json::Value,
}

impl Running {
    fn start(sandbox: &Sandbox, origin: &Server, args: &[&str]) -> Self {
        Self::of(
            sandbox.command(["--json", "-v", "proxy", "--upstream", &origin.url("/")]).args(args),
        )
    }

    fn of(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be run");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("the proxy says where it is");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let address = line["address"].as_str().expect("an address").to_owned();
        Self { child, address, line }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("the proxy listens")
    }

    fn get(&self, path: &str, fields: &str) -> String {
        let mut stream = self.connect();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).expect("the proxy takes it");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer ends");
        answer
    }

    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// The exit code, and what was said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut text).expect("it is text");
        (self.child.wait().expect("it ends").code(), text)
    }
}

#[test]
fn a_signal_ends_it_after_what_is_under_way() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Server::start(move |_| Reply::generated(100_000).gate_after(100, &held));
    let sandbox = sandbox();
    let proxy = Running::start(&sandbox, &origin, &["--listen", "127.0.0.1:0"]);
    let mut stream = proxy.connect();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").expect("the proxy takes it");
    gate.wait_reached();
    proxy.signal("TERM");
    gate.open();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer ends");
    assert!(answer.len() > 100_000, "{} bytes", answer.len());
    let (code, text) = proxy.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("serving `http://127.0.0.1:"), "{text}");
    assert!(text.contains("/a`: 200, downloaded, 100000 bytes"), "{text}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Server::start(move |seen| match &*seen.path {
        "/held" => Reply::ok("x").gate(&held),
        _ => Reply::status(204, ""),
    });
    let sandbox = sandbox();
    let proxy = Running::start(&sandbox, &origin, &["--listen", "127.0.0.1:0"]);
    let mut idle = proxy.connect();
    idle.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").expect("the proxy takes it");
    let mut first = [0];
    idle.read_exact(&mut first).expect("it is answered");
    let mut stream = proxy.connect();
    stream.write_all(b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n").expect("the proxy takes it");
    gate.wait_reached();
    proxy.signal("INT");
    // The first signal closes what is idle, and two that come as one would be one.
    let _ = idle.read_to_end(&mut Vec::new());
    proxy.signal("INT");
    assert_eq!(proxy.end().0, Some(0));
    gate.open();
}

#[test]
fn an_address_that_is_taken_is_named_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port can be had");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = sandbox().run(["proxy", "--upstream", "http://h/", "--listen", &address]);
    let output = output.expect_code(3);
    assert!(output.stderr.contains(&format!("cannot listen on `{address}`")), "{output}");
    assert!(output.stderr.contains("hint: ") && output.stderr.contains("--listen"), "{output}");
}

#[test]
fn other_machines_need_a_token() {
    let origin = Server::start(|_| Reply::ok("hello"));
    let sandbox = sandbox();
    let proxy = Running::start(&sandbox, &origin, &["--listen", "0.0.0.0:0"]);
    let url = proxy.line["url"].as_str().expect("a URL").to_owned();
    let token = url.split([':', '@']).nth(2).expect("a token").to_owned();
    let place = url.split('@').nth(1).expect("an address").trim_end_matches('/');
    assert!(!place.starts_with("0.0.0.0") && TcpStream::connect(place).is_ok(), "{url}");
    assert!(proxy.get("/a", "").starts_with("HTTP/1.1 401"));
    assert!(proxy.get("/a", "Authorization: Basic cmV3YXJtOng=\r\n").starts_with("HTTP/1.1 401"));
    assert_eq!(origin.seen().len(), 0);
    assert!(proxy.get(&format!("/{token}/a"), "").ends_with("hello"));
    assert_eq!(origin.seen()[0].path, "/a");
    proxy.signal("TERM");
    let (_, text) = proxy.end();
    assert!(text.contains("warning: `0.0.0.0:0` can be reached from other machines"), "{text}");
}

#[test]
fn a_given_token_is_wanted_and_not_repeated() {
    let origin = Server::start(|_| Reply::ok("hello"));
    let sandbox = sandbox();
    let mut command = sandbox.command(["--json", "proxy", "--upstream", &origin.url("/")]);
    command.args(["--listen", "127.0.0.1:0"]).env("REWARM_PROXY_TOKEN", "a-secret-of-some-length");
    let proxy = Running::of(&mut command);
    assert!(proxy.get("/", "").starts_with("HTTP/1.1 401"));
    let credentials = "Authorization: Basic eDphLXNlY3JldC1vZi1zb21lLWxlbmd0aA==\r\n";
    assert!(proxy.get("/", credentials).ends_with("hello"));
    assert_eq!(origin.seen()[0].header("authorization"), None);
    assert!(!proxy.line.to_string().contains("a-secret"), "{}", proxy.line);
    proxy.signal("TERM");
    let (code, text) = proxy.end();
    assert!(code == Some(0) && !text.contains("a-secret"), "{text}");
    let mut short = sandbox.command(["proxy", "--upstream", &origin.url("/")]);
    let output = sandbox.output(short.env("REWARM_PROXY_TOKEN", "short")).expect_code(2);
    assert!(output.stderr.contains("at least 16 characters"), "{output}");
}

#[test]
fn a_shared_cache_keeps_nothing_private() {
    let origin = Server::start(|_| Reply::ok("x").header("cache-control", "private, max-age=600"));
    let sandbox = sandbox();
    for (flags, asked) in [(&["--shared"][..], 2), (&[], 3)] {
        let args = [&["--listen", "127.0.0.1:0"], flags].concat();
        let proxy = Running::start(&sandbox, &origin, &args);
        proxy.get("/", "");
        proxy.get("/", "");
        proxy.signal("TERM");
        let (code, text) = proxy.end();
        assert_eq!((code, origin.seen().len()), (Some(0), asked), "{text}");
    }
}
