//! Which system calls are looked at, what their arguments mean, and the filter that stops them.
//!
//! Everything that is not in the table passes unseen: it works on what is already open, on memory
//! of the process itself, or on its children, which are watched like it. A call is stopped before
//! it is made, so what it is about to see has not yet been seen. The filter is made of the table.

use nix::libc::{self, c_long};
use seccompiler::{BpfProgram, sock_filter};

use super::HostFact;

/// The arguments that name a file: the directory to start from, if there is one, and the path.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) dir: Option<usize>,
    pub(super) path: usize,
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    /// Opens a file; the flags are the argument with this number.
    Open(At, usize),
    /// Opens a file; a structure has the flags first.
    OpenHow(At, usize),
    /// Asks for a file's presence, kind, or other properties.
    Look(At),
    /// Makes, removes or changes what is there.
    Change(At),
    /// The same, with two names.
    Change2(At, At),
    /// Makes or removes a directory; on what is as wanted it changes nothing.
    Directory(At),
    /// Becomes another program.
    Execute(At),
    /// Reaches out of the process; the argument with the address is the second.
    Connect,
    /// Sends to an address, if the argument with this number is one, or begins with one.
    Send(usize, bool),
    /// Makes a socket; of other families than those within the machine it is stopped.
    Socket,
    /// Asks a clock.
    Clock,
    /// Asks for random numbers.
    Random,
    /// Asks for something that is the same for the whole host.
    Fact(HostFact),
    /// Asks for the directory it is in.
    WorkingDirectory,
    /// Gets an answer that no file holds, and that known programs ask for without using it.
    Harmless(&'static str),
    /// Gets an answer that no file holds.
    Other(&'static str),
}

const fn at(path: usize) -> At {
    At { dir: None, path }
}

const fn from(dir: usize, path: usize) -> At {
    At { dir: Some(dir), path }
}

/// Calls that all architectures have.
const COMMON: &[(c_long, Call)] = &[
    (libc::SYS_openat, Call::Open(from(0, 1), 2)),
    (libc::SYS_openat2, Call::OpenHow(from(0, 1), 2)),
    (libc::SYS_newfstatat, Call::Look(from(0, 1))),
    (libc::SYS_statx, Call::Look(from(0, 1))),
    (libc::SYS_faccessat, Call::Look(from(0, 1))),
    (libc::SYS_faccessat2, Call::Look(from(0, 1))),
    (libc::SYS_readlinkat, Call::Look(from(0, 1))),
    (libc::SYS_statfs, Call::Harmless("statfs")),
    (libc::SYS_getxattr, Call::Look(at(0))),
    (libc::SYS_lgetxattr, Call::Look(at(0))),
    (libc::SYS_listxattr, Call::Look(at(0))),
    (libc::SYS_llistxattr, Call::Look(at(0))),
    (libc::SYS_chdir, Call::Look(at(0))),
    (libc::SYS_execve, Call::Execute(at(0))),
    (libc::SYS_execveat, Call::Execute(from(0, 1))),
    (libc::SYS_mkdirat, Call::Directory(from(0, 1))),
    (libc::SYS_unlinkat, Call::Directory(from(0, 1))),
    (libc::SYS_renameat2, Call::Change2(from(0, 1), from(2, 3))),
    (libc::SYS_linkat, Call::Change2(from(0, 1), from(2, 3))),
    (libc::SYS_symlinkat, Call::Change(from(1, 2))),
    (libc::SYS_mknodat, Call::Change(from(0, 1))),
    (libc::SYS_fchmodat, Call::Change(from(0, 1))),
    (libc::SYS_fchownat, Call::Change(from(0, 1))),
    (libc::SYS_utimensat, Call::Change(from(0, 1))),
    (libc::SYS_truncate, Call::Change(at(0))),
    (libc::SYS_setxattr, Call::Change(at(0))),
    (libc::SYS_lsetxattr, Call::Change(at(0))),
    (libc::SYS_removexattr, Call::Change(at(0))),
    (libc::SYS_lremovexattr, Call::Change(at(0))),
    (libc::SYS_socket, Call::Socket),
    (libc::SYS_connect, Call::Connect),
    (libc::SYS_bind, Call::Other("bind")),
    (libc::SYS_sendto, Call::Send(4, false)),
    (libc::SYS_sendmsg, Call::Send(1, true)),
    (libc::SYS_sendmmsg, Call::Other("sendmmsg")),
    (libc::SYS_clock_gettime, Call::Clock),
    (libc::SYS_gettimeofday, Call::Clock),
    (libc::SYS_getrandom, Call::Random),
    (libc::SYS_uname, Call::Fact(HostFact::System)),
    (libc::SYS_getuid, Call::Fact(HostFact::User)),
    (libc::SYS_geteuid, Call::Fact(HostFact::User)),
    (libc::SYS_getgid, Call::Fact(HostFact::User)),
    (libc::SYS_getegid, Call::Fact(HostFact::User)),
    (libc::SYS_getgroups, Call::Fact(HostFact::User)),
    (libc::SYS_getresuid, Call::Fact(HostFact::User)),
    (libc::SYS_getresgid, Call::Fact(HostFact::User)),
    (libc::SYS_sched_getaffinity, Call::Fact(HostFact::Processors)),
    (libc::SYS_getcwd, Call::WorkingDirectory),
    (libc::SYS_getpid, Call::Harmless("getpid")),
    (libc::SYS_getppid, Call::Harmless("getppid")),
    (libc::SYS_getpgid, Call::Harmless("getpgid")),
    (libc::SYS_getsid, Call::Harmless("getsid")),
    (libc::SYS_sysinfo, Call::Harmless("sysinfo")),
    (libc::SYS_times, Call::Other("times")),
    (libc::SYS_getrusage, Call::Other("getrusage")),
    (libc::SYS_shmget, Call::Other("shmget")),
    (libc::SYS_shmat, Call::Other("shmat")),
    (libc::SYS_msgget, Call::Other("msgget")),
    (libc::SYS_semget, Call::Other("semget")),
    (libc::SYS_mq_open, Call::Other("mq_open")),
    (libc::SYS_io_uring_setup, Call::Other("io_uring_setup")),
    (libc::SYS_ptrace, Call::Other("ptrace")),
    (libc::SYS_process_vm_readv, Call::Other("process_vm_readv")),
    (libc::SYS_pidfd_getfd, Call::Other("pidfd_getfd")),
    (libc::SYS_bpf, Call::Other("bpf")),
    (libc::SYS_perf_event_open, Call::Other("perf_event_open")),
    (libc::SYS_userfaultfd, Call::Other("userfaultfd")),
    (libc::SYS_add_key, Call::Other("add_key")),
    (libc::SYS_request_key, Call::Other("request_key")),
    (libc::SYS_keyctl, Call::Other("keyctl")),
    (libc::SYS_open_by_handle_at, Call::Other("open_by_handle_at")),
    (libc::SYS_name_to_handle_at, Call::Other("name_to_handle_at")),
    (libc::SYS_chroot, Call::Other("chroot")),
    (libc::SYS_pivot_root, Call::Other("pivot_root")),
    (libc::SYS_mount, Call::Other("mount")),
    (libc::SYS_umount2, Call::Other("umount2")),
    (libc::SYS_open_tree, Call::Other("open_tree")),
    (libc::SYS_fsopen, Call::Other("fsopen")),
    (libc::SYS_unshare, Call::Other("unshare")),
    (libc::SYS_setns, Call::Other("setns")),
    (libc::SYS_inotify_init1, Call::Other("inotify_init1")),
    (libc::SYS_fanotify_init, Call::Other("fanotify_init")),
    (libc::SYS_syslog, Call::Other("syslog")),
];

/// Older calls, which only x86-64 still has.
#[cfg(target_arch = "x86_64")]
const OLD: &[(c_long, Call)] = &[
    (libc::SYS_open, Call::Open(at(0), 1)),
    (libc::SYS_creat, Call::Change(at(0))),
    (libc::SYS_stat, Call::Look(at(0))),
    (libc::SYS_lstat, Call::Look(at(0))),
    (libc::SYS_access, Call::Look(at(0))),
    (libc::SYS_readlink, Call::Look(at(0))),
    (libc::SYS_mkdir, Call::Directory(at(0))),
    (libc::SYS_rmdir, Call::Directory(at(0))),
    (libc::SYS_unlink, Call::Directory(at(0))),
    (libc::SYS_rename, Call::Change2(at(0), at(1))),
    (libc::SYS_renameat, Call::Change2(from(0, 1), from(2, 3))),
    (libc::SYS_link, Call::Change2(at(0), at(1))),
    (libc::SYS_symlink, Call::Change(at(1))),
    (libc::SYS_mknod, Call::Change(at(0))),
    (libc::SYS_chmod, Call::Change(at(0))),
    (libc::SYS_chown, Call::Change(at(0))),
    (libc::SYS_lchown, Call::Change(at(0))),
    (libc::SYS_utime, Call::Change(at(0))),
    (libc::SYS_utimes, Call::Change(at(0))),
    (libc::SYS_futimesat, Call::Change(from(0, 1))),
    (libc::SYS_time, Call::Clock),
    (libc::SYS_getpgrp, Call::Harmless("getpgrp")),
    (libc::SYS_ustat, Call::Other("ustat")),
    (libc::SYS_uselib, Call::Other("uselib")),
    (libc::SYS_inotify_init, Call::Other("inotify_init")),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[(c_long, Call)] = &[(libc::SYS_renameat, Call::Change2(from(0, 1), from(2, 3)))];

/// `AUDIT_ARCH_X86_64`, `AUDIT_ARCH_AARCH64`: ELF machine, 64 bits, little-endian.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 62 | 0xc000_0000;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 183 | 0xc000_0000;

/// Calls of the x32 kind have this bit in their number.
const FIRST_FOREIGN: u32 = 0x4000_0000;

/// Marks stops of calls of another architecture; the others carry [`KNOWN`].
pub(super) const FOREIGN: i64 = 2;
/// Marks stops of calls of the table.
pub(super) const KNOWN: i64 = 1;

/// What the call with this number is about.
pub(super) fn call(number: c_long) -> Option<Call> {
    COMMON.iter().chain(OLD).find(|(known, _)| *known == number).map(|(_, call)| *call)
}

const ALLOW: u32 = 0x7fff_0000;
const TRACE: u32 = 0x7ff0_0000;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where `struct seccomp_data` has the number, the architecture, and the low half of an argument.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The filter: each entry is a comparison and a return, in the order of the table.
pub(super) fn filter() -> BpfProgram {
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCH),
        instruction(JUMP_EQUAL, 1, 0, ARCHITECTURE),
        instruction(RETURN, 0, 0, TRACE | FOREIGN as u32),
        instruction(LOAD, 0, 0, NUMBER),
        instruction(JUMP_AT_LEAST, 0, 1, FIRST_FOREIGN),
        instruction(RETURN, 0, 0, TRACE | FOREIGN as u32),
    ];
    for (number, call) in COMMON.iter().chain(OLD) {
        let number = u32::try_from(*number).expect("numbers of calls are small");
        match call {
            // Sockets within the machine lead nowhere before they are connected.
            Call::Socket => program.extend([
                instruction(JUMP_EQUAL, 0, 4, number),
                instruction(LOAD, 0, 0, argument(0)),
                instruction(JUMP_EQUAL, 0, 1, libc::AF_UNIX as u32),
                instruction(RETURN, 0, 0, ALLOW),
                instruction(RETURN, 0, 0, TRACE | KNOWN as u32),
            ]),
            _ => program.extend([
                instruction(JUMP_EQUAL, 0, 1, number),
                instruction(RETURN, 0, 0, TRACE | KNOWN as u32),
            ]),
        }
    }
    // A new namespace may show other files under the same names.
    let clone = u32::try_from(libc::SYS_clone).expect("numbers of calls are small");
    let namespaces = (libc::CLONE_NEWNS | libc::CLONE_NEWUSER | libc::CLONE_NEWNET) as u32;
    program.extend([
        instruction(JUMP_EQUAL, 0, 3, clone),
        instruction(LOAD, 0, 0, argument(0)),
        instruction(JUMP_SET, 0, 1, namespaces),
        instruction(RETURN, 0, 0, TRACE | KNOWN as u32),
        instruction(RETURN, 0, 0, ALLOW),
    ]);
    program
}
