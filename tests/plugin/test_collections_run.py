"""Runs on every collection of the field: recall comes out, the manifest's, and nobody is named."""

from __future__ import annotations

import json

import pytest

from tests.corpora.miniatures import WRITERS, write_csv
from tests.plugin.conftest import Project
from tests.plugin.test_privacy import leaks, outputs

SUITE = """
suite = "toy"
corpus = {corpus}
ratios = [0.0, 0.25]
ks = [1, 2]
tolerance = 0
[models.good]
family = "toy"
checkpoint = "good.safetensors"
"""


def _hits(project: Project, name: str) -> dict[str, int]:
    content = json.loads((project.path / "out" / f"{name}.json").read_text())
    return {cell["id"]: cell["hits"] for cell in content["cells"]}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_collection_gives_the_hits_of_a_manifest(
    project: Project,
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Again (by workers where pictures lie in other files), then from a manifest of the same."""
    if kind in ("parquet", "saved_to_disk"):
        pytest.importorskip("pyarrow" if kind == "parquet" else "datasets")
    made = WRITERS[kind](project.path / "corpus")
    for name in ("images", "reports.csv"):
        (project.path / name).rename(project.path / "corpus" / f"toy-{name}")
    (project.path / "out").mkdir()
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    suite = project.path / "suite.toml"
    suite.write_text(SUITE.format(corpus=json.dumps(made.spec)))
    project.checkpoint("good", noise=6.0)
    parallel = ("-n", "2") if kind in ("parquet", "saved_to_disk", "webdataset") else ()
    runs = [
        project.run("-vv", "-rA", "--snapshot-update", *outputs("first"), expect=0),
        project.run("-vv", *parallel, *outputs("second"), expect=0),
    ]
    texts = [run.stdout.str() + run.stderr.str() for run in runs]
    assert made.spec.partition(":")[0] in texts[0]
    assert not [one for one in made.secrets if any(one in text for text in texts)]
    assert leaks(project, made.secrets, temporary) == []

    write_csv(project.path / "corpus" / "same.csv", made.rows)
    same = "manifest:corpus/same.csv?outside=allow&radiograph=radiograph"
    suite.write_text(SUITE.format(corpus=json.dumps(same)))
    project.run("--occlusion-no-store", *outputs("manifest"))
    hits = _hits(project, "first")
    assert _hits(project, "second") == hits == _hits(project, "manifest")
    assert len(set(hits.values())) > 1
