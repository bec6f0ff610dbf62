"""Whatever a run writes, however it ends: no identifier, no file name, no word of a report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpora import mimic
from tests.plugin.conftest import Project

CRASH = """
import os

def test_crash(occlusion_cell):
    result = occlusion_cell.result
    {how}
"""

OUTPUTS = ("json", "csv", "markdown", "html")


def plant(project: Project, kind: str) -> tuple[str, ...]:
    """Point the suite to a corpus full of secrets; gives what must not be found."""
    suite = project.path / "suite.toml"
    text = suite.read_text().replace("[0.0, 0.25, 0.49, 0.81]", "[0.0, 0.25]")
    if kind == "mimic":
        mimic.write_tree(project.path / "corpus")
        suite.write_text(text.replace("manifest:reports.csv", "mimic-cxr:corpus"))
        return tuple(mimic.secrets())
    (project.path / "corpus").mkdir()
    for name in ("images", "reports.csv"):
        (project.path / name).rename(project.path / "corpus" / name)
    suite.write_text(text.replace("reports.csv", "corpus/reports.csv"))
    return ("secret",)


def outputs(name: str) -> list[str]:
    """Options for every kind of result file."""
    files = [("--occlusion-" + kind, f"out/{name}.{kind}") for kind in OUTPUTS]
    return [part for option in (*files, ("--junitxml", f"out/{name}.xml")) for part in option]


def leaks(project: Project, secrets: tuple[str, ...], outside: Path) -> list[tuple[str, str]]:
    """(file, secret) for everything that is found outside the corpus; names of files count too."""
    found = []
    for root in (project.path, outside):
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if name.startswith("corpus") or path.suffix == ".pyc" or not path.is_file():
                continue
            data = path.read_bytes()
            found += [(name, one) for one in secrets if one in name or one.encode() in data]
    return found


@pytest.mark.parametrize("kind", ["manifest", "mimic"])
def test_what_is_planted_is_found_nowhere(
    project: Project,
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets = plant(project, kind)
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    (project.path / "out").mkdir()
    texts = []

    def run(*args: str, expect: int) -> str:
        result = project.run("-vv", "-rA", *args, expect=expect)
        texts.append(result.stdout.str() + result.stderr.str())
        return texts[-1]

    run("--snapshot-update", *outputs("accepted"), expect=0)
    project.checkpoint("good", noise=9.0)
    assert "regressed" in run("-n", "2", *outputs("worse"), expect=1)
    pages = {path.name: path for path in (project.path / "out").iterdir()}
    assert len(pages) == 2 * (len(OUTPUTS) + 1)
    assert all(path.stat().st_size for path in pages.values())

    (project.path / "test_crash.py").write_text(CRASH.format(how="os.abort()"))
    one = ("-k", "good and r25 and k001")
    crashing = ("-n", "2", "--max-worker-restart=0", "-W", "ignore:syrupy")
    # In a process of its own, or what the dying worker prints would not be seen.
    crashed = project.alone("-vv", *crashing, *one, *outputs("crashed"))
    texts.append(crashed.stdout.str() + crashed.stderr.str())
    assert "worker 'gw" in texts[-1]
    assert "Fatal Python error: Aborted" in texts[-1]
    (project.path / "test_crash.py").write_text(CRASH.format(how="raise MemoryError"))
    assert "MemoryError" in run(*one, "--showlocals", *outputs("fault"), expect=1)

    image = next(path for path in (project.path / "corpus").rglob("*.*g") if path.is_file())
    image.write_bytes(b"secret")
    assert "cannot be decoded" in run("--occlusion-no-store", expect=1)
    image.unlink()
    assert "does not exist" in run(expect=4)
    assert not [secret for secret in secrets if any(secret in text for text in texts)]
    assert leaks(project, secrets, temporary) == []
