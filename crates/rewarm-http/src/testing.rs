//! What the unit tests of this crate share. It is compiled for them only, and fails on what no field
//! could hold.

use http::{HeaderMap, HeaderValue};

/// Fields with these values, in order.
pub(crate) fn header_map<V: AsRef<str>>(fields: &[(&'static str, V)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_str(value.as_ref());
        headers.append(*name, value.expect("a field value"));
    }
    headers
}
