//! Fetches URLs through a cache: `fetch CACHE_DIR URL…`.
//!
//! Prints one line per URL: digest, size, what was reused and why. `/usr/bin/time -v` on it measures
//! the client without anything around it.

use std::path::Path;
use std::time::SystemTime;

use rewarm_http::{Client, ClientConfig, Clock, NO_EVENTS, Request, Url};
use rewarm_store::Store;

#[expect(clippy::disallowed_methods, reason = "an example is its own binary")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: fetch CACHE_DIR URL…")?;
    let dir = Path::new(&dir);
    let config = ClientConfig::new(dir.to_owned());
    let client = Client::new(Store::open(dir)?, config, Clock::new(now));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for text in arguments {
            let request = Request::get(Url::parse(&text)?);
            let fetched = client.fetch(&request, NO_EVENTS).await?;
            let blob = fetched.content.blob();
            println!("{} {} {:?} ({})", blob.digest, blob.size, fetched.reuse, fetched.explanation);
        }
        client.finish().await;
        Ok(())
    })
}
