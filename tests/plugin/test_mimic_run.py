"""A run on a miniature of MIMIC-CXR: recall comes out, and no output names a patient or a text."""

from __future__ import annotations

from tests.corpora import mimic
from tests.plugin.conftest import Project


def _shown(text: str) -> list[str]:
    return [secret for secret in mimic.secrets() if secret in text]


def test_a_whole_run(project: Project) -> None:
    mimic.write_tree(project.path / "mimic")
    path = project.path / "suite.toml"
    path.write_text(path.read_text().replace("manifest:reports.csv", "mimic-cxr:mimic"))
    project.run("--snapshot-update", "--occlusion-json", "out.json", expect=0)
    result = project.run("-n", "2", "-vv", "--occlusion-markdown", "out.md", expect=0)
    text = result.stdout.str() + result.stderr.str()
    assert "mimic-cxr" in text
    assert not _shown(text)
    name = f"{mimic.dicom_id(0, 0)}.jpg"
    damaged = project.path / "mimic" / mimic.STUDIES[0].folder(0) / name
    damaged.write_bytes(b"damaged")
    broken = project.run("-vv", "--showlocals")
    assert "row 1: cannot be decoded" in broken.stdout.str()
    written = [
        file
        for file in project.path.rglob("*")
        if file.is_file() and "mimic" not in file.relative_to(project.path).parts
    ]
    assert any(file.name == "out.json" for file in written)
    for file in written:
        if file.suffix not in (".pyc", ".lock"):
            assert not [s for s in mimic.secrets() if s.encode() in file.read_bytes()], file
    assert not _shown(broken.stdout.str() + broken.stderr.str())


def test_a_run_on_what_people_keep_beside_it(project: Project) -> None:
    """Copies in one folder, sections in a table, labels and patients; and the split in the name."""
    root = mimic.write_tree(project.path / "mimic", images="png", reports="none")
    mimic.flatten(root, "small", ".png")
    mimic.write_table(root / f"{mimic.SECTIONED}.gz", mimic.sectioned_rows())
    mimic.write_labels(root)
    mimic.write_patients(root)
    files = ",".join(f"mimic/{name}" for name in (mimic.CHEXPERT, mimic.ADMISSIONS))
    spec = f"mimic-cxr:mimic?split=validate&images=png&attributes={files}"
    path = project.path / "suite.toml"
    path.write_text(path.read_text().replace("manifest:reports.csv", spec))
    project.run("--snapshot-update", "--occlusion-json", "out.json", expect=0)
    result = project.run("-vv", expect=0)
    assert not _shown(result.stdout.str() + result.stderr.str())
    written = (project.path / "out.json").read_text()
    assert '"images": "png"' in written
    assert not _shown(written)


def test_another_split_is_another_protocol(project: Project) -> None:
    mimic.write_tree(project.path / "mimic")
    path = project.path / "suite.toml"
    text = path.read_text().replace("manifest:reports.csv", "mimic-cxr:mimic")
    path.write_text(text.replace("ks = [1, 5]", 'ks = [1]\nsplit = "test"'))
    result = project.run("--snapshot-update", "--occlusion-json", "out.json", expect=0)
    assert '"split": "test"' in (project.path / "out.json").read_text()
    assert not _shown(result.stdout.str())
