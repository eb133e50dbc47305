//! How the cache handled a request, in the terms of RFC 9211.
//!
//! A [`CacheStatus`] says what was known when the head of the response was handed over. Its text is
//! the parameters of one `Cache-Status` member; the name of the cache before them is the caller's.

use std::fmt;

use http::StatusCode;

/// Why a request went to the origin (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// The cache has no part in such requests.
    Bypass,
    /// The method says so.
    Method,
    /// Nothing is stored for the URL.
    UriMiss,
    /// What is stored is for other values of the fields that `Vary` names.
    VaryMiss,
    /// Nothing stored could be used, for a reason that has no name of its own.
    Miss,
    /// A fresh response was stored, but the request did not accept it.
    Request,
    /// A stored response was stale.
    Stale,
    /// Only a part of what was asked for is stored.
    Partial,
}

impl Forwarded {
    /// The token of section 2.2.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// How the cache handled a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Answered from the store without asking the origin.
    pub hit: bool,
    /// Why the origin was asked.
    pub forwarded: Option<Forwarded>,
    /// What it answered.
    pub forwarded_status: Option<StatusCode>,
    /// Whether its response is being stored.
    pub stored: bool,
    /// Whether this request shares the exchange of another.
    pub collapsed: bool,
    /// Seconds for which the response is still fresh; negative if it is stale.
    pub ttl: Option<i64>,
}

impl CacheStatus {
    /// Answered from the store.
    pub(crate) fn hit(ttl: i64) -> Self {
        Self { hit: true, ttl: Some(ttl), ..Self::default() }
    }

    /// Asked the origin, which answered with this status.
    pub(crate) fn forwarded(why: Forwarded, status: StatusCode) -> Self {
        Self { forwarded: Some(why), forwarded_status: Some(status), ..Self::default() }
    }
}

impl fmt::Display for CacheStatus {
    /// The parameters, in the order of RFC 9211, joined by `; `. Nothing if there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parameters = Vec::new();
        if self.hit {
            parameters.push("hit".to_owned());
        }
        if let Some(why) = self.forwarded {
            parameters.push(format!("fwd={}", why.name()));
        }
        if let Some(status) = self.forwarded_status {
            parameters.push(format!("fwd-status={}", status.as_u16()));
        }
        if let Some(ttl) = self.ttl {
            parameters.push(format!("ttl={ttl}"));
        }
        if self.stored {
            parameters.push("stored".to_owned());
        }
        if self.collapsed {
            parameters.push("collapsed".to_owned());
        }
        f.write_str(&parameters.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9211_2_parameters_in_order() {
        assert_eq!(CacheStatus::hit(-4).to_string(), "hit; ttl=-4");
        let forwarded = CacheStatus {
            stored: true,
            collapsed: true,
            ..CacheStatus::forwarded(Forwarded::VaryMiss, StatusCode::OK)
        };
        let text = "fwd=vary-miss; fwd-status=200; stored; collapsed";
        assert_eq!(forwarded.to_string(), text);
        assert_eq!(CacheStatus::default().to_string(), "");
    }
}
