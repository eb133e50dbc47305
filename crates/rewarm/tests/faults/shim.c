/*
 * Makes the file system fail on request, in a process that has this library preloaded.
 *
 * Every call that writes is counted if it is about a path below one of FAULT_ROOTS (separated by
 * colons), and told in a line of the file FAULT_LOG. From call number FAULT_AT on, FAULT_MODE says
 * what happens: "once" that call fails, "on" it and all later ones fail, "torn" as "on", but a
 * write does half of its work first, "kill" the process is killed in the middle of the call. What
 * fails, fails with FAULT_ERRNO. Calls that a program makes without the C library are not seen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum mode { ONCE, ON, TORN, KILL };

static const char *roots;
static long at;
static int error;
static enum mode mode;
static int log_fd = -1;
static long count;

__attribute__((constructor)) static void start(void)
{
	const char *text = getenv("FAULT_MODE");
	roots = getenv("FAULT_ROOTS");
	at = getenv("FAULT_AT") ? atol(getenv("FAULT_AT")) : 0;
	error = getenv("FAULT_ERRNO") ? atoi(getenv("FAULT_ERRNO")) : EIO;
	if (text)
		mode = !strcmp(text, "on") ? ON : !strcmp(text, "torn") ? TORN
		     : !strcmp(text, "kill") ? KILL : ONCE;
	if (getenv("FAULT_LOG"))
		log_fd = syscall(SYS_openat, AT_FDCWD, getenv("FAULT_LOG"),
				 O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is_below(const char *path)
{
	const char *root = roots;
	while (root && *root) {
		size_t length = strcspn(root, ":");
		if (length && !strncmp(path, root, length) &&
		    (path[length] == '/' || path[length] == 0))
			return 1;
		root += length + (root[length] == ':');
	}
	return 0;
}

/* 0: go on; 1: do half of it and then fail or die; 2: fail. Dies where there are no halves. */
static int fate(const char *call, const char *path, int has_halves)
{
	char line[PATH_MAX + 64];
	long number;
	int length;
	if (!is_below(path))
		return 0;
	number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
	length = snprintf(line, sizeof line, "%ld %s %s\n", number, call, path);
	if (log_fd >= 0)
		syscall(SYS_write, log_fd, line, length);
	if (!at || number < at || (mode == ONCE && number > at))
		return 0;
	if (number == at && has_halves && (mode == TORN || mode == KILL))
		return 1;
	if (mode == KILL)
		syscall(SYS_kill, getpid(), SIGKILL);
	errno = error;
	return 2;
}

static int fate_of_path(const char *call, int dir, const char *path)
{
	char whole[PATH_MAX], base[PATH_MAX];
	if (path[0] == '/')
		return fate(call, path, 0);
	if (dir == AT_FDCWD) {
		if (!getcwd(base, sizeof base))
			return 0;
	} else {
		char link[64];
		ssize_t length;
		snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
		length = readlink(link, base, sizeof base - 1);
		if (length < 0)
			return 0;
		base[length] = 0;
	}
	if (snprintf(whole, sizeof whole, "%s/%s", base, path) >= (int)sizeof whole)
		return 0;
	return fate(call, whole, 0);
}

static int fate_of_file(const char *call, int fd, int has_halves)
{
	int before = errno, result;
	char link[64], path[PATH_MAX];
	ssize_t length;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	errno = before;
	if (length < 0)
		return 0;
	path[length] = 0;
	result = fate(call, path, has_halves);
	return result;
}

