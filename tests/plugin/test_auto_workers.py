"""``-n auto``: one worker per GPU if there are any, one for a cluster, else xdist's own number."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch  # noqa: F401 - as in conftest.py
from xdist.plugin import pytest_xdist_auto_num_workers

from pytest_occlusion.encoders import devices

SUITE = """
suite = "mine"
[models.a]
family = "clip"
checkpoint = "a.pt"
"""

OWN: int = pytest_xdist_auto_num_workers(
    SimpleNamespace(option=SimpleNamespace(numprocesses="auto"))
)
MANY = OWN + 2

CONFTEST = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    print("WORKERS", config.option.numprocesses)
    config.option.numprocesses, config.option.tx, config.option.dist = 0, [], "no"
"""


def workers(pytester: pytest.Pytester, *args: str, count: int, pin: str | None = None) -> int:
    """What ``-n auto`` comes to; the workers themselves are not started."""
    pytester.makeconftest(CONFTEST)
    pytester.makefile(".toml", suite=SUITE)
    pytester.makepyfile("def test_nothing(): pass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "visible_gpus", lambda: count)
        patch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
        if pin is not None:
            patch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", pin)
        result = pytester.runpytest("-n", "auto", "-s", "-p", "no:benchmark", *args)
    line = next(line for line in result.outlines if line.startswith("WORKERS"))
    return int(line.split()[1])


SUITE_ARGS = ("--occlusion-suite", "suite.toml")


@pytest.mark.parametrize(("device", "count", "expected"), [
    ("auto", MANY, MANY),
    ("cuda", MANY, MANY),
    ("auto", 1, 1),
    ("cuda:1", MANY, 1),
    ("auto", 0, OWN),
    ("cpu", MANY, OWN),
])  # fmt: skip
def test_one_worker_per_gpu(
    pytester: pytest.Pytester, device: str, count: int, expected: int
) -> None:
    given = (*SUITE_ARGS, "--occlusion-device", device)
    assert workers(pytester, *given, count=count) == expected


def test_the_users_variable_is_the_last_word(pytester: pytest.Pytester) -> None:
    assert workers(pytester, *SUITE_ARGS, count=MANY, pin="3") == 3


def test_other_projects_keep_their_number(pytester: pytest.Pytester) -> None:
    assert workers(pytester, count=MANY) == OWN


# A cluster ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pin", [None, "3"])
def test_one_worker_talks_to_a_cluster(pytester: pytest.Pytester, pin: str | None) -> None:
    given = (*SUITE_ARGS, "--occlusion-engine", "ray")
    assert workers(pytester, *given, count=MANY, pin=pin) == 1


@pytest.mark.parametrize("given", [("-n", "2"), ("--dist", "load", "--tx", "3*popen")])
@pytest.mark.parametrize("by_suite", [True, False])
def test_more_workers_are_refused_before_anything_starts(
    pytester: pytest.Pytester, given: tuple[str, ...], by_suite: bool
) -> None:
    pytester.makefile(".toml", suite='engine = "ray://head:6379"\n' * by_suite + SUITE)
    pytester.makepyfile("def test_nothing(): pass")
    told = () if by_suite else ("--occlusion-engine", "ray://head:6379")
    result = pytester.runpytest(*SUITE_ARGS, *told, *given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            f"ERROR: engine 'ray://head:6379' with {3 if '--tx' in given else 2} workers of xdist: "
            "one process talks to the cluster",
            "  -> use -n 0, -n 1 or -n auto; *--occlusion-engine local",
        ]
    )
    result.stdout.no_fnmatch_line("*passed*")


@pytest.mark.parametrize(
    "given",
    [("-n", "0", "--occlusion-engine", "ray"), ("-n", "1", "--occlusion-engine", "ray"),
     ("-n", "2", "--occlusion-engine", "local")],
)  # fmt: skip
def test_one_worker_and_engines_of_this_machine_are_not(
    pytester: pytest.Pytester, given: tuple[str, ...]
) -> None:
    pytester.makefile(".toml", suite='engine = "ray"\n' + SUITE)
    pytester.makepyfile("def test_nothing(): pass")
    pytester.runpytest(*SUITE_ARGS, *given).assert_outcomes(passed=1)
