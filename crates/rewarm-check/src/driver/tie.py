def tie():
    """Has this process's group killed when the process that started it is gone, however it went.

    Standard input is a pipe that the starter holds open and never writes to. The kernel reports its end
    by a signal, and can be told which one, and to whom. Without a thread or a handler there is
    nothing that a plugin could see or a fork would lose. Gives the pipe's new descriptor;
    a fork may close its own.
    """
    import fcntl

    pipe = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        fcntl.fcntl(pipe, fcntl.F_SETSIG, 9)
        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
        flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    except (AttributeError, OSError):
        # Not Linux.
        return pipe
    try:
        # It may have gone before.
        os.read(pipe, 1)
        os.killpg(0, 9)
    except BlockingIOError:
        return pipe


