"""What a command sets up for its own process; the library leaves all of it alone."""

from __future__ import annotations

import contextlib
import ctypes
import warnings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def prepare_messages(quiet: bool = True) -> None:
    """Show what the package warns of as plain lines; Pillow's own warnings tell users nothing.

    Args:
        quiet: show warnings only, not what the package reports of its progress.
    """
    from ..console import show_log

    show_log(quiet)
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    warnings.filterwarnings("error", message="Image size .* exceeds limit")  # a bomb: refused


def tune_process(shapes_repeat: bool = True) -> None:
    """Set up this process to compute quickly on a CPU; each command that computes does.

    Args:
        shapes_repeat: whether products have few shapes. Those of a rollout without a bound have
            new ones all the time, for each of which oneDNN would first build a kernel: they stay
            with PyTorch's own.
    """
    _keep_freed_memory()
    if shapes_repeat:
        _multiply_by_onednn()


def _keep_freed_memory() -> None:
    """Keep the memory that is freed, where the C library can be asked to.

    A step frees and takes the same megabytes again. glibc hands them back to the system in between,
    which then clears each page anew: a sixth of the time of a large mini-batch.
    """
    largest = 2**31 - 1
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(option, largest)


def _multiply_by_onednn() -> None:
    """Leave float32 products to oneDNN, where it computes them in float32.

    PyTorch gives them to MKL, which takes twice as long on AMD's CPUs with AVX-512. It asks oneDNN
    only where bfloat16 inside products is permitted, of which oneDNN makes use on CPUs with matrix
    units (AMX) alone. That is not relied on: where a product comes out rounded, the permission is
    withdrawn.
    """
    import torch  # after what a mistake in the options answers at once

    # With a GPU at hand, the permission would cover its products, too, and it would use it.
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or torch.cuda.is_available():
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    # 1 + 2^-12 is a float32, and would be rounded to 1 as a bfloat16.
    finer = torch.full((64, 64), 1 + 2**-12, dtype=torch.float32)
    if not torch.equal(finer @ torch.eye(64, dtype=torch.float32), finer):
        torch.set_float32_matmul_precision(before)
