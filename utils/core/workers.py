"""Work in worker processes: several groups side by side, each of one process or of some that compute one thing together.

A worker starts in about a tenth of a second, because it is forked from a server process that has imported everything
already and has done nothing else (`multiprocessing`'s forkserver). The processes of a group are one process group of
torch (`utils.core.processes`), as under `accelerate launch`. What they print comes to this process line by line. Workers
end with this process, even if it is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from typing import Any

from utils.core.errors import UserError
from utils.core.io import DISK_FULL
from utils.core.runtime import ROOT, set_threads
from utils.core.terminal import show_any_text

GRACE_SECONDS = 10.0  # for the other processes of a group after one of them has failed
LOCAL = "127.0.0.1"
CHUNK = 65536  # bytes of output read at once


@dataclass(frozen=True)
class Outcome:
    """How the work of a group ended.

    error: a sentence for the user. crash: the traceback of an error in this program. interrupted: the text of the
    KeyboardInterrupt that ended it. All three None: it is done. cpu_seconds: of all its processes. peak_bytes: the
    largest resident memory of one process. used_bytes: how far that rose above the imported program the work began with.
    """

    error: str | None = None
    crash: str | None = None
    interrupted: str | None = None
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    used_bytes: int = 0

    @property
    def is_done(self) -> bool:
        """True if the work ended without any error."""
        return self.error is None and self.crash is None and self.interrupted is None


def supported() -> bool:
    """Whether this system can fork a server process with torch in it. macOS can fork, but its libraries may crash after."""
    return sys.platform.startswith("linux")


def warm_up(modules: Sequence[str]) -> None:
    """Start the server process that workers are forked from; it imports `modules` while this process goes on."""
    if not supported():
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    # The server is a new Python: it must find this package first, and no thread may start in it before it forks.
    wanted = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    with _environment(wanted | {"OMP_NUM_THREADS": "1"}):
        forkserver.ensure_running()


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Environment variables inside the block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass(eq=False)
class Group:
    """`size` processes that run one function. Make it with `start`, and give it to `wait` until it has ended.

    show(line, is_error): called for every line that the processes print, without its end.
    """

    label: str
    show: Callable[[str, bool], None]
    processes: list[Any] = field(default_factory=list)
    _results: list[Connection] = field(default_factory=list)
    _streams: dict[Connection, bytes] = field(default_factory=dict)  # what was read of a line that has not ended
    _errors: set[Connection] = field(default_factory=set)  # the streams that are stderr
    _outcomes: list[Outcome] = field(default_factory=list)
    _store: Any = None  # where the processes of a group meet; it lives as long as the group
    _deadline: float | None = None  # when the rest of a group that has failed is ended

    def interrupt(self) -> None:
        """Send all processes what Ctrl-C sends."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End all processes now."""
        self._signal(signal.SIGKILL)
        for process in self.processes:
            process.join()

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes:
            if process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)


def start(
    label: str, target: Callable[..., None], arguments: Sequence[Any], show: Callable[[str, bool], None], size: int = 1
) -> Group:
    """Start `size` processes of one thread each that call target(*arguments), which must be picklable."""
    context = multiprocessing.get_context("forkserver")
    group = Group(label, show)
    environment = _meeting_place(group, size) if size > 1 else {}
    streams = [context.Pipe(duplex=False) for _ in range(2)]  # (reader, writer) of stdout and of stderr
    for rank in range(size):
        reader, writer = context.Pipe(duplex=False)
        own = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if size > 1 else {}
        process = context.Process(
            target=_work, args=(target, tuple(arguments), own, streams[0][1], streams[1][1], writer), name=f"{label} {rank}"
        )
        process.start()
        writer.close()
        group.processes.append(process)
        group._results.append(reader)
    for reader, writer in streams:
        writer.close()
        group._streams[reader] = b""
    group._errors.add(streams[1][0])
    return group


