"""Bad input: a clear message with the remedy, before the long work starts."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from tests.plugin.conftest import Project


def refused(project: Project, *args: str, says: list[str]) -> str:
    """Run, expect pytest's usage error (status 4) and the message; nothing may have run."""
    result = project.run(*args, expect=4)
    output = result.stdout.str() + result.stderr.str()
    for text in says:
        assert text in output, output
    assert "Traceback" not in output
    assert "toy encoder opened" not in output
    return output


FAULTS = {
    "ratios": ("0,1.0,-0.1", "holds 1.0, -0.1, outside [0, 1)"),
    "ks": ("0", "holds 0; a k is 1 or more"),
    "severities": ("x", "is not a list of whole numbers: ['x']"),
    "occluders": ("blok", "holds unknown blok; known: block, patches"),
    "fill": ("red", "is 'red'; known: black, white"),
    "models": ("nobody", ": unknown model nobody; the suite 'toy' has good, other"),
    "precision": ("fp8", "is 'fp8'; known: fp32"),
    "batch-size": ("0", "is 0: a positive whole number"),
    "candidates": ("all", "is 'all'; known: texts"),
    "text-rule": ("best", "is 'best'; known:"),
    "direction": ("up", "is 'up'; known:"),
    "seed": ("x", "is not a list of whole numbers: ['x']"),
    "tolerance": ("2.5", "is 2.5: a share of the queries below 1"),
    "map-ratios": ("a", "is not a list of numbers: ['a']; or say all"),
}


def test_all_faults_of_a_command_line_at_once(project: Project) -> None:
    given = [part for name, (text, _) in FAULTS.items() for part in (f"--occlusion-{name}", text)]
    says = [f"--occlusion-{name} {words}" for name, (_, words) in FAULTS.items()]
    output = refused(project, *given, says=[text.replace(" :", ":") for text in says])
    assert output.count("\n  - ") == len(FAULTS)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("ratios", "a", ["--occlusion-ratios is not a list of numbers"]),
        ("suite", "nosuch", ["unknown suite 'nosuch'", "embedded"]),
        ("suite", "no.toml", ["no suite file", "no.toml"]),
        ("corpus", "films:x", ["unknown corpus 'films:x'", "manifest"]),
        ("corpus", "manifest:no.csv", ["no.csv: no such file"]),
        ("ks", "5,61", ["k = 61: there are only 60 candidate texts", "ks up to 60"]),
    ],
)
def test_options(project: Project, name: str, text: str, says: list[str]) -> None:
    refused(project, f"--occlusion-{name}", text, says=says)


def test_an_unknown_device(project: Project) -> None:
    project.run("--occlusion-device", "tpu9", expect=1).stdout.fnmatch_lines(["*device 'tpu9'*"])


def test_faulty_rows_are_listed(project: Project) -> None:
    rows = project.rows()
    rows[1]["image"] = rows[0]["image"]
    rows[2]["report"] = " "
    rows[3]["image"] = "images/gone.png"
    project.write_rows(rows)
    output = refused(
        project,
        says=[
            "row 2: duplicate image, also in row 1",
            "row 3: the report is empty",
            "row 4: its image file does not exist",
        ],
    )
    assert "secret" not in output


def test_an_empty_corpus(project: Project) -> None:
    (project.path / "reports.csv").write_text("image,study_id,report\n")
    refused(project, says=["reports.csv: the table has no rows"])


def test_a_missing_checkpoint(project: Project) -> None:
    (project.path / "good.safetensors").unlink()
    refused(project, says=["1 of 2 models cannot be loaded", "good.safetensors"])


def test_damaged_images_are_all_named_before_anything_is_encoded(project: Project) -> None:
    images = sorted((project.path / "images").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:-40])
    images[1].write_bytes(b"no image at all")
    Image.new("L", (8, 8)).save(images[2], format="JPEG")
    result = project.run("-k", "test_recall", expect=1)
    output = result.stdout.str()
    assert "2 radiographs of the corpus 'manifest' cannot be used" in output
    assert output.count("cannot be decoded") >= 2
    assert "secret" not in output
    assert "the same in 15 tests more" in output


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": float("nan")}, "embeddings are not finite: rows 0, 1, 2"),
        ({"image": 0.0}, "embeddings are zero: rows 0, 1, 2"),
    ],
    ids=["nan", "zero"],
)
def test_worthless_embeddings_are_errors(
    project: Project, changes: dict[str, float], says: str
) -> None:
    project.checkpoint("good", **changes)
    result = project.run("-k", "good", expect=1)
    assert says in result.stdout.str()
    assert "model good at" in result.stdout.str()


