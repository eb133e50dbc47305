//! An RFC 9111 private cache and the client that fills it.
