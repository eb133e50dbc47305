//! Four cold clients of one large file at the same time, through a caching proxy and without one:
//! how often the origin is asked, and when each client has its first byte.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rewarm_testkit::server::{Reply, Server};

use super::daemon::{Daemon, Program};
use crate::bench::Bench;
use crate::bench::chart::Chart;
use crate::bench::table::{Table, mebibytes, time};
use crate::steps::Result;

const PATH: &str = "/file.bin";
const CLIENTS: usize = 4;

/// When one client had its first byte and its last.
#[derive(Debug, Clone, Copy)]
struct Times {
    first: Duration,
    last: Duration,
    bytes: u64,
}

/// One line of the table.
struct Line {
    name: String,
    times: Vec<Times>,
    sent: u64,
    requests: usize,
    /// Peak memory, processor time and bytes written of the proxy.
    daemon: Option<crate::measure::Cost>,
}

pub(super) fn run(bench: &Bench, size: usize) -> Result<Table> {
    let size = size as u64;
    let mut lines = Vec::new();
    for program in Program::ALL {
        if program.is_installed() {
            println!("{CLIENTS} clients through {}", program.name());
            lines.push(through(program, bench, size)?);
        } else {
            println!("{} is not installed: left out", program.name());
        }
    }
    lines.push(processes(bench, size)?);
    let title = format!("{CLIENTS} cold clients of {} MB at once", size / 1_000_000);
    let mut table = Table::new(
        &title,
        &[
            "through",
            "first byte, first",
            "first byte, last",
            "all done",
            "origin requests",
            "from origin",
            "proxy: CPU",
            "proxy: peak memory",
            "proxy: bytes written",
        ],
    );
    for line in &lines {
        table.row(line.cells(size));
    }
    table.note(
        "the origin counts; nginx with `proxy_cache_lock`, Squid with `collapsed_forwarding`; \
         first bytes are of the body, counted from the start of the request",
    );
    table.chart(chart(&lines, &title, size));
    Ok(table)
}

fn chart(lines: &[Line], title: &str, size: u64) -> Chart {
    let bars = |of: &dyn Fn(&Line) -> f64| {
        lines.iter().map(|line| (line.name.replace('`', ""), of(line))).collect()
    };
    Chart::new("clients", title)
        .panel("first byte of the last client, s", bars(&|line| line.last_first().as_secs_f64()))
        .panel("bytes from the origin, x body", bars(&|line| line.sent as f64 / size as f64))
}

impl Line {
    fn last_first(&self) -> Duration {
        self.times.iter().map(|times| times.first).max().unwrap_or_default()
    }

    fn cells(&self, size: u64) -> Vec<String> {
        let first = self.times.iter().map(|times| times.first).min().unwrap_or_default();
        let last = self.times.iter().map(|times| times.last).max().unwrap_or_default();
        let daemon = |of: &dyn Fn(&crate::measure::Cost) -> String| {
            self.daemon.as_ref().map_or("-".to_owned(), of)
        };
        vec![
            self.name.clone(),
            time(first),
            time(self.last_first()),
            time(last),
            self.requests.to_string(),
            format!("{:.2} x", self.sent as f64 / size as f64),
            daemon(&|cost| time(cost.cpu)),
            daemon(&|cost| mebibytes(cost.peak)),
            daemon(&|cost| format!("{:.2} x", cost.written as f64 / size as f64)),
        ]
    }
}

fn origin(size: u64) -> Server {
    Server::start(move |_| {
        Reply::generated(size).header("etag", "\"file-1\"").header("cache-control", "max-age=600")
    })
}

fn through(program: Program, bench: &Bench, size: u64) -> Result<Line> {
    let server = origin(size);
    let daemon = Daemon::start(program, bench, server.address())?;
    let (address, target) = (daemon.address(), daemon.target(PATH));
    let host = server.address();
    let times = at_once(size, || download(address, &target, host))?;
    Ok(Line {
        name: program.name().to_owned(),
        times,
        sent: server.sent(),
        requests: server.count(PATH),
        daemon: Some(daemon.cost()),
    })
}

/// Without a proxy: four processes that share a store.
fn processes(bench: &Bench, size: u64) -> Result<Line> {
    let server = origin(size);
    let home = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
    let url = server.url(PATH);
    let times = at_once(size, || {
        let mut command = Command::new(&bench.rewarm);
        command.args(["fetch", "-q", "-o", "-", &url]).env("REWARM_CACHE_DIR", home.path());
        command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let times = drain(output, started);
        child.wait()?;
        times
    })?;
    Ok(Line {
        name: format!("{CLIENTS} processes of `rewarm fetch -o -`"),
        times,
        sent: server.sent(),
        requests: server.count(PATH),
        daemon: None,
    })
}

fn at_once(size: u64, client: impl Fn() -> io::Result<Times> + Sync) -> Result<Vec<Times>> {
    let results: Vec<io::Result<Times>> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(&client)).collect();
        started.into_iter().map(|one| one.join().expect("a client does not panic")).collect()
    });
    let times: io::Result<Vec<Times>> = results.into_iter().collect();
    let times = times.map_err(|e| format!("a client failed: {e}"))?;
    match times.iter().find(|times| times.bytes != size) {
        Some(short) => Err(format!("a client got {} bytes of {size}", short.bytes)),
        None => Ok(times),
    }
}

/// One GET; the body is counted and dropped.
fn download(proxy: SocketAddr, target: &str, host: SocketAddr) -> io::Result<Times> {
    let started = Instant::now();
    let mut stream = TcpStream::connect(proxy)?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") || head.contains("transfer-encoding") {
        return Err(io::Error::other(format!("unexpected answer: {head}")));
    }
    drain(stream, started)
}

fn drain(mut input: impl Read, started: Instant) -> io::Result<Times> {
    let mut buffer = vec![0; 256 * 1024];
    let mut times = Times { first: Duration::ZERO, last: Duration::ZERO, bytes: 0 };
    loop {
        let count = input.read(&mut buffer)?;
        if times.bytes == 0 {
            times.first = started.elapsed();
        }
        if count == 0 {
            times.last = started.elapsed();
            return Ok(times);
        }
        times.bytes += count as u64;
    }
}
