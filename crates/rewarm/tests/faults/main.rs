//! Faults, injected: what is stored is damaged, the origin lies, the disk fails, processes die.
//!
//! Every case goes the same way (see `harness`) and ends with the same claims: right bytes or a clear
//! error, never a wrong byte, never an entry that stays stuck, never litter that stays. Cases are data;
//! `REWARM_TORTURE_ROUNDS` adds seeds to those that are drawn.

mod damage;
#[cfg(target_os = "linux")]
mod disk;
mod harness;
mod origin;
mod proxied;
#[cfg(target_os = "linux")]
mod proxy_process;
mod surroundings;
