"""Run something beside the body of a context, without wrapping what the body raises."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio


def _sole_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def background(*runs: Callable[..., Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Start each ``run(task_status=…)`` in order, wait until ready, and cancel them on leaving.

    A task group wraps every error in an ``ExceptionGroup``; callers of a library expect the error
    itself, so a lone one is unwrapped. A run that fails cancels the body and its error is raised.
    """
    try:
        async with anyio.create_task_group() as tasks:
            for run in runs:
                await tasks.start(run)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _sole_leaf(group) from None
