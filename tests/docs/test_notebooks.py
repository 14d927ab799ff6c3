"""The notebooks of the docs run from top to bottom, and hold no outputs."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LIMIT_S = 300


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "keep notebooks without outputs"
    nbclient.NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3").execute()
    shown = [output for cell in cells for output in cell.outputs]
    assert len(shown) >= len(cells) // 2
