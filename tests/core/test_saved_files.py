import pytest

from openqwen.core.errors import UserError
from openqwen.core.pages import saved_files


def test_a_folder_stands_for_the_files_that_a_page_saved_in_it(tmp_path):
    for name in ("votes-Lin.json", "votes.json", "duels.jsonl", "notes.json"):
        (tmp_path / name).write_text("{}")
    found = saved_files([str(tmp_path), "elsewhere.json"], "votes*.json")
    assert [path.name for path in found] == ["votes-Lin.json", "votes.json", "elsewhere.json"]


def test_a_folder_without_any_says_how_to_get_some(tmp_path):
    with pytest.raises(UserError, match=r"has no votes\*\.json: .* openqwen serve --pages"):
        saved_files([str(tmp_path)], "votes*.json")
