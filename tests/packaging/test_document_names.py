"""Settings, metrics, files, modules and commands that the pages name exist."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from support.paths import ROOT
from typer.main import get_command

from octy_worker.cli.app import app
from octy_worker.cli.lazy_command import LazyCommand

GENERATED = {"docs/benchmarks.md", "docs/conformance.md"}  # what their programs write is tested there
PAGES = sorted(
    {
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
    }
    - GENERATED
)
SUFFIXES = {".py", ".toml", ".txt", ".html", ".yml", ".yaml", ".json", ".service", ".mako", ""}
SAMPLES = ("_total", "_bucket", "_sum", "_count")  # what Prometheus adds to a metric's name


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def spans(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text_of(page))


@cache
def words() -> frozenset[str]:
    """All words in code, templates and deployment files."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [ROOT / name for name in listed if not name.startswith(("docs/", "workflows/histories/"))]
    texts = [file.read_text("utf-8") for file in files if file.suffix in SUFFIXES and file.is_file()]
    return frozenset(word for text in texts for word in re.findall(r"\w+", text))


@cache
def commands() -> dict[tuple[str, ...], Any]:
    """Every command of `octy` by its words."""

    def below(command: Any, path: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
        found = {path: command.load() if isinstance(command, LazyCommand) else command}
        if hasattr(command, "list_commands"):  # a group
            context = typer.Context(command)
            for name in command.list_commands(context):
                found |= below(command.get_command(context, name), (*path, name))
        return found

    return below(get_command(app), ())


def problem_of(line: str) -> str | None:
    """What is wrong with `octy group command … --option`, if anything."""
    parts = re.sub(r"^octy (--env-file \S+ )?", "", line).split()
    path: tuple[str, ...] = ()
    for part in parts:
        if (*path, part.split("|")[0].rstrip(",")) not in commands():
            break
        path = (*path, part.split("|")[0].rstrip(","))
    command = commands()[path]
    if not path or (
        hasattr(command, "list_commands") and len(parts) > len(path) and not parts[len(path)].startswith("-")
    ):
        return f"{line}: no such command"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)) - known - {"--help", "--env-file"}
    return f"{line}: no option {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("page", PAGES)
def test_settings_and_metrics_on_page_exist(page: str) -> None:
    settings = set(re.findall(r"\bOCTY_[A-Z0-9_]*[A-Z0-9]\b(?!_)", text_of(page)))
    metrics = set(re.findall(r"\bocty_[a-z0-9_]*[a-z0-9]\b", text_of(page)))
    listed = set(re.findall(r"^\| `(OCTY_\w+)`", text_of("docs/settings.md"), re.MULTILINE))  # compared with the code
    assert settings - listed - words() == set()
    stems = {name: {name, *(name.removesuffix(sample) for sample in SAMPLES)} for name in metrics}
    assert {name for name, possible in stems.items() if not possible & words()} == set()


@pytest.mark.parametrize("page", PAGES)
def test_files_and_modules_on_page_exist(page: str) -> None:
    named = [span for span in spans(page) if re.fullmatch(r"[\w-]+(/[\w.-]+)+/?", span) and "." in Path(span).name]
    assert [name for name in named if not any((ROOT / place / name).exists() for place in ("", "docs", "tests"))] == []
    modules = re.findall(r"python -m ((?:proofs|workflows)\.[\w.]*\w)", text_of(page))
    assert [name for name in modules if not module_exists(name)] == []


def module_exists(name: str) -> bool:
    """Whether tests/ has this module, or a package that can be run."""
    path = name.replace(".", "/")
    return any((ROOT / "tests" / f"{path}{end}").exists() for end in (".py", "/__main__.py"))


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_on_page_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = [span for span in spans(page) if re.fullmatch(r"make [a-z-]+( .*)?", span)]
    fenced = re.findall(r"^make [a-z-]+(?= +#|$)", text_of(page), re.MULTILINE)
    assert {name.split()[1] for name in [*named, *fenced]} - targets == set()


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_page_exist_with_their_options(page: str) -> None:
    lines = [span for span in spans(page) if re.match(r"octy (--env-file \S+ )?[a-z]", span)]
    assert [problem for problem in map(problem_of, lines) if problem] == []


def test_class_names_in_the_glossary_exist() -> None:
    named = {span for span in spans("docs/glossary.md") if re.fullmatch(r"([A-Z][a-z]+)+|[a-z]+(_[a-z]+)+", span)}
    assert len(named) >= 20
    assert named - words() == set()
