"""Work beside the event loop that may wait for other machines, without an end."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

RETRY_SECONDS = 0.5

Result = TypeVar("Result")


class Chores:
    """Threads that do what they are given, in turn. They end with the process, whatever they wait for."""

    def __init__(self, threads: int) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        self._stopping = False
        for thread in self._threads:
            thread.start()

    def do(
        self, call: Callable[[], Result], retries: Callable[[OSError], bool] = lambda error: False
    ) -> Future[Result]:
        """Call ``call`` in a thread; again while it raises an OSError that ``retries``.

        Other calls are done between two attempts. After ``stop`` there is one attempt.
        """
        done: Future[Result] = Future()

        def attempt() -> None:
            try:
                done.set_result(call())
            except OSError as error:
                if self._stopping or not retries(error):
                    done.set_exception(error)
                    return
                time.sleep(RETRY_SECONDS)
                self._calls.put(attempt)
            except Exception as error:  # noqa: BLE001 - a fault for the caller, not for this thread
                done.set_exception(error)

        self._calls.put(attempt)
        return done

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def stop(self, seconds: float) -> bool:
        """Finish what there is to do; return False if that takes longer than ``seconds``."""
        self._stopping = True
        for _ in self._threads:
            self._calls.put(None)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)
