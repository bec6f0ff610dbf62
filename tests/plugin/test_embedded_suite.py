"""The embedded suite with its trained checkpoint: real numbers, and what new weights do to them."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pytest_occlusion_fixtures

HOME = Path(pytest_occlusion_fixtures.__file__).parent
CHECKPOINT = HOME / "checkpoints" / "cxr-repair"

SUITE = """
suite = "tiny"
[models.tiny]
family = "cxr-repair"
checkpoint = "tiny"
canvas-size = 64
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the module: pictures are drawn once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    shutil.copytree(CHECKPOINT, pytester.path / "tiny")
    (pytester.path / "suite.toml").write_text(SUITE)
    pytester.makepyfile(
        test_recall="def test_recall(occlusion_cell):\n    occlusion_cell.assert_accepted()\n"
    )
    return pytester.path


def run(pytester: pytest.Pytester, store: Path, *args: str) -> pytest.RunResult:
    # A process of its own: dropping and reimporting what open_clip pulls in would abort this one.
    return pytester.runpytest_subprocess(
        *("--occlusion-suite", "suite.toml", "--occlusion-store", str(store)),
        *("-p", "no:cacheprovider", "-q", *args),
    )


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def perturb(folder: Path, share: float, seed: int = 0) -> None:
    """Add noise to a share of all weights, as large as each tensor's own spread times ten."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    (path,) = folder.glob("*.safetensors")
    draw = np.random.default_rng(seed)
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
        tensors = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and tensor.ndim > 1:
            chosen = draw.random(tensor.shape) < share
            noise = draw.normal(0, 10 * float(tensor.astype(np.float64).std()), tensor.shape)
            tensors[name] = np.where(chosen, tensor + noise, tensor).astype(tensor.dtype)
    save_file(tensors, path, metadata)


@pytest.mark.slow
def test_the_embedded_suite(pytester: pytest.Pytester, project: Path, store: Path) -> None:
    """One test, because every run draws and encodes: curve, two workers, red, green again."""
    run(pytester, store, "--occlusion-json", "a.json", "--snapshot-update")
    cells = read(project / "a.json")["cells"]
    assert len(cells) == 48
    multiples = [cell["recall"] / cell["chance"] for cell in cells if cell["k"] == 10]
    assert multiples[0] >= 8
    assert multiples[-1] <= 2
    assert all(later <= earlier * 1.05 for earlier, later in itertools.pairwise(multiples))
    retained = [value / multiples[0] for value in multiples]
    assert all(a - b < 0.4 for a, b in itertools.pairwise(retained))  # no cliff

    some = ("--occlusion-ratios", "0,0.49")
    parallel = ("-n", "2", "--occlusion-no-store", "--occlusion-json", "b.json")
    assert run(pytester, store, *some, *parallel).ret == 0
    measured = ("id", "recall", "hits", "hit_queries", "ci_low", "ci_high", "mrr", "median_rank")
    here = {cell["id"]: [cell[name] for name in measured] for cell in cells}
    for cell in read(project / "b.json")["cells"]:
        assert [cell[name] for name in measured] == here[cell["id"]]

    before = read(project / "baselines" / "tiny" / "tiny.json")
    perturb(project / "tiny", 0.01)
    result = run(pytester, store, *some)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*Recall@* of tiny at * blocked (block) fell beyond the tolerance",
            "*accept: pytest *--occlusion-models tiny --snapshot-update",
            "*baseline * %*",
            "*this run * %*",
            "*flipped *queries lost, * gained; exact McNemar p = *",
            "*weights changed * -> *",
        ]
    )
    (digest,) = {origin["weights"] for origin in before["provenance"].values()}
    assert digest[:8] in result.stdout.str()
    shutil.rmtree(project / "tiny")
    shutil.copytree(CHECKPOINT, project / "tiny")
    assert run(pytester, store).ret == 0
