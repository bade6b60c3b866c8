"""Keeps a surface's failures away from everything else: it runs in a task of its own, and is begun again."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


async def contain(
    name: str,
    run: Callable[[], Coroutine[Any, Any, None]],
    *,
    failed: Callable[[str], None] = lambda text: None,
    again_s: float = 5.0,
) -> None:
    """Run something until it returns by itself, and begin it again whenever it fails; cancelling ends it.

    Args:
        failed: told in one line, for a person.
        again_s: how long to wait before it is begun again; each time twice as long, up to a minute's wait or more.
    """
    wait_s = again_s
    while True:
        task = asyncio.create_task(run(), name=name)
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        log.error("surface.failed", surface=name, exc_info=error)
        failed(f"{name} failed ({type(error).__name__}) and is begun again; trading is not touched")
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, max(60.0, again_s))
