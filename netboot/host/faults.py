"""Faults of this program in its event loop: each is told, and none ends a service."""

import asyncio
import logging
import traceback
from typing import Any

from netboot.host.complaints import Complaints

log = logging.getLogger(__name__)


def tell_faults(loop: asyncio.AbstractEventLoop) -> None:
    """Have ``loop`` log each exception that nobody handles, with the limits of complaints.

    asyncio's own handler has no limit, and a stranger may cause such an exception with each packet.
    """
    complaints = Complaints(log)

    def tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        kind = f"{context['message']} {type(error).__name__}"
        complaints.warn(
            kind,
            "a fault of netboot: %s; report it\n%s",
            context["message"],
            trace,
            level=logging.ERROR,
        )

    loop.set_exception_handler(tell)


def watch(task: "asyncio.Task[Any]") -> None:
    """Have an exception that ends ``task`` told in that moment, and not when the task is freed."""

    def ended(task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            message = f"the task {getattr(task.get_coro(), '__qualname__', '')} has ended"
            context = {"message": message, "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)

    task.add_done_callback(ended)
