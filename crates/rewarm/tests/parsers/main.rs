//! Property tests of the parsers of bytes from outside. The claims are in `claims`; the bytes here are
//! drawn from what each parser is about, so that many of them are almost right.

#[expect(unreachable_pub, reason = "the fuzz targets are another crate")]
mod claims;
mod seeds;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Text put together from words and arbitrary bytes, behind two arbitrary bytes.
fn text(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let noise = vec(any::<u8>(), 0..4);
    let digits = any::<u64>().prop_map(|number| number.to_string().into_bytes());
    let part = prop_oneof![6 => word, 1 => noise, 1 => digits];
    (vec(any::<u8>(), 2), vec(part, 0..24))
        .prop_map(|(first, parts)| [first, parts.concat()].concat())
}

const DIRECTIVES: &[&str] = &[
    "max-age",
    "s-maxage",
    "no-cache",
    "no-store",
    "private",
    "public",
    "immutable",
    "stale-if-error",
    "stale-while-revalidate",
    "must-revalidate",
    "must-understand",
    "min-fresh",
    "max-stale",
    "only-if-cached",
    "=",
    ",",
    "\"",
    ";",
    " ",
    "\t",
    "\n",
    "1",
    "60",
    "-1",
    "set-cookie",
    "?1",
];

const DATES: &[&str] = &[
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Sun",
    ", ",
    "06",
    "6",
    "31",
    "Feb",
    "Nov",
    "1994",
    "0000",
    "9999",
    "94",
    ":",
    " ",
    "GMT",
    "-",
    "+",
];

const RANGES: &[&str] = &[
    "bytes",
    "bytes=",
    "bytes ",
    "=",
    "-",
    "/",
    "*",
    ",",
    " ",
    "0",
    "1",
    "9",
    "70000",
    "+1",
    "18446744073709551615",
    "18446744073709551616",
    "\n",
    "range: ",
    "if-range: ",
    "if-none-match: ",
    "\"a\"",
    "W/\"a\"",
    "if-modified-since: ",
    "Sun, 06 Nov 1994 08:49:37 GMT",
];

const URLS: &[&str] = &[
    "http://",
    "https://",
    "HTTPS://",
    "example.org",
    "[::1]",
    ":",
    "@",
    "/",
    "//",
    "?",
    "#",
    "..",
    "%2e",
    "%",
    "\\",
    "user",
    "token=",
    "/t/tk-1/",
    ":80",
    ":443",
    " ",
    "\t",
    "xn--",
    "é",
    "&",
    "=",
];

const HEADS: &[&str] = &[
    "GET",
    " ",
    "/",
    "http://h/",
    "*",
    "HTTP/1.1",
    "HTTP/1.0",
    "\r\n",
    "\n",
    "\r",
    "Host: h\r\n",
    ":",
    "Content-Length: 5\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "chunked",
    "Transfer-Encoding : ",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "5;a=b\r\n",
    "POST / HTTP/1.1\r\n",
    "\r\n\r\n",
    "CONNECT h:1 HTTP/1.1\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "hello",
    "\t",
    "Trailer: x\r\n",
];

const PAGES: &[&str] = &[
    "<a href=\"",
    "\">",
    "</a>",
    "<base href='",
    "'>",
    "<!--",
    "-->",
    "<script>",
    "</script>",
    "href",
    "=",
    "https://files.pythonhosted.org/a.whl#sha256=1",
    "https://other.example/x?y",
    "../a",
    "&amp;",
    "<",
    ">",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u0041",
    "\"files\"",
    "\"url\"",
    "\"info\"",
    "\"base_url\"",
    "\"versions\"",
    "\"dist\"",
    "\"tarball\"",
    "\"https://npm.example/a/-/a-1.tgz\"",
    "1",
    "null",
    "{\"files\":[{\"url\":\"https://files.pythonhosted.org/a.whl\"}]}",
    "{\"versions\":{\"1\":{\"dist\":{\"tarball\":\"https://npm.example/a/-/a-1.tgz\"}}}}",
];

/// The same bytes in each run: new ones are for the fuzz targets to find.
fn settings() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x5eed);
    ProptestConfig { cases: 512, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn records_are_what_was_written_or_a_miss(bytes in vec(any::<u8>(), 0..400)) {
        claims::record(&bytes);
    }

    #[test]
    fn cache_control_reads_what_reuses_less(bytes in text(DIRECTIVES)) {
        claims::cache_control(&bytes[2..]);
    }

    #[test]
    fn dates_are_read_as_they_are_written(bytes in text(DATES)) {
        claims::dates(&bytes[2..]);
    }

    #[test]
    fn ranges_lie_within_their_body(bytes in text(RANGES)) {
        claims::ranges(&bytes);
    }

    #[test]
    fn urls_are_read_as_they_are_written_and_hide_passwords(bytes in text(URLS)) {
        claims::url(&bytes[2..]);
    }

    #[test]
    fn guard_does_not_depend_on_how_bytes_are_cut(bytes in text(HEADS)) {
        claims::guard(&bytes);
    }

    #[test]
    fn pages_do_not_depend_on_how_bytes_are_cut(bytes in text(PAGES)) {
        claims::pages(&bytes);
    }
}
