"""What a newcomer meets: the commands of the README, the extras, a light core, clean files."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HEAVY = ("airflow", "torch", "great_expectations", "pandas", "sklearn")
SLOW_TO_IMPORT = (*HEAVY, "pyarrow", "numpy", "boto3", "sqlalchemy", "fastapi", "PIL", "yaml")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/deployment.md")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*?## ", (ROOT / "Makefile").read_text(), re.M))


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_is_documented_exists(document: str) -> None:
    text = (ROOT / document).read_text()

    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", text, re.M))
    assert {first or second for first, second in named} <= targets()


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert targets() == set(re.findall(r"^  ([a-z-]+)  +\S", done.stdout, re.M))
    assert {"demo", "try", "install", "test", "lint"} <= targets()


@pytest.mark.parametrize(
    "path", [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))], ids=lambda p: p.name
)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", path.read_text())

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_core_needs_neither_airflow_nor_torch_nor_great_expectations() -> None:
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]

    assert not [entry for entry in core if re.match(r"apache|torch|great|pandas|scikit", entry)]


def test_the_extras_are_those_of_the_readme() -> None:
    provided = set(metadata.metadata("mir-ops").get_all("Provides-Extra") or ())
    named = set(re.findall(r"`\.\[([a-z]+)\]`", (ROOT / "README.md").read_text()))

    assert {"airflow", "quality", "detector", "all"} <= named <= provided


def test_the_command_starts_without_heavy_packages() -> None:
    done = run_python("import sys, mir_ops.cli.main; print(*sys.modules)")

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint(SLOW_TO_IMPORT)


def test_versions_can_be_made_and_read_without_any_extra(tmp_path: Path) -> None:
    images = tmp_path / "source" / "images"
    images.mkdir(parents=True)
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {HEAVY!r}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from pathlib import Path\n"
        "from PIL import Image\n"
        "from mir_ops.cli.main import main\n"
        "from mir_ops.cli.repository import create_repository\n"
        "from mir_ops.dataset import import_dataset\n"
        "root, source = map(Path, sys.argv[1:])\n"
        "Image.new('RGB', (8, 8)).save(source / 'images' / 'a.png')\n"
        "import_dataset(create_repository(root).store, source, 'master', op_id='1' * 64)\n"
        "sys.exit(main(['--root', str(root), 'log', 'master']))\n"
    )

    done = run_python(program, str(tmp_path / "root"), str(images.parent))

    assert done.returncode == 0, done.stderr
    assert "import" in done.stdout


def test_constraints_pin_every_package_and_name_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    entries = [line for line in lines if line and not line.startswith("#")]
    assert [e for e in entries if not re.match(r"^[a-z0-9._-]+(\[[a-z0-9,-]+\])?==[^ +]+", e)] == []
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    assert "torch==2.13.0" in entries
    cuda = [e for e in entries if re.match(r"nvidia|cuda|triton", e)]
    assert all("sys_platform == 'linux'" in entry for entry in cuda)


def test_constraints_cover_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(entry for extra in extras for entry in extra)]

    names = {re.match(r"[A-Za-z0-9_.-]+", entry)[0].lower() for entry in asked}  # type: ignore[index]
    pinned = re.findall(r"^([a-z0-9._-]+)", (ROOT / "constraints.txt").read_text(), re.M)
    normal = {re.sub(r"[-_.]+", "-", name) for name in pinned}
    assert {re.sub(r"[-_.]+", "-", name) for name in names} - normal == {"mir-ops"}


def test_no_file_names_a_private_place() -> None:
    # Paths and package mirrors of whoever worked on a file are no part of the project.
    private = re.compile(
        rb"file:///opt|/opt/(?!airflow|mir-ops|s3|sso|uv|venv)[a-z]|/work/(?:main|shared)|/root/"
    )
    index = re.compile(rb"https?://[^\s\"'`)]*(?:/simple\b|/whl/|pypi[^\s\"'`)]*)")
    found = []
    for path in tracked_files():
        if path == Path(__file__) or not path.is_file():
            continue
        content = path.read_bytes()
        found += [(path.name, m[0]) for m in private.finditer(content)]
        found += [(path.name, m[0]) for m in index.finditer(content)]
    assert found == []


def test_no_tracked_file_is_large() -> None:
    assert [p.name for p in tracked_files() if p.is_file() and p.stat().st_size > 1_500_000] == []


def test_scripts_are_valid_and_executable() -> None:
    for name in (".ci/run", "scripts/install.sh"):
        path = ROOT / name
        assert path.stat().st_mode & 0o100
        assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


def test_configuration_files_are_valid_yaml() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())

    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2111.10046"
    assert citation["version"] == metadata.version("mir-ops")
    assert {hook["id"] for hook in hooks["repos"][0]["hooks"]} >= {"ruff-check", "mypy"}
