"""Becomes a worker: a process that has mypy imported, and forks for each run.

Started as `python -c <this text> --worker KEY SCRIPT SINCE IDLE DIRECTORY NAME`, with the listening
socket DIRECTORY/NAME for its standard input. SINCE is a time before the start of this process in
nanoseconds, IDLE the seconds without a request after which a worker ends.

The starter is the first one in the socket's queue. This process ends with 0 when mypy is imported and
a fork of it is there to serve, and with another code if what was imported may not be what lies
on the disk. The fork waits for the starter's first byte, since only the starter sees whether
the start was silent.

A request is a `+`, its length in four bytes, little-endian, and fields that are each ended by a NUL:
`run`, KEY, SCRATCH, CACHE, DEFAULT, directory, how many arguments, arguments, variables; or
`status`, or `end`. The answer to `run` is `ready KEY GROUP`, or another word if this worker cannot
serve it. With the next `+` the run begins; `done STATUS` has what `wait` gives. A run
ends with its connection.

Nothing of a request is ever seen by the worker itself: a fork of it reads the request, and a fork
of that one is the run.
"""

import gc
import os
import sys
import time


class Worker:
    # In bytes. A worker holds nothing of its runs, so that it does not grow.
    MEMORY = 512 << 20
    # Seconds between two looks at whether it is still wanted.
    TICK = 5
    # Seconds that a client has for its request.
    PATIENCE = 10
    # The longest request, in bytes.
    LONGEST = 16 << 20
    # What a fork that served a run ends with.
    SERVED = 10
    # Code that installed packages run when an interpreter starts, and the variable that it reads.
    SHIM = (
        "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') =="
        " 'local'; enabled and __import__('_distutils_hack').add_shim();"
    )
    SHIM_VARIABLE = b"SETUPTOOLS_USE_DISTUTILS"

    def __init__(self, key, script, since, idle, directory, name):
        self.key, self.script = key, script
        self.since, self.idle = int(since), float(idle)
        self.path = os.path.join(directory, name)
        self.born = time.time()
        self.served = 0
        self.runners = set()
        # Variables that were read before a request could set them; `None` stands for all.
        self.fixed = {self.SHIM_VARIABLE}
        self.changes = {}
        self.seen = {}

    def prepare(self):
        """Imports mypy as a run would. Says whether what was imported is what lies on the disk."""
        self.listener = os.dup(0)
        # As a fresh process has it.
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for name in os.listdir("/proc/self/fd"):
            # What the starter had open for its own purposes would stay open with a worker.
            if int(name) > 2 and int(name) != self.listener:
                try:
                    os.close(int(name))
                except OSError:
                    pass
        with open("/proc/self/environ", "rb") as file:
            given = file.read().split(b"\0")
        self.given = dict(each.split(b"=", 1) for each in given if b"=" in each)
        if self.ran_code():
            self.fixed = None
        sys.argv[:] = [self.script]
        kind = type(os.environ)
        watch_environment(self.on_read)
        import_mypy()
        try:
            import sqlite3.dbapi2
        except ImportError:
            # Then it is not used.
            pass
        os.environ.__class__ = os.environb.__class__ = kind
        found = dict(os.environb)
        for name in set(self.given) | set(found):
            if self.given.get(name) != found.get(name):
                self.changes[name] = found.get(name)
        return self.look_at_everything()

    def on_read(self, name):
        if name == "*":
            self.fixed = None
        elif self.fixed is not None:
            self.fixed.add(os.fsencode(name))

    def sites(self):
        import site

        return site.getsitepackages() + [site.getusersitepackages()]

    def path_files(self):
        for directory in self.sites():
            for name in names_in(directory) or []:
                if name.endswith(".pth"):
                    yield os.path.join(directory, name)

    def ran_code(self):
        """Whether code of others, which may have read any variable, ran at the start."""
        if "sitecustomize" in sys.modules or "usercustomize" in sys.modules:
            return True
        for path in self.path_files():
            with open(path, "rb") as file:
                lines = file.read().decode("utf-8", "surrogateescape").splitlines()
            for line in lines:
                if line.startswith(("import ", "import\t")) and line.strip() != self.SHIM:
                    return True
        return False

    def look_at_everything(self):
        """Notes what the import depended on. Says whether all of it is older than this process."""
        needed = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        with open("/proc/self/maps") as file:
            needed.update(line.rstrip("\n").split(None, 5)[-1] for line in file)
        needed = {path for path in needed if path and os.path.isabs(path)}
        needed = {path for path in needed if not path.startswith(("/dev/", "/memfd:"))} | {sys.executable}
        places = set(sys.path) | set(sys.path_importer_cache) | set(self.sites())
        places.update(self.path_files())
        for directory in (sys.prefix, os.path.dirname(sys.executable)):
            places.add(os.path.join(directory, "pyvenv.cfg"))
        if not all(map(os.path.isabs, places)):
            return False
        for path in needed | places:
            state = state_of(path)
            self.seen[path] = (state, names_in(path))
            if state is None and path in needed:
                return False
            if not self.is_settled(path, state):
                return False
        return True

    def is_settled(self, path, state):
        if state is None or self.is_older(state):
            return True
        names = names_in(path)
        # Python itself adds the directory for its bytecode.
        entries = [os.path.join(path, name) for name in names or []]
        states = [state_of(entry, follow_symlinks=False) for entry in entries]
        return names is not None and all(s is not None and self.is_older(s) for s in states)

    def is_older(self, state):
        changed = state[0]
        # Times lag behind the clock by a tick, or by two seconds where only whole units are kept.
        return changed < self.since - (10_000_000 if changed % 1_000_000 else 2_000_000_000)

    def holds(self):
        """Whether a fresh process would still become what this one is."""
        for path, (state, names) in self.seen.items():
            current = state_of(path)
            if current != state:
                if names is None or names_in(path) != names:
                    return False
                self.seen[path] = (current, names)
        return set(self.path_files()) <= set(self.seen)

    def is_named(self):
        state = state_of(self.path)
        return state is not None and state[3:] == self.place

    def memory(self):
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def is_wanted(self):
        return self.memory() < self.MEMORY and self.is_named() and self.holds()

    def retire(self):
        if self.is_named():
            os.unlink(self.path)
        os._exit(0)

    def detach(self):
        """Leaves the starter's session. Goes on in a fork, which is nobody's child soon."""
        if os.fork():
            os._exit(0)
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)

    def serve(self):
        """Forks for every request. Returns in the process of a run only."""
        import select
        import socket

        listener = socket.socket(fileno=self.listener)
        # From now on this process is the one whose identity clients see.
        listener.listen(16)
        self.place = state_of(self.path)[3:]
        first, _ = listener.accept()
        if first.recv(1) != b"+":
            self.retire()
        gc.collect()
        gc.freeze()
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        last = time.monotonic()
        connection = first
        while True:
            if connection is not None:
                runner = os.fork()
                if runner == 0:
                    listener.close()
                    return self.attend(connection, connection is first)
                connection.close()
                connection = None
                self.runners.add(runner)
            ready = poll.poll(int(1000 * min(self.TICK, self.idle)))
            self.reap()
            if ready or self.runners:
                last = time.monotonic()
            wanted = self.is_wanted()
            if ready:
                connection, _ = listener.accept()
                if not wanted:
                    connection.sendall(b"stale\n")
            if not wanted or time.monotonic() - last >= self.idle:
                self.retire()

    def reap(self):
        for runner in list(self.runners):
            ended, status = os.waitpid(runner, os.WNOHANG)
            if ended:
                self.runners.remove(runner)
                self.served += os.WIFEXITED(status) and os.WEXITSTATUS(status) == self.SERVED

    def attend(self, connection, began=False):
        """Answers one request. Returns in the process of a run only."""
        import socket
        import struct

        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("iii", credentials)[1] != os.geteuid():
            os._exit(1)
        connection.settimeout(self.PATIENCE)
        try:
            fields = self.receive(connection, began)
            if fields[0] == b"status":
                state = (os.getppid(), self.born, self.served, self.memory(), sys.prefix)
                connection.sendall(b"%s\n" % os.fsencode("\0".join(map(str, state))))
            elif fields[0] == b"end":
                self.end()
            elif fields[0] == b"run":
                return self.run(connection, fields[1:])
        except (OSError, ValueError, IndexError):
            pass
        os._exit(0)

    def end(self):
        import signal

        if self.is_named():
            os.unlink(self.path)
        os.kill(os.getppid(), signal.SIGTERM)

    def receive(self, connection, began):
        def exactly(count):
            data = b""
            while len(data) < count:
                more = connection.recv(count - len(data))
                if not more:
                    raise ValueError("the client is gone")
                data += more
            return data

        if not began and exactly(1) != b"+":
            raise ValueError("no request")
        length = int.from_bytes(exactly(4), "little")
        if length > self.LONGEST:
            raise ValueError("too long a request")
        return exactly(length).split(b"\0")[:-1]

    def serves(self, variables):
        """Whether a process with these variables would have become what this one is."""
        names = set(variables) | set(self.given) if self.fixed is None else self.fixed
        return all(variables.get(name) == self.given.get(name) for name in names)

    def run(self, connection, fields):
        """Lets a fork run mypy, and tells how it ended. Returns in that fork only."""
        key, scratch, cache, default, directory, count = fields[:6]
        arguments = fields[6 : 6 + int(count)]
        variables = dict(each.split(b"=", 1) for each in fields[6 + int(count) :])
        if os.fsdecode(key) != self.key or not self.serves(variables):
            connection.sendall(b"other\n")
            os._exit(0)
        os.chdir(directory)
        gate, opener = os.pipe()
        group = os.fork()
        if group == 0:
            connection.close()
            os.close(opener)
            os.setpgid(0, 0)
            if os.read(gate, 1) != b"+":
                os._exit(0)
            os.close(gate)
            self.become_run(variables, [scratch, cache, os.fsencode(self.script), default] + arguments)
            return
        try:
            os.setpgid(group, group)
        except OSError:
            # It has done so itself, and may even have ended.
            pass
        os.close(gate)
        try:
            connection.sendall(b"ready %s %d\n" % (key, group))
            if connection.recv(1) != b"+":
                raise OSError("the client has changed its mind")
            os.write(opener, b"+")
            self.stay_with(connection, group)
        finally:
            os._exit(self.SERVED)

    def stay_with(self, connection, group):
        """Waits until the run ends or the client goes, which ends the run."""
        import select
        import signal

        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        for each in (wake, connection.fileno()):
            poll.register(each, select.POLLIN)
        while True:
            ended, status = os.waitpid(group, os.WNOHANG)
            if ended:
                connection.sendall(b"done %d\n" % status)
                return
            if any(each != wake for each, _ in poll.poll()):
                os.killpg(group, signal.SIGKILL)
                return
            os.read(wake, 512)

    def become_run(self, variables, arguments):
        """Makes this process what a fresh one is before `main`."""
        import importlib

        for number, name in ((1, b"driver.out"), (2, b"driver.err")):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            file = os.open(os.path.join(arguments[0], name), flags, 0o600)
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        for name in sorted(variables):
            os.environb[name] = variables[name]
        for name, value in self.changes.items():
            if value is not None:
                os.environb[name] = value
            else:
                os.environb.pop(name, None)
        importlib.invalidate_caches()
        for finder in list(sys.path_importer_cache.values()):
            # Python has listed each of these while it imported mypy.
            if finder is not None:
                finder.find_spec("rewarm")
        sys.argv[:] = ["-c"] + [os.fsdecode(each) for each in arguments]
        if hasattr(sys, "orig_argv"):
            sys.orig_argv[3:] = sys.argv[1:]


def state_of(path, follow_symlinks=True):
    """What changes with a file: its time of change first, its place in the file system last."""
    try:
        found = os.stat(path, follow_symlinks=follow_symlinks)
    except OSError:
        return None
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def names_in(path):
    """The names in a directory without that of its bytecode; `None` if it is none."""
    try:
        return sorted(set(os.listdir(path)) - {"__pycache__"})
    except OSError:
        return None


def become_worker(arguments):
    """Returns only in a process that is to run `main`."""
    worker = Worker(*arguments)
    if not worker.prepare():
        sys.exit(3)
    worker.detach()
    worker.serve()
