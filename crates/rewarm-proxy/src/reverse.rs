//! A reverse proxy's idea of a request: every path stands for one below the origin's.

use http::Uri;
use rewarm_http::{ParseUrlError, Url};

/// The URL at the origin that a request's target stands for. Dot segments are resolved before the
/// paths are joined, so that none leads above the origin's path.
pub(crate) fn target(upstream: &Url, target: &Uri) -> Result<Url, ParseUrlError> {
    let asked = target.path_and_query().map_or("/", |asked| asked.as_str());
    let alone = Url::parse("http://localhost/")?.join(&format!("http://localhost{asked}"))?;
    let rest = alone.as_wire().strip_prefix("http://localhost").unwrap_or("/");
    let base = upstream.as_wire().split(['?', '#']).next().unwrap_or_default();
    let base = base.strip_suffix('/').unwrap_or(base);
    // Joined, not parsed, so that the user information of the upstream goes along.
    upstream.join(&format!("{base}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(upstream: &str, asked: &str) -> String {
        let url = Url::parse(upstream).expect("a URL");
        let asked = asked.parse().expect("a target");
        target(&url, &asked).expect("a URL").as_wire().to_owned()
    }

    #[test]
    fn paths_are_appended() {
        assert_eq!(joined("http://h", "/a?b"), "http://h/a?b");
        assert_eq!(joined("http://h/base/", "/a"), "http://h/base/a");
        assert_eq!(joined("http://h:8/base", "/"), "http://h:8/base/");
        assert_eq!(joined("http://h/", "//x/y"), "http://h//x/y");
    }

    #[test]
    fn no_path_leads_out_of_the_upstreams() {
        for path in ["/../x", "/%2e%2e/x", "/a/../../x", "/.%2E/%2e./x"] {
            assert_eq!(joined("http://h/base/", path), "http://h/base/x", "{path}");
        }
    }

    #[test]
    fn the_target_of_another_host_is_only_a_path() {
        assert_eq!(joined("http://h/", "http://other/x"), "http://h/x");
    }
}
