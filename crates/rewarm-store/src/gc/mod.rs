//! Sweeping: what leaves a store, why, and how it is taken out while others use it.
//!
//! `plan` decides, as a pure function of a picture of the store; `sweep` carries a plan out and
//! looks at every entry once more before it goes.

mod plan;
mod planner;
mod sweep;

pub use plan::{GcPlan, Limits, Reason, Removal, Target};
pub use sweep::{Count, SweepReport};
