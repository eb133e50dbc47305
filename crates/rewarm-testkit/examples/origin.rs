//! Serves generated bodies until it is killed: `origin ADDRESS`; `/N` is a body of N bytes.

use rewarm_testkit::server::{Reply, Server};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: origin ADDRESS")?;
    let server =
        Server::bind(&address, |request| match request.path.trim_start_matches('/').parse() {
            Ok(length) => Reply::generated(length)
                .header("cache-control", "max-age=3600")
                .header("etag", &format!("\"{length}\"")),
            Err(_) => Reply::status(404, "a number is wanted"),
        })?;
    println!("{}", server.url("/"));
    loop {
        std::thread::park();
    }
}
