"""llama.cpp as a library: C API, log, devices; the only module that imports ``llama_cpp``."""

import ctypes
import os
from functools import cache
from typing import Any

from llama_cpp import _ggml, llama_cpp

llama: Any = llama_cpp
"""The C API; its annotations describe pointers in a way that no type checker can follow."""
STDERR = 2
LOG_DEBUG, LOG_ERROR = 1, 4
"""``ggml_log_level``."""
GPU_KINDS = (1, 2)
"""``ggml_backend_dev_type``: a GPU with memory of its own, and one that shares the machine's."""


class Log:
    """Sends llama.cpp's log to stderr, without the debug lines that every step writes."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._callback = llama.llama_log_callback(self._write)
        llama.llama_log_set(self._callback, None)

    @property
    def reason(self) -> str:
        """The first error, which later ones only pass on."""
        return self.errors[0] if self.errors else "it does not say why"

    def _write(self, level: int, text: bytes, _data: Any) -> None:
        if level == LOG_ERROR:
            self.errors.append(text.decode(errors="replace").strip())
        if level != LOG_DEBUG:
            os.write(STDERR, text)


@cache
def _the_log() -> Log:
    """Return this process's log; llama.cpp keeps a pointer to it for as long as it lives."""
    return Log()


def fresh_log() -> Log:
    """Return the log without the errors of earlier loads."""
    log = _the_log()
    log.errors.clear()
    return log


def supports_offload() -> bool:
    """Return whether this build computes on a GPU."""
    return bool(llama.llama_supports_gpu_offload())


def free_gpu_memory() -> int:
    """Return the free bytes of all GPUs together; 0 without any."""
    library = _ggml.libggml
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    llama.llama_backend_init()
    devices = [
        ctypes.c_void_p(library.ggml_backend_dev_get(ctypes.c_size_t(number)))
        for number in range(library.ggml_backend_dev_count())
    ]
    free, total, count = ctypes.c_size_t(), ctypes.c_size_t(), 0
    for device in devices:
        if library.ggml_backend_dev_type(device) in GPU_KINDS:
            library.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
            count += free.value
    return count
