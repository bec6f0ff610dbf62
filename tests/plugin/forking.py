"""Workers of inner runs are forks of one process that has imported torch, instead of importing it.

Under ``-n 2`` two processes import it for every run of pytest inside a test, which took longer than
all that these runs do. Nothing of pytest's plugins or of ours is imported before the fork: that is
a worker's own, as in a process that is new.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

PRELOADED = ("numpy", "PIL.Image", "pytest", "safetensors.numpy", "safetensors.torch", "torch")
"""What every worker would import, and none of it pytest's plugins, which it rewrites itself."""

LONGEST = 2**20
"""Bytes of a request; an environment has some thousand."""


class Forked:
    """One fork, as ``execnet`` looks at a process that it started."""

    def __init__(self, server: socket.socket) -> None:
        """Ask for it; it lives in this folder and environment."""
        theirs_in, self_in = os.pipe()
        self_out, theirs_out = os.pipe()
        self._alive, theirs_alive = os.pipe()  # nobody writes: it ends with the fork
        asked = json.dumps({"folder": str(Path.cwd()), "environment": dict(os.environ)}).encode()
        theirs = [theirs_in, theirs_out, theirs_alive, 2]
        socket.send_fds(server, [asked], theirs)
        self.pid = int(server.recv(64))
        for one in theirs[:3]:
            os.close(one)
        weakref.finalize(self, os.close, self._alive)
        self.stdin, self.stdout = os.fdopen(self_in, "wb"), os.fdopen(self_out, "rb")

    def wait(self) -> int:
        """Wait until it has ended."""
        os.read(self._alive, 1)
        return 0

    def kill(self) -> None:
        """End it, unless it has ended: its number may be another process's by now."""
        ended, _, _ = select.select([self._alive], [], [], 0)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)


class Forks:
    """The process that forks, started when the first fork is asked for."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._server: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, io: Any, args: Any, execmodel: Any) -> None:
        """In place of ``Popen2IOMaster.__init__`` of execnet."""
        from execnet.gateway_base import Popen2IO

        if self._server is None:
            self._server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-c",
                        f"from {__name__} import serve; serve({theirs.fileno()})",
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    cwd=tempfile.gettempdir(),
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
        io.popen = Forked(self._server)
        Popen2IO.__init__(io, io.popen.stdin, io.popen.stdout, execmodel=execmodel)

    def close(self) -> None:
        """End the process that forks; forks end by themselves."""
        if self._server is not None and self._process is not None:
            self._server.close()
            self._process.wait()


def serve(number: int) -> None:
    """Fork whenever it is asked for, until nobody can ask any more."""
    for name in PRELOADED:
        importlib.import_module(name)
    path = [*sys.path]
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(fileno=number) as server:
        while True:
            asked, theirs, _, _ = socket.recv_fds(server, LONGEST, 4)
            if not asked:
                return
            pid = os.fork()
            if not pid:
                server.close()
                _be(json.loads(asked), theirs, path)
            for one in theirs:
                os.close(one)
            server.send(str(pid).encode())


def _reap(*_: object) -> None:
    """Take leave of forks that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _be(asked: dict[str, Any], theirs: list[int], path: list[str]) -> None:
    """What ``python -c`` of execnet would do in a process of its own."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, one in zip((0, 1, 2), (theirs[0], theirs[1], theirs[3]), strict=True):
            os.dup2(one, number)
            os.close(one)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.path[:] = ["", *path]
        sys.stdin, sys.stdout = os.fdopen(0, "r"), os.fdopen(1, "w")
        exec(eval(sys.stdin.readline()), {"__name__": "__main__"})  # execnet's own words
        code = 0
    finally:
        os._exit(code)
