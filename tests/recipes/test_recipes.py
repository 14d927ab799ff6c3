import tomllib

import pytest

from openqwen.cli.main import main
from openqwen.core.config import to_plain
from openqwen.core.errors import UserError
from openqwen.model.config import QWEN_1_8B, QWEN_7B, QWEN_14B
from openqwen.recipes import BUILTIN
from openqwen.recipes.resolve import resolve
from openqwen.recipes.show import to_toml
from openqwen.train.pretrain import model_config


@pytest.mark.parametrize("name", BUILTIN)
def test_a_shown_recipe_read_back_is_the_same_recipe(name, tmp_path):
    resolved = resolve(name)
    path = tmp_path / f"{name}.toml"
    path.write_text(to_toml(resolved), encoding="utf-8")
    assert resolve(str(path)).recipe == resolved.recipe
    assert tomllib.loads(path.read_text()) == to_plain(resolved.recipe)


def test_each_value_tells_who_set_it(tmp_path, capsys):
    path = tmp_path / "my.toml"
    path.write_text('extends = "mini"\n[base]\nnum_steps = 7\n')
    assert main(["recipe", "show", str(path), "--set", "base.warmup_steps=3"]) == 0
    # of the whole recipe's lines those up to the end of [base]: later sections repeat its names
    out = capsys.readouterr().out
    shown = out.split("[longcontext]")[0]
    lines = {line.split(" = ")[0]: line for line in shown.splitlines()}
    assert "num_steps = 7 " in lines["num_steps"]
    assert f"[{path}; §2.4: 600000]" in lines["num_steps"]
    assert "[--set; memo: 2000]" in lines["warmup_steps"]
    assert "[recipe mini; §2.4: 2048]" in lines["context_length"]
    assert lines["beta2"].endswith("AdamW β₂ [§2.4]")
    assert '\nname = "my"' in out


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("base.num_stepz=3", "base.num_stepz is not a setting; did you mean base.num_steps?"),
        ("basis.num_steps=3", "basis is not a setting; did you mean base?"),
        ("base.num_steps=many", 'base.num_steps = "many" is not valid'),
        ("base.num_steps", "write it as section.setting=value"),
        ("base.micro_sequences=3", "micro_sequences = 3 must divide sequences_per_step = 8"),
        ("base.model.num_attention_heads=3", "can't be split into num_attention_heads = 3"),
        ("longcontext.length_multiples=[0.3]", "is no whole number of at least 2 tokens"),
        ("shards.context_length=4", "greater than or equal to 8"),
        ("name=../../etc", "name"),
    ],
)
def test_a_bad_assignment_is_one_line_and_exit_code_2(assignment, complaint, capsys, tmp_path):
    assert main(["run", "tiny", "--out", str(tmp_path / "run"), "--set", assignment]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_settings_that_only_fit_together_may_be_set_together():
    recipe = resolve("tiny", ["base.sequences_per_step=15", "base.micro_sequences=5"]).recipe
    assert (recipe.base.sequences_per_step, recipe.base.micro_sequences) == (15, 5)


def test_a_table_of_weights_is_replaced_whole():
    recipe = resolve("tiny", ["documents.mixture.weights={en = 1.0}"]).recipe
    assert recipe.documents.mixture.weights == {"en": 1.0}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("base = 3", "base = 3 is not valid"),
        ("[base]\nnum_steps = '5'", 'base.num_steps = "5" is not valid'),
        ("extends = 'tinny'", "no such recipe; did you mean tiny?"),
        ("[base", "is not readable TOML"),
    ],
)
def test_a_bad_file_is_named(text, complaint, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        resolve(str(path))
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


def test_unknown_recipes_and_stages_are_refused(capsys, tmp_path):
    assert main(["run", "tinny"]) == 2
    assert "did you mean tiny?" in capsys.readouterr().err
    assert main(["run", "tiny", "--until", "dinner", "--out", str(tmp_path)]) == 2
    assert "the stages are sources, documents, tokenizer" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "nothing")]) == 2
    assert "is not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "preset", "tokens"),
    [
        ("qwen-1.8b", QWEN_1_8B, 2.2e12),
        ("qwen-7b", QWEN_7B, 2.4e12),
        ("qwen-14b", QWEN_14B, 3.0e12),
    ],
)
def test_the_reports_recipes_have_the_reports_sizes(name, preset, tokens):
    recipe = resolve(name).recipe
    rows = 152_064 if name == "qwen-14b" else 151_936
    shape = model_config(recipe.base, vocab_size=rows, context_length=recipe.shards.context_length)
    assert shape == preset
    per_step = recipe.base.sequences_per_step * recipe.shards.context_length
    assert per_step == 4 * 2**20
    assert recipe.base.num_steps * per_step == pytest.approx(tokens, rel=1e-5)
    assert recipe.tokenizer.num_ranks == 151_643