def test_a_collapsed_encoder_scores_exactly_chance(project: Project) -> None:
    project.checkpoint("good", image=0.0, text=0.0, bias=1.0)
    run = project.run("--occlusion-models", "good", "--snapshot-update", expect=0)
    run.stdout.fnmatch_lines(["flags: near chance at 0 %, collapsed (most positives tie*"])
    run.stdout.fnmatch_lines(["*0 % *1.7 *8.3 *", "chance *1.7 *8.3 *"])


def test_a_store_that_cannot_be_written(project: Project) -> None:
    (project.path / "store").write_text("a file")
    refused(project, says=["cannot write to the store", "--occlusion-no-store"])


def test_a_damaged_store_is_rebuilt_and_said(project: Project) -> None:
    project.accept()
    for path in (project.path / "store").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    result = project.run(expect=0)
    result.stdout.fnmatch_lines(["*entry * was damaged (*) and is rebuilt"])


def test_a_suite_in_pyproject_with_faults(project: Project) -> None:
    (project.path / "pyproject.toml").write_text("[tool.occlusion]\nratios = [2]\nmodels = {}\n")
    refused(project, says=["pyproject.toml [tool.occlusion]: ratios holds 2", "no models"])


def test_an_unset_variable_in_a_path(project: Project) -> None:
    suite = project.path / "suite.toml"
    suite.write_text(suite.read_text().replace("good.safetensors", "$NO_SUCH_VARIABLE/x"))
    refused(project, says=["good: the environment variable $NO_SUCH_VARIABLE is not set"])


READ_ONLY = """
import errno, os, sys

def refuse(event, args):
    writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    changes = event in ("os.remove", "os.rename", "os.link", "os.mkdir")
    if (writes or changes) and os.path.abspath(str(args[0])).startswith(STORE):
        if event != "os.mkdir" or not os.path.isdir(args[0]):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), args[0])

STORE = os.path.abspath("store")
sys.addaudithook(refuse)
"""


def test_a_store_that_cannot_be_written_serves_what_it_has(project: Project) -> None:
    """Images that are new to it, as those of a fresh checkout, are read and not remembered."""
    project.accept()
    (project.path / "read_only.py").write_text(READ_ONLY)
    done = project.alone("-p", "read_only")
    done.assert_outcomes(passed=18)
    project.checkpoint("good", noise=3.0)
    done = project.alone("-p", "read_only")
    assert "cannot write to the store" in done.stdout.str(), "what it has not is refused"


FULL = """
import errno, os, sys

def refuse(event, args):
    global left
    if event == "open" and args[2] & os.O_CREAT and str(args[0]).startswith(STORE):
        left -= ".lock" not in str(args[0])
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), args[0])

left, STORE = int(os.environ["ROOM"]), os.path.abspath("store")
sys.addaudithook(refuse)
"""


@pytest.mark.parametrize(
    ("room", "parallel"),
    [
        (0, ()),
        (4, ("-n", "2")),
        *(pytest.param(room, (), marks=pytest.mark.slow) for room in (1, 9)),
    ],
)
def test_a_store_that_fills_up_costs_what_it_would_have_kept(
    project: Project, room: int, parallel: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.accept()
    shutil.rmtree(project.path / "store")
    (project.path / "full.py").write_text(FULL)
    monkeypatch.setenv("ROOM", str(room))
    done = project.alone(*parallel, "-p", "full")
    done.assert_outcomes(passed=18)
    told = " ".join(done.stdout.str().split())
    assert "is full (No space left on device): what came later was measured and not kept" in told
    assert "16 cells: 16 same" in told
    assert not list((project.path / "store").rglob("*.tmp"))
    again = project.run(expect=0)
    again.assert_outcomes(passed=18)
    assert "is full" not in again.stdout.str()
