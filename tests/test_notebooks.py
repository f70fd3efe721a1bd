"""Every notebook runs top to bottom on small data, is stored without what it printed, and says what its source says.

The source is the `.py` (percent format) beside it: `make notebooks` writes the `.ipynb` anew.
"""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(notebook: NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_there_are_notebooks_and_each_has_a_source() -> None:
    names = [path.stem for path in NOTEBOOKS]
    assert names == ["01_world", "02_train_and_review", "03_investigate_a_campaign", "03_investigate_an_account"]
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("*.py")) == names


@each_notebook
def test_a_notebook_is_in_step_with_its_source(path: Path) -> None:
    notebook, source = nbformat.read(path, as_version=4), jupytext.read(path.with_suffix(".py"))
    assert cells_of(notebook) == cells_of(source), "run `make notebooks`"
    assert notebook.metadata.jupytext.formats == source.metadata.jupytext.formats == "ipynb,py:percent"


@each_notebook
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")


@each_notebook
def test_a_notebook_defines_no_logic_of_its_own(path: Path) -> None:
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert not [line for cell in code for line in cell.splitlines() if line.startswith(("def ", "class "))]


@pytest.mark.filterwarnings("default")  # what a kernel's packages warn of is not ours to fix
@each_notebook
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws, fails nowhere, and leaves the directory that it runs in as it was: all it writes is temporary."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(tmp_path / "here")}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) >= 4
    assert not [output for output in shown if output.output_type == "error"]
    assert not list((tmp_path / "here").iterdir())
