//! Reading a stopped process: its registers, its memory, its directories.
//!
//! The process is stopped, but its other threads and whoever shares memory with it are not; what
//! is read is what the kernel is about to read unless the program races with itself.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Paths are no longer than this, with their final NUL.
const PATH_MAX: usize = 4096;
const PAGE: usize = 4096;

/// A call that is about to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registers {
    pub(super) call: libc::c_long,
    pub(super) arguments: [u64; 6],
    /// The stack pointer.
    pub(super) stack: u64,
}

/// The registers of a stopped process.
pub(super) fn registers(pid: Pid) -> io::Result<Registers> {
    let of = ptrace::getregs(pid)?;
    #[cfg(target_arch = "x86_64")]
    let registers = Registers {
        call: of.orig_rax.cast_signed(),
        arguments: [of.rdi, of.rsi, of.rdx, of.r10, of.r8, of.r9],
        stack: of.rsp,
    };
    #[cfg(target_arch = "aarch64")]
    let registers = Registers {
        call: of.regs[8].cast_signed(),
        arguments: [of.regs[0], of.regs[1], of.regs[2], of.regs[3], of.regs[4], of.regs[5]],
        stack: of.sp,
    };
    Ok(registers)
}

/// Up to `into.len()` bytes from an address; fewer if the memory ends.
fn read(pid: Pid, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let base = usize::try_from(address).map_err(io::Error::other)?;
    let len = into.len();
    Ok(process_vm_readv(pid, &mut [IoSliceMut::new(into)], &[RemoteIoVec { base, len }])?)
}

/// One word at an address.
pub(super) fn word(pid: Pid, address: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    match read(pid, address, &mut bytes)? {
        8 => Ok(u64::from_ne_bytes(bytes)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The text up to the next NUL, at most as long as a path may be. `None` for no address.
pub(super) fn text(pid: Pid, address: u64) -> io::Result<Option<OsString>> {
    if address == 0 {
        return Ok(None);
    }
    let mut text = Vec::new();
    let mut at = address;
    while text.len() < PATH_MAX {
        // Never across a page in one go: the next one need not be there.
        let room = PAGE - usize::try_from(at % PAGE as u64).map_err(io::Error::other)?;
        let mut bytes = vec![0; room.min(256)];
        let read = read(pid, at, &mut bytes)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.truncate(read);
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&bytes[..end]);
            return Ok(Some(OsString::from_vec(text)));
        }
        text.extend_from_slice(&bytes);
        at += read as u64;
    }
    Ok(Some(OsString::from_vec(text)))
}

/// The directory from which a relative path starts.
pub(super) fn directory(pid: Pid, number: Option<u64>) -> io::Result<PathBuf> {
    // The kernel takes the low half only, as a signed number.
    match number.map(|number| number as u32 as i32) {
        None | Some(libc::AT_FDCWD) => fs::read_link(format!("/proc/{pid}/cwd")),
        Some(number) => fs::read_link(format!("/proc/{pid}/fd/{number}")),
    }
}

/// The program that a process runs.
pub(super) fn program(pid: Pid) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe"))
}

/// The arguments with which it was started.
pub(super) fn arguments(pid: Pid) -> io::Result<Vec<OsString>> {
    let mut bytes = fs::read(format!("/proc/{pid}/cmdline"))?;
    bytes.pop();
    Ok(bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect())
}

/// Hides from a program that is just about to start that the kernel answers some questions without
/// being called, so that reading a clock is a call that the filter stops.
///
/// On its stack lie the count of arguments, the arguments, the variables, each list ended by a
/// zero, and then pairs of a kind and a value; the kind that tells where the kernel's own code
/// lies is made one to be ignored.
pub(super) fn hide_kernel_code(pid: Pid, stack: u64) -> io::Result<()> {
    let mut at = stack + 8 * (word(pid, stack)? + 2);
    let mut buffer = vec![0; PAGE];
    let mut auxiliary = false;
    let mut skip = false;
    loop {
        let read = read(pid, at, &mut buffer)? & !7;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (index, bytes) in buffer[..read].chunks_exact(8).enumerate() {
            let word = u64::from_ne_bytes(bytes.try_into().expect("it is eight bytes"));
            let here = at + 8 * index as u64;
            if !auxiliary {
                auxiliary = word == 0;
            } else if skip {
                skip = false;
            } else if word == libc::AT_NULL {
                return Ok(());
            } else if word == libc::AT_SYSINFO_EHDR {
                let address = std::ptr::without_provenance_mut(
                    usize::try_from(here).map_err(io::Error::other)?,
                );
                let ignored = libc::c_long::try_from(libc::AT_IGNORE).map_err(io::Error::other)?;
                ptrace::write(pid, address, ignored)?;
                return Ok(());
            } else {
                skip = true;
            }
        }
        at += read as u64;
    }
}
