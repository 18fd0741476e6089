"""What there is to run networks on, found out without importing torch: that alone takes seconds."""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
import re
import sys
from functools import cache

from pillow_cwic.errors import CwicError

# Signs of a GPU on Linux: its device node; the same under WSL 2; the driver's list, as nodes may be made on first use.
SIGNS = ("/dev/nvidia[0-9]*", "/dev/dxg", "/proc/driver/nvidia/gpus/*")
_DEVICE = re.compile(r"\d+|(GPU|MIG)-.*")  # what CUDA_VISIBLE_DEVICES may begin with; all else hides every device


@cache
def cuda_present() -> bool:
    """Whether there seems to be a CUDA GPU for this process; never raises, asks once.

    On Linux, nothing of CUDA is called: a process that has called ``cuInit`` cannot use CUDA in children that it forks,
    and ``multiprocessing`` forks there by default before Python 3.14. A GPU counts as present if CUDA_VISIBLE_DEVICES
    does not hide it, the system shows a sign of it, and the driver's library can be loaded. This may be true where CUDA
    does not work after all, as in a container that sees the driver but not the GPU: who then imports torch must still
    ask ``torch.cuda.is_available()``. On Windows, which has no fork, the driver itself is asked. False elsewhere.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not _DEVICE.match(visible.strip()):
        return False
    system: str = sys.platform  # a type checker would take the other branches for dead
    if system.startswith("linux"):
        return any(glob.glob(sign) for sign in SIGNS) and _library("libcuda.so.1") is not None
    if system == "win32":
        return _devices(_library("nvcuda.dll")) > 0
    return False


def torch_installed() -> bool:
    """Whether ``import torch`` would find the package; a mere folder of that name does not count."""
    spec = importlib.util.find_spec("torch")
    return spec is not None and spec.origin is not None


def _library(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _devices(driver: ctypes.CDLL | None) -> int:
    """The number of devices that the driver has for this process, 0 if it fails."""
    count = ctypes.c_int(0)
    try:
        if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (AttributeError, OSError):  # another library of this name; a fault in it
        return 0
    return count.value


def require_torch(what: str) -> None:
    """Raises CwicError, which names ``what`` needs torch and how to get it, if it is not installed."""
    if not torch_installed():
        raise CwicError(f"{what} needs torch, which is not installed: pip install 'pillow_cwic[torch]'")


def choose(wanted: str | None) -> str:
    """The device that transforms run on: the one that is wanted, else a CUDA GPU if torch can use one, else the CPU.

    torch is imported only if there is a GPU or one is asked for. Raises CwicError if it is then not installed, and
    ValueError for a device that is not there or cannot compute the same bits.
    """
    if wanted == "cpu" or (wanted is None and not (cuda_present() and torch_installed())):
        return "cpu"
    if wanted is not None:
        require_torch(f"device {wanted!r}")
    import torch

    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, dtype=torch.float64, device=wanted)
    except (RuntimeError, AssertionError, TypeError) as error:  # as builds without that device, or MPS, raise it
        raise ValueError(f"device: {wanted!r} cannot be used here: {error}") from error
    return wanted
