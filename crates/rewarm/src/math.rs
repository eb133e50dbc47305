//! The few functions of C's libm that libraries of ours call, so that no libm is loaded.
//!
//! Loading it costs eight system calls at every start, for code that computes the statistics of a
//! runtime or the width of a bar, or none at all. `docs/decisions/0001-start-up.md` has the figures.
//! Where another function is needed as well, the loader takes libm after all: slower, not wrong.
#![cfg(all(target_os = "linux", target_env = "gnu", not(test)))]
#![expect(unsafe_code, reason = "the linker finds the functions by their names")]

// SAFETY (all of them): C's name, type and meaning, and defined once.

#[unsafe(no_mangle)]
extern "C" fn pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}

#[unsafe(no_mangle)]
extern "C" fn log2(x: f64) -> f64 {
    libm::log2(x)
}

#[unsafe(no_mangle)]
extern "C" fn fmod(x: f64, y: f64) -> f64 {
    libm::fmod(x, y)
}

#[unsafe(no_mangle)]
extern "C" fn fmodf(x: f32, y: f32) -> f32 {
    libm::fmodf(x, y)
}
