//! Caching proxies under measurement: each started on a fresh cache in front of the origin, asked
//! what it cost, and stopped.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::measure::Cost;
use crate::steps::Result;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// `rewarm proxy --upstream`.
    Rewarm,
    /// With `proxy_cache_lock`, which makes waiters wait instead of asking the origin.
    Nginx,
    /// With `collapsed_forwarding`.
    Squid,
}

/// A running proxy.
pub(super) struct Daemon {
    program: Program,
    child: Child,
    home: tempfile::TempDir,
    address: SocketAddr,
    origin: SocketAddr,
}

impl Program {
    pub(super) const ALL: [Self; 3] = [Self::Rewarm, Self::Nginx, Self::Squid];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rewarm => "`rewarm proxy`",
            Self::Nginx => "nginx",
            Self::Squid => "Squid",
        }
    }

    /// Whether it can be run here.
    pub(super) fn is_installed(self) -> bool {
        let asked = match self {
            Self::Rewarm => return true,
            Self::Nginx => Command::new("nginx").arg("-v").output(),
            Self::Squid => Command::new("squid").arg("-v").output(),
        };
        asked.is_ok_and(|output| output.status.success())
    }

    fn command(self, bench: &Bench, home: &Path, port: u16, origin: SocketAddr) -> Result<Command> {
        let mut command = match self {
            Self::Rewarm => {
                let mut command = Command::new(&bench.rewarm);
                command.args(["proxy", "--listen", &format!("127.0.0.1:{port}"), "--upstream"]);
                command
                    .arg(format!("http://{origin}/"))
                    .env("REWARM_CACHE_DIR", home.join("cache"));
                command
            }
            Self::Nginx => {
                let mut command = Command::new("nginx");
                command.arg("-c").arg(written(home, "nginx.conf", &nginx(home, port, origin))?);
                command.arg("-e").arg(home.join("error.log"));
                command
            }
            Self::Squid => {
                let config = written(home, "squid.conf", &squid(home, port))?;
                let mut made = Command::new("squid");
                made.args(["-N", "-z", "-f"]).arg(&config);
                made.stdout(Stdio::null()).stderr(Stdio::null());
                made.status().map_err(|e| format!("cannot run squid: {e}"))?;
                let mut command = Command::new("squid");
                command.args(["-N", "-f"]).arg(&config);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env_remove("LD_LIBRARY_PATH");
        Ok(command)
    }
}

fn written(home: &Path, name: &str, text: &str) -> Result<std::path::PathBuf> {
    let path = home.join(name);
    std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    Ok(path)
}

fn nginx(home: &Path, port: u16, origin: SocketAddr) -> String {
    let home = home.display();
    format!(
        "daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {home}/body; proxy_temp_path {home}/temp;
  fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  proxy_cache_path {home}/cache keys_zone=all:10m max_size=20g use_temp_path=off;
  proxy_max_temp_file_size 0;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://{origin}; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_cache all; proxy_cache_lock on; proxy_cache_lock_timeout 1h; proxy_cache_lock_age 1h;
    }}
  }}
}}
"
    )
}

fn squid(home: &Path, port: u16) -> String {
    let home = home.display();
    format!(
        "http_port 127.0.0.1:{port}
http_access allow all
cache_dir ufs {home}/cache 20000 16 256
maximum_object_size 8 GB
maximum_object_size_in_memory 64 KB
cache_mem 8 MB
collapsed_forwarding on
access_log none
cache_log {home}/cache.log
pid_filename {home}/squid.pid
coredump_dir {home}
shutdown_lifetime 0 seconds
"
    )
}

impl Daemon {
    /// Starts one; returns when it listens.
    pub(super) fn start(program: Program, bench: &Bench, origin: SocketAddr) -> Result<Self> {
        let fail = |error: io::Error| format!("cannot start {}: {error}", program.name());
        let home = tempfile::tempdir().map_err(fail)?;
        // nginx and Squid give up root and must still find their files.
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(home.path(), open).map_err(fail)?;
        let port = free_port().map_err(fail)?;
        let mut command = program.command(bench, home.path(), port, origin)?;
        let child = command.spawn().map_err(fail)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut daemon = Self { program, child, home, address, origin };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = daemon.child.try_wait().map_err(fail)?;
            if ended.is_some() || started.elapsed() > Duration::from_secs(20) {
                return Err(format!("{} does not listen on {address}", program.name()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands in the request line: Squid is a forward proxy.
    pub(super) fn target(&self, path: &str) -> String {
        match self.program {
            Program::Squid => format!("http://{}{path}", self.origin),
            _ => path.to_owned(),
        }
    }

    /// What all of its processes cost so far.
    pub(super) fn cost(&self) -> Cost {
        let mut cost =
            Cost { wall: Duration::ZERO, cpu: Duration::ZERO, peak: 0, written: 0, success: true };
        for pid in tree(self.child.id()) {
            let proc = Path::new("/proc").join(pid.to_string());
            let read = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap_or_default();
            cost.cpu += cpu(&read("stat"));
            cost.peak = cost.peak.max(number(&read("status"), "VmHWM:") * 1024);
            cost.written += number(&read("io"), "wchar:");
        }
        cost
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for pid in tree(self.child.id()).into_iter().rev() {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            let _ =
                pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(self.home.path().join("cache"));
    }
}

/// A port that nobody had a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A process and all below it.
fn tree(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        next += 1;
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        all.extend(text.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    all
}

/// User and system time of `/proc/PID/stat`, in ticks of a hundredth of a second.
fn cpu(stat: &str) -> Duration {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|word| word.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// The number behind a name.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}
