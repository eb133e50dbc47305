//! Benchmarks.
pub(crate) fn run(_: &[&str]) -> crate::steps::Result<()> {
    Ok(())
}
