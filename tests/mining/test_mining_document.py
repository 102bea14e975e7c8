"""docs/mining.md does what it says: its example prints what it shows, its strategy works."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pools import assets, pick

from mir_ops import mining
from mir_ops.errors import InvalidInputError

TEXT = (Path(__file__).parents[2] / "docs" / "mining.md").read_text()
EXAMPLE, OWN = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(PACKAGE,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
ASK = """
from mir_ops import mining
from mir_ops.catalog.projects import MiningSpec
print(mining.strategies()["variety"])
print(MiningSpec(strategy="variety", parameters={"least": 0.5}).parameters)
"""


def test_the_example_prints_what_the_document_shows() -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(EXAMPLE, "docs/mining.md", "exec"), {})

    assert said.getvalue() == TEXT.partition("```text\n")[2].partition("```")[0]


def test_the_strategy_of_ones_own_fits_thirty_lines_and_works() -> None:
    exec(compile(OWN, "docs/mining.md", "exec"), {})
    one, two, three = assets(3)
    rows = [(one, 0, 0.9, None), (one, 0, 0.8, None), (two, 0, 0.5, None), (two, 1, 0.4, None)]

    found = pick("variety", [one, two, three], rows, budget=3)

    assert OWN.count("\n") <= 30
    assert found[two]["score"] == 2.0
    assert found[two]["reason"] == "boxes of 2 classes"
    assert found[one]["score"] == 1.0
    with pytest.raises(InvalidInputError, match="`least`: Input should be less than 1"):
        pick("variety", [one], parameters={"least": 1.0})


def test_its_package_is_installed_as_the_document_says(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "variety.py").write_text(OWN)
    (source / "pyproject.toml").write_text(PACKAGE)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--no-deps", "--target", site, source], check=True)

    paths = os.pathsep.join([str(site), str(Path(mining.__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "Prefer images with boxes of many classes\n{'least': 0.5}\n"


def test_every_strategy_cites_what_it_comes_from_and_says_what_it_needs() -> None:
    for line in re.findall(r"^\| `[a-z-]+` \|.*$", TEXT, re.MULTILINE):
        name, _, after, needs, without, _ = (cell.strip(" `") for cell in line.split("|")[1:-1])
        strategy = mining.find_strategy(name)
        assert needs, name
        assert ("embeddings" in needs) == ("vectors" in strategy.needs), name
        assert (name == "random") == (not without), name
        if name not in ("random", "executor"):
            (year,) = re.findall(r"\d{4}", after)
            assert year in str(strategy.score.__doc__), name


def test_every_strategy_and_parameter_is_in_the_document() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` (\|.*)$", TEXT, re.MULTILINE))

    modules = {
        name: str(mining.find_strategy(name).score.__module__) for name in mining.strategies()
    }
    ours = {name for name, module in modules.items() if module.startswith("mir_ops.mining.")}
    assert set(rows) == ours
    for name in ours - {"least-confidence", "margin"}:
        for parameter in mining.check_parameters(name, {}):
            assert f"`{parameter}`" in rows[name], (name, parameter)
