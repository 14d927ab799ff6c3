"""Browser tabs: what each has under way, and the Python session of its tools.

sessions = Sessions()
with sessions.get("alice", tab).work(at_once=2) as stop: ...   # one answer at a time in a tab
sessions.close("alice", tab)                                   # the tab is gone

A tab is known by its caller and gradio's name for it, so that nobody can stop another's answer.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from openqwen.agent.interpreter.session import Interpreter
from openqwen.agent.tools import ToolError
from openqwen.serve.errors import ApiError

IDLE_S = 900.0  # after which a Python session that nobody uses is ended
MAX_INTERPRETERS = 8  # a server's, of up to 1 GB each
MAX_CLIENT_INTERPRETERS = 3


class Session:
    """One tab.

    Attributes:
        client: its caller's name.
        is_busy: whether an answer is under way.
        is_stopped: whether it has been asked to end.
        used_at: when it was last used, on `time.monotonic`'s clock.
    """

    def __init__(self, sessions: "Sessions", client: str) -> None:
        """Begin with nothing."""
        self.client = client
        self.is_busy = self.is_stopped = False
        self.used_at = time.monotonic()
        self._sessions = sessions
        self._on_stop: list[Callable[[], None]] = []
        self._interpreter: Interpreter | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def work(self, at_once: int = 0) -> Iterator[None]:
        """Hold the tab for one answer.

        Args:
            at_once: answers that the caller may have under way; 0 for no bound.

        Raises:
            ApiError: 429 if this tab has one under way, or its caller too many.
        """
        under_way = self._sessions.num_busy(self.client)
        if self.is_busy or (at_once and under_way >= at_once):
            raise ApiError(
                429,
                f"{under_way} answers of {self.client} are under way already",
                type="rate_limit_error",
                code="concurrency_limit_exceeded",
                retry_after_s=1.0,
            )
        self.is_busy, self.is_stopped = True, False
        try:
            yield
        finally:
            self.is_busy, self._on_stop = False, []
            self.used_at = time.monotonic()

    def on_stop(self, call: Callable[[], None]) -> None:
        """Call this when the answer is to be stopped; at once if it already is."""
        self._on_stop.append(call)
        if self.is_stopped:
            call()

    def stop(self) -> None:
        """End the answer under way, if there is one."""
        if self.is_busy:
            self.is_stopped = True
            for call in self._on_stop:
                call()

    @contextlib.contextmanager
    def interpreter(self) -> Iterator[Interpreter]:
        """Lend the tab's Python session; it is started when it is first needed.

        Raises:
            ToolError: if as many sessions are open as may be.
            UserError: if this machine can't isolate programs.
        """
        with self._lock:
            if self._is_closed:
                raise ToolError("the tab is closed")
            if self._interpreter is None:
                self._sessions.check_room(self.client)
                opened = Interpreter()
                opened.__enter__()
                self._interpreter = opened
            self.used_at = time.monotonic()
            try:
                yield self._interpreter
            finally:
                self.used_at = time.monotonic()

    @property
    def has_interpreter(self) -> bool:
        """Return whether a Python session is open."""
        return self._interpreter is not None

    def interrupt_interpreter(self) -> None:
        """End the program that runs in the Python session; its variables go with it."""
        opened = self._interpreter
        if opened is not None:
            opened.kill()

    def end_interpreter(self) -> None:
        """End the Python session, also in the middle of a call, for good."""
        self._is_closed = True
        self.interrupt_interpreter()
        with self._lock:  # its connections belong to the thread that calls
            opened, self._interpreter = self._interpreter, None
            if opened is not None:
                opened.close()


class Sessions:
    """All tabs of a server."""

    def __init__(self) -> None:
        """Begin with none."""
        self._sessions: dict[tuple[str, str], Session] = {}

    def get(self, client: str, tab: str) -> Session:
        """Return a caller's tab, a new one if it is unknown."""
        return self._sessions.setdefault((client, tab), Session(self, client))

    def num_busy(self, client: str) -> int:
        """Return how many answers of a caller are under way."""
        return sum(s.is_busy for s in self._sessions.values() if s.client == client)

    def check_room(self, client: str) -> None:
        """Raise ToolError if no further Python session may be opened."""
        owners = [s.client for s in list(self._sessions.values()) if s.has_interpreter]
        if len(owners) >= MAX_INTERPRETERS or owners.count(client) >= MAX_CLIENT_INTERPRETERS:
            raise ToolError(f"{len(owners)} Python sessions are open, no further one may be")

    def close(self, client: str, tab: str) -> None:
        """Forget a tab: its answer stops, its Python session ends."""
        session = self._sessions.pop((client, tab), None)
        if session is not None:
            _close(session)

    def sweep(self, now: float) -> None:
        """Forget tabs that have done nothing for a long time."""
        for key, session in list(self._sessions.items()):
            if not session.is_busy and now - session.used_at > IDLE_S:
                self._sessions.pop(key, None)
                _close(session)

    def close_all(self) -> None:
        """Forget all tabs."""
        for key in list(self._sessions):
            self.close(*key)


def _close(session: Session) -> None:
    session.stop()
    # ending a kernel takes a moment, and this is called where nobody may wait
    threading.Thread(target=session.end_interpreter, name="end of a tab").start()