static void die_if_told(void)
{
	if (mode == KILL)
		syscall(SYS_kill, getpid(), SIGKILL);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	switch (fate_of_file("write", fd, size > 1)) {
	case 1: {
		ssize_t done = syscall(SYS_write, fd, bytes, size / 2);
		die_if_told();
		return done;
	}
	case 2: return -1;
	}
	return syscall(SYS_write, fd, bytes, size);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
	switch (fate_of_file("pwrite", fd, size > 1)) {
	case 1: {
		ssize_t done = syscall(SYS_pwrite64, fd, bytes, size / 2, offset);
		die_if_told();
		return done;
	}
	case 2: return -1;
	}
	return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	return pwrite64(fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *pieces, int number)
{
	int is_many = number > 0 && pieces[0].iov_len > 1;
	switch (fate_of_file("writev", fd, is_many)) {
	case 1: {
		ssize_t done = syscall(SYS_write, fd, pieces[0].iov_base, pieces[0].iov_len / 2);
		die_if_told();
		return done;
	}
	case 2: return -1;
	}
	return syscall(SYS_writev, fd, pieces, number);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
	if (fate_of_file("copy_file_range", out, 0))
		return -1;
	return syscall(SYS_copy_file_range, in, in_at, out, out_at, size, flags);
}

ssize_t sendfile64(int out, int in, off64_t *at_offset, size_t size)
{
	if (fate_of_file("sendfile", out, 0))
		return -1;
	return syscall(SYS_sendfile, out, in, at_offset, size);
}

ssize_t sendfile(int out, int in, off_t *at_offset, size_t size)
{
	return sendfile64(out, in, at_offset, size);
}

int ftruncate64(int fd, off64_t size)
{
	return fate_of_file("ftruncate", fd, 0) ? -1 : syscall(SYS_ftruncate, fd, size);
}

int ftruncate(int fd, off_t size)
{
	return ftruncate64(fd, size);
}

int fallocate64(int fd, int how, off64_t from, off64_t size)
{
	return fate_of_file("fallocate", fd, 0) ? -1 : syscall(SYS_fallocate, fd, how, from, size);
}

int fallocate(int fd, int how, off_t from, off_t size)
{
	return fallocate64(fd, how, from, size);
}

int fsync(int fd)
{
	return fate_of_file("fsync", fd, 0) ? -1 : syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	return fate_of_file("fdatasync", fd, 0) ? -1 : syscall(SYS_fdatasync, fd);
}

int futimens(int fd, const struct timespec times[2])
{
	return fate_of_file("futimens", fd, 0) ? -1 : syscall(SYS_utimensat, fd, NULL, times, 0);
}

int fchmod(int fd, mode_t bits)
{
	return fate_of_file("fchmod", fd, 0) ? -1 : syscall(SYS_fchmod, fd, bits);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	if (fate_of_path("rename", to_dir, to))
		return -1;
	return syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	if (fate_of_path("link", to_dir, to))
		return -1;
	return syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int mkdirat(int dir, const char *path, mode_t bits)
{
	return fate_of_path("mkdir", dir, path) ? -1 : syscall(SYS_mkdirat, dir, path, bits);
}

int mkdir(const char *path, mode_t bits)
{
	return mkdirat(AT_FDCWD, path, bits);
}

int unlinkat(int dir, const char *path, int flags)
{
	return fate_of_path("unlink", dir, path) ? -1 : syscall(SYS_unlinkat, dir, path, flags);
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

static int open_any(int dir, const char *path, int flags, mode_t bits)
{
	if ((flags & (O_CREAT | __O_TMPFILE)) && fate_of_path("create", dir, path))
		return -1;
	return syscall(SYS_openat, dir, path, flags, bits);
}

#define BITS(flags) \
	mode_t bits = 0; \
	if ((flags) & (O_CREAT | __O_TMPFILE)) { \
		va_list rest; \
		va_start(rest, flags); \
		bits = va_arg(rest, mode_t); \
		va_end(rest); \
	}

int open(const char *path, int flags, ...)
{
	BITS(flags)
	return open_any(AT_FDCWD, path, flags, bits);
}

int open64(const char *path, int flags, ...)
{
	BITS(flags)
	return open_any(AT_FDCWD, path, flags | O_LARGEFILE, bits);
}

int openat(int dir, const char *path, int flags, ...)
{
	BITS(flags)
	return open_any(dir, path, flags, bits);
}

int openat64(int dir, const char *path, int flags, ...)
{
	BITS(flags)
	return open_any(dir, path, flags | O_LARGEFILE, bits);
}
