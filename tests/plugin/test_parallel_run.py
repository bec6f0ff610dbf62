"""Workers change nothing: every story is told serially and by workers, and all of it is compared.

What a run is to say is asserted beside, in the modules of what it says; :meth:`Project.both` holds
that workers say, write and keep the same.
"""

from __future__ import annotations

import json

import pytest

from tests.plugin.conftest import Project
from tests.plugin.test_claims_run import CLAIMS
from tests.plugin.test_gate import edit_suite, shift, stored
from tests.plugin.test_map_run import MAP_TEST
from tests.plugin.test_privacy import outputs

FILES = outputs("results")


@pytest.fixture(autouse=True)
def _out(project: Project) -> None:
    (project.path / "out").mkdir()


def test_baselines_from_the_first_to_their_drift(project: Project) -> None:
    told = [project.both("--snapshot-update", "-rs", *FILES, expect=0)]
    timings = json.loads((project.path / "out" / "results.json").read_text())["timings"]
    assert [(one["model"], one["ranked"]) for one in timings] == [("good", 240), ("other", 240)]
    project.checkpoint("good", noise=3.0)
    project.checkpoint("other", noise=3.0)
    told += [project.both("-rs", *FILES, expect=1)]
    part = ("--occlusion-models", "good", "-k", "r25 or r49", "--occlusion-ks", "1")
    told += [project.both("--snapshot-update", *part, expect=0)]
    told += [project.both("--snapshot-update", "--occlusion-calibrate", "2", expect=0)]
    assert "spread" in stored(project)["cells"]["good-block-r25-k001"]
    assert not any("secret" in run.stdout.str() + run.stderr.str() for run in told)


def test_verdicts_and_what_may_have_caused_them(project: Project) -> None:
    edit_suite(project, "tolerance = 1", 'tolerance = 1\nfail-on = "regression"')
    edit_suite(project, "[models.good]", "[models.good]\ntolerance = 4")
    project.accept()
    for ratio in ("00", "25", "49", "81"):  # within the tolerance, but the curve is not
        shift(project, f"good-block-r{ratio}-k001", 3)
    shift(project, "good-block-r25-k005", 5)
    shift(project, "good-block-r49-k005", -5)
    told = project.both("-vv", "--occlusion-show-queries", *FILES, expect=1)
    told.assert_outcomes(failed=2, passed=16)
    told.stdout.fnmatch_lines(["*curve good-block*", "*1 improved*"])

    project.checkpoint("other", noise=3.0)
    project.write_rows(
        [{**row, "report": f"{row['report']} {at}"} for at, row in enumerate(project.rows())]
    )
    edit_suite(project, "0.25, 0.49", "0.3, 0.49")
    edit_suite(project, "tolerance = 1\n", "tolerance = 1\nseed = 5\n")
    edit_suite(project, '"regression"', '"significant-regression"')
    toy = project.path / "toy_family.py"
    toy.write_text(toy.read_text().replace("revision=1", "revision=12"))
    content = stored(project)
    for origin in content["provenance"].values():
        origin["device"] = "cuda (NVIDIA Test)"
        origin["libraries"] = origin["libraries"].replace("torch ", "torch 0.0.")
    project.snapshot().write_text(json.dumps(content))
    told = project.both("--occlusion-precision", "bf16", *FILES, expect=1)
    told.stdout.fnmatch_lines(["*weights changed *", "16 cells: *4 new*"])


def test_what_cannot_be_run_or_is_skipped(project: Project) -> None:
    suite, good = project.path / "suite.toml", project.path / "good.safetensors"
    kept, weights, rows = suite.read_text(), good.read_bytes(), project.rows()
    suite.write_text(kept.replace("reports.csv", "$NOT_SET/x.csv"))
    project.both("--occlusion-allow-missing", "-rs", *FILES, expect=1)
    suite.write_text(kept)
    good.unlink()
    project.both(expect=4)
    project.both("--occlusion-allow-missing", "--snapshot-update", "-rs", *FILES, expect=0)
    good.write_bytes(weights)
    project.write_rows([{**rows[0], "report": " "}, {**rows[1], "image": "gone.png"}, *rows])
    project.both(expect=4)
    project.write_rows(rows)

    project.accept()
    tests = project.path / "test_toy.py"
    kept = tests.read_text()
    tests.write_text(
        "import pytest\n"
        + kept.replace("def test_recall", "@pytest.mark.skip(reason='slow')\ndef test_recall")
    )
    project.both("-rs", expect=1).assert_outcomes(passed=2, skipped=16)
    itself = "import pytest\n" + kept.replace("cell.assert_accepted()", "cell; pytest.skip('slow')")
    tests.write_text(itself.replace("def test_recall", "def test_other") + "\n" + kept)
    project.both("-rs", expect=0).assert_outcomes(passed=18, skipped=16)
    project.snapshot().unlink()
    tests.write_text(kept.replace("    occlusion_cell.", "    assert 0\n    occlusion_cell."))
    project.both("--snapshot-update", "--tb=no", expect=1)
    assert not project.snapshot().exists()


def test_faults_are_told_once(project: Project) -> None:
    project.checkpoint("good", bias=float("nan"))
    project.checkpoint("other", image=0.0, text=0.0, bias=1.0)
    project.both(*FILES, expect=1)
    images = sorted((project.path / "images").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:-40])
    images[1].write_bytes(b"no image at all")
    told = project.run("-n", "2", "-k", "test_recall", expect=1).stdout.str()
    assert "2 radiographs of the corpus 'manifest' cannot be used" in told
    assert "the same in 15 tests more" in told
    assert "secret" not in told
    (project.path / "baselines").write_text("in the way")
    project.both("--snapshot-update", expect=4)


def test_everything_that_can_be_measured(project: Project) -> None:
    """Three workers of two models share out levels; without a store each measures for itself."""
    suite = project.path / "suite.toml"
    text = suite.read_text().replace("[models.good]", '[models.good]\nrole = "cxr-clip"')
    text = text.replace("[models.other]", '[models.other]\nrole = "medclip"')
    text = text.replace("reports.csv", "reports.csv?keep=sex,age")
    suite.write_text(
        'occluders = ["block", "center", "gaussian-noise", "rotation"]\nseverities = [0, 2, 5]\n'
        f'direction = "both"\nmap = 2\ngroup-by = ["sex", "age/20"]\n{text}'
        '[groups]\ngate = ["sex"]\nminimum = 10\n'
    )
    project.write_rows(
        [
            {**row, "sex": "FM"[at // 2 % 2], "age": str(20 + at)}
            for at, row in enumerate(project.rows())
        ]
    )
    group = "\ndef test_group(occlusion_group):\n    occlusion_group.assert_accepted()\n"
    tests = project.path / "test_toy.py"
    tests.write_text(tests.read_text() + group + CLAIMS + MAP_TEST.replace("4, 4", "2, 2"))
    project.both("--snapshot-update", "-rs", *FILES, expect=0)
    first = (project.path / "out" / "results.json").read_text()
    assert all(json.loads(first)[part] for part in ("claims", "corruptions", "groups", "maps"))
    once = ("--occlusion-no-store", "--occlusion-batch-size", "7")
    project.both(*once, *FILES, workers=3, expect=0)
    (project.path / "other.safetensors").unlink()
    project.both("--occlusion-allow-missing", "-rs", *FILES)