def _meeting_place(group: Group, size: int) -> dict[str, str]:
    """Environment variables of torch for the processes of a group; their store is in this process, at a free port."""
    from torch.distributed import TCPStore

    group._store = TCPStore(LOCAL, 0, is_master=True, wait_for_workers=False)
    return {
        "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": LOCAL, "MASTER_PORT": str(group._store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0", "ACCELERATE_USE_CPU": "true",
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
    }  # fmt: skip


def wait(groups: Sequence[Group]) -> list[tuple[Group, Outcome]]:
    """Show what the groups print until at least one of them has ended; these, each with its outcome.

    Raises KeyboardInterrupt on Ctrl-C; the groups go on, and `wait` can be called again.
    """
    while True:
        over = [(group, _outcome(group)) for group in groups if _has_ended(group)]
        if over:
            return over
        sources = {source: group for group in groups for source in (*group._results, *group._streams)}
        for source in connection.wait(list(sources), _seconds_left(groups)):
            assert isinstance(source, Connection)
            group = sources[source]
            if source in group._streams:
                _read_lines(group, source)
            else:
                _read_result(group, source)


def _seconds_left(groups: Sequence[Group]) -> float | None:
    """Seconds until the rest of a failed group is ended, None if there is none. Ends those whose time is over."""
    left = None
    for group in groups:
        if group._deadline is not None:
            seconds = group._deadline - time.monotonic()
            if seconds <= 0:
                group._signal(signal.SIGKILL)
                group._deadline = None
            else:
                left = seconds if left is None else min(left, seconds)
    return left


def _has_ended(group: Group) -> bool:
    """Whether every process has given its result or died, and all that they printed is read."""
    return not group._results and not group._streams


def _read_lines(group: Group, stream: Connection) -> None:
    """Show the whole lines that a stream holds; at its end also a last line without an end."""
    data = os.read(stream.fileno(), CHUNK)
    *lines, rest = (group._streams[stream] + data).split(b"\n")
    if not data:
        lines, rest = [line for line in (*lines, rest) if line], b""
        stream.close()
        del group._streams[stream]
    else:
        group._streams[stream] = rest
    for line in lines:
        group.show(line.decode("utf-8", "replace").rstrip("\r"), stream in group._errors)


def _read_result(group: Group, result: Connection) -> None:
    """Take the outcome of one process. After a failure of one process the others have some seconds to end as well."""
    try:
        outcome = result.recv()
    except EOFError:  # it was killed
        outcome = Outcome(error="")
    result.close()
    group._results.remove(result)
    group._outcomes.append(outcome)
    if not outcome.is_done and group._results:  # the others may wait for this one for ever
        group._deadline = time.monotonic() + GRACE_SECONDS


def _outcome(group: Group) -> Outcome:
    """One outcome of all processes: the first that failed with a reason, with the CPU seconds of all and the largest peak."""
    for process in group.processes:
        process.join()
    group._store = None
    failed = [outcome for outcome in group._outcomes if not outcome.is_done]
    reasons = [outcome for outcome in failed if outcome.error != ""]
    chosen = (reasons or failed or [Outcome()])[0]
    error = chosen.error
    if error == "":
        codes = [process.exitcode for process in group.processes if process.exitcode not in (0, None)]
        error = (
            f"{group.label}: its process was ended from outside ({_ending(codes[0] if codes else None)}), often because "
            "the machine has too little memory: close other programs and run the same command again to continue."
        )
    seconds = sum(outcome.cpu_seconds for outcome in group._outcomes)
    peak = max((outcome.peak_bytes for outcome in group._outcomes), default=0)
    used = max((outcome.used_bytes for outcome in group._outcomes), default=0)
    return Outcome(error, chosen.crash, chosen.interrupted, seconds, peak, used)


def _ending(code: int | None) -> str:
    """An exit code in words."""
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


# --- in the worker -------------------------------------------------------------------------------------------------


def _work(
    target: Callable[..., None], arguments: tuple[Any, ...], environment: Mapping[str, str], out: Connection, err: Connection,
    result: Connection,
) -> None:  # fmt: skip
    """The life of a worker: one call of `target`, whose end it reports."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # Ctrl-C on the terminal goes to the parent alone, which passes it on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for stream, place in ((out, 1), (err, 2)):
        os.dup2(stream.fileno(), place)
        stream.close()
    # New objects: those of the server process may know its own output as a file that can be rewound.
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 -- open as long as the process
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    show_any_text()
    os.environ.update(environment)
    set_threads(1)
    outcome = _call(target, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    result.send(outcome)
    result.close()
    os.close(1)
    os.close(2)
    os._exit(0)  # nothing is left to do; other threads, such as those of the process group, must not hold it up


def _end_with_parent() -> None:
    """End this process as soon as the one that started it has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(target: Callable[..., None], arguments: tuple[Any, ...]) -> Outcome:
    """Call `target`; its outcome with what it used."""
    import resource  # not on Windows, where there are no workers

    error = crash = interrupted = None
    start = _peak_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    try:
        target(*arguments)
    except UserError as raised:
        error = str(raised)
    except KeyboardInterrupt as raised:
        interrupted = str(raised)
    except OSError as raised:
        if raised.errno in DISK_FULL:
            place = f" while writing {raised.filename}" if raised.filename else ""
            error = f"The disk is full{place}: free some space and run the same command again."
        else:
            crash = traceback.format_exc()
    except Exception:
        crash = traceback.format_exc()
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = _peak_bytes(used.ru_maxrss)
    return Outcome(error, crash, interrupted, used.ru_utime + used.ru_stime, peak, peak - start)


def _peak_bytes(maxrss: int) -> int:
    """Largest resident memory in bytes: Linux counts it in KiB, macOS in bytes."""
    return maxrss if sys.platform == "darwin" else maxrss * 1024
