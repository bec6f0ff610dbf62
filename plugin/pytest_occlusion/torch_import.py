"""The import of torch, made once and made cheap."""

from __future__ import annotations

import gc
import sys


def import_torch() -> None:
    """Import torch before something else does, without the garbage collector in its way.

    Its modules are some hundred thousand objects that live as long as the process. The collector
    would go through all of them several times while they come in, again whenever many small objects
    are made, and once more at the end of the process: half a second for the import, half a second
    at the end. So it is paused, and leaves alone what is there afterwards: all that the process
    holds by then and not only torch. What is garbage by then is collected before.
    """
    if "torch" in sys.modules:
        return
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        import torch  # noqa: F401

        gc.freeze()
    finally:
        if enabled:
            gc.enable()
