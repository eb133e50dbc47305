//! Exact replay and safe incremental runs of type checkers.
