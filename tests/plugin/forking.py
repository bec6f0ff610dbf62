"""Processes of inner runs are forks of one that has imported torch, instead of importing it.

Under ``-n 2`` two processes import it for every run of pytest inside a test, which took longer than
all that these runs do. Nothing of pytest's plugins or of ours is imported before the fork: that is
a process's own, as in one that is new.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import IO, Any

import pytest

PRELOADED = (
    *("filelock", "numpy", "PIL.Image", "pytest", "xml.etree.ElementTree"),
    *("safetensors.numpy", "safetensors.torch", "torch"),
)
"""What every process would import, and none of it pytest's plugins, which it rewrites itself."""

LONGEST = 2**20
"""Bytes of a request; an environment has some thousand."""


class Forked:
    """One fork, as ``execnet`` looks at a process that it started."""

    def __init__(self, address: str, streams: tuple[int, int, int], *args: str) -> None:
        """Ask for it; it lives in this folder and environment.

        Args:
            address: Of the process that forks.
            streams: File descriptors that are its standard input, output and error.
            args: A module and its arguments, as behind ``python -m``; or it does what its input
                says, as a worker of xdist.
        """
        self._alive, theirs = os.pipe()  # nobody else writes: it ends with the fork
        asked = {"folder": str(Path.cwd()), "environment": dict(os.environ), "args": args}
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
            server.connect(address)
            socket.send_fds(server, [json.dumps(asked).encode()], [*streams, theirs])
            self.pid = int(server.recv(64))
        os.close(theirs)
        weakref.finalize(self, os.close, self._alive)
        self.stdin: IO[bytes]
        self.stdout: IO[bytes]

    def wait(self) -> int:
        """Wait until it has ended; its exit status, or 255 if it was killed."""
        told = b""
        while part := os.read(self._alive, 1):
            told += part
        return told[0] if told else 255

    def kill(self) -> None:
        """End it, unless it has ended: its number may be another process's by now."""
        ended, _, _ = select.select([self._alive], [], [], 0)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)


def as_gateways(address: str, patch: pytest.MonkeyPatch) -> None:
    """Let workers that this process starts be forks."""
    from execnet import gateway_io
    from execnet.gateway_base import Popen2IO

    def start(io: Any, args: Any, execmodel: Any) -> None:
        """In place of ``Popen2IOMaster.__init__``."""
        (theirs_in, self_in), (self_out, theirs_out) = os.pipe(), os.pipe()
        io.popen = Forked(address, (theirs_in, theirs_out, 2))
        os.close(theirs_in)
        os.close(theirs_out)
        io.popen.stdin, io.popen.stdout = os.fdopen(self_in, "wb"), os.fdopen(self_out, "rb")
        Popen2IO.__init__(io, io.popen.stdin, io.popen.stdout, execmodel=execmodel)

    patch.setattr(gateway_io.Popen2IOMaster, "__init__", start)


class Forks:
    """The process that forks; it ends when it is closed, or with the one that started it."""

    def __init__(self, folder: Path) -> None:
        """Start it, with a socket in a folder whose path is short."""
        self.address = str(folder / "forks")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
            server.bind(self.address)
            server.listen()
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve({server.fileno()})"],
                pass_fds=[server.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                cwd=tempfile.gettempdir(),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def run(self, *args: str) -> pytest.RunResult:
        """Run a module with its arguments, as ``python -m`` does, in a process of its own."""
        with (
            Path(os.devnull).open() as nothing,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            streams = (nothing.fileno(), out.fileno(), err.fileno())
            code = Forked(self.address, streams, *args).wait()
            told, errors = (_lines(stream) for stream in (out, err))
        return pytest.RunResult(code, told, errors, 0.0)

    def close(self) -> None:
        """End the process that forks; forks end by themselves."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _lines(stream: IO[bytes]) -> list[str]:
    """All that was written, and of other ends of lines than these none is taken away."""
    stream.seek(0)
    return stream.read().decode().removesuffix("\n").split("\n")


def serve(number: int) -> None:
    """Fork whenever it is asked for, until whoever started this has ended."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page of what it shares
    path = [*sys.path]
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(fileno=number) as server:
        as_gateways(server.getsockname(), pytest.MonkeyPatch())
        while 0 not in select.select([0, number], [], [])[0]:
            client, _ = server.accept()
            with client:
                asked, theirs, _, _ = socket.recv_fds(client, LONGEST, 4)
                pid = os.fork()
                if not pid:
                    server.close()
                    client.close()
                    _be(json.loads(asked), theirs, path)
                for one in theirs:
                    os.close(one)
                client.send(str(pid).encode())


def _reap(*_: object) -> None:
    """Take leave of forks that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _be(asked: dict[str, Any], theirs: list[int], path: list[str]) -> None:
    """What a ``python`` of its own would do."""
    code: Any = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(theirs[number], number)
            os.close(theirs[number])
            stream = os.fdopen(number, "w" if number else "r")
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        os.set_inheritable(theirs[3], False)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        args, own = asked["args"], asked["environment"].get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:] = [asked["folder"] if args else "", *filter(None, own), *path]
        if args:
            sys.argv[:] = args
            runpy.run_module(args[0], run_name="__main__", alter_sys=True)
        else:
            exec(eval(sys.stdin.readline()), {"__name__": "__main__"})  # execnet's own words
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        if asked["args"]:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os.write(theirs[3], bytes([code if isinstance(code, int) else int(code is not None)]))
        os._exit(0)
