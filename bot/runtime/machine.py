"""What the machine tells of itself: the memory this process holds, and that of its GPUs.

The trading process has no torch, so GPUs are asked through the driver's own library (NVML), where there is one.

Source: NVML API reference: nvmlInit_v2, nvmlDeviceGetCount_v2, nvmlDeviceGetHandleByIndex_v2, nvmlDeviceGetMemoryInfo.
"""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import msgspec

NVML = "libnvidia-ml.so.1"
_GPUS_MAX = 64


class GpuMemory(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU's memory, in bytes, all processes together."""

    number: int
    used: int
    total: int


class _Memory(ctypes.Structure):
    """NVML's nvmlMemory_t."""

    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def current_memory_bytes() -> int:
    """Return the resident size of this process; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def read_gpu_memory(library: str = NVML) -> tuple[GpuMemory, ...]:
    """Return every GPU's memory; nothing where there is no driver, or it does not answer."""
    try:
        nvml = ctypes.CDLL(library)
        if nvml.nvmlInit_v2() != 0:
            return ()
    except (OSError, AttributeError):
        return ()
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return ()
        found = (_memory_of(nvml, number) for number in range(min(count.value, _GPUS_MAX)))
        return tuple(each for each in found if each is not None)
    finally:
        nvml.nvmlShutdown()


def _memory_of(nvml: ctypes.CDLL, number: int) -> GpuMemory | None:
    handle, memory = ctypes.c_void_p(), _Memory()
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(handle)) != 0:
        return None
    if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0:
        return None
    return GpuMemory(number=number, used=memory.used, total=memory.total)
