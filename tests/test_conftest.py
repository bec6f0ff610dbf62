"""What tests share holds itself."""

from __future__ import annotations

import sys

from _pytest.pytester import SysModulesSnapshot

SEEN: list[bool] = []


class Late:
    """Notes what it cannot import when its module goes."""

    def __del__(self) -> None:
        """As what ends processes does, which waits and imports meanwhile."""
        SEEN.append("io" in sys.modules and "_io" in sys.modules)


def test_modules_are_there_while_others_go() -> None:
    """Pytester's own way empties the table first; see :func:`tests.conftest.restore`."""
    import io

    before = dict(sys.modules)
    snapshot = SysModulesSnapshot(preserve=lambda name: name == "kept")
    sys.modules["late"] = Late()  # type: ignore[assignment]
    sys.modules["kept"] = io
    sys.modules["io"] = sys
    snapshot.restore()
    assert SEEN == [True]
    assert sys.modules.pop("kept") is io
    assert sys.modules == before
