"""What the workflow package imports, and that every declared activity is called and has a fake."""

import subprocess
import sys
from pathlib import Path

import pytest

import octy_workflows
from workflows.workflow_fakes import FakeActivities, declared

MODULES = sorted(path.stem for path in Path(octy_workflows.__path__[0]).glob("[a-z]*.py"))
ALLOWED = {"octy_workflows", "temporalio", "google", "nexusrpc", "typing_extensions"}
LISTING = "import sys; before = set(sys.modules); import {}; print(*sorted(set(sys.modules) - before))"


def test_workflow_package_imports_the_standard_library_and_temporalio_only() -> None:
    everything = ", ".join(f"octy_workflows.{module}" for module in MODULES)
    root = str(Path(octy_workflows.__path__[0]).parent)
    code = f"import sys; sys.path.insert(0, {root!r}); {LISTING.format(everything)}"
    answer = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in answer.stdout.split()}
    assert "octy_workflows" in loaded
    assert loaded - ALLOWED - sys.stdlib_module_names == set()


@pytest.mark.parametrize(
    "package", ["sqlmodel", "sqlalchemy", "pydantic", "cryptography", "passlib", "octy_middleware"]
)
def test_no_module_uses_what_the_sandbox_forbids(package: str) -> None:
    sources = {module: Path(octy_workflows.__path__[0], f"{module}.py").read_text() for module in MODULES}
    assert [module for module, source in sources.items() if f"import {package}" in source] == []


def test_test_worker_has_every_declared_activity_and_no_other() -> None:
    on_harness = {getattr(method, "__temporal_activity_definition").name for method in FakeActivities().activities()}
    assert on_harness == declared()


def test_every_declared_activity_is_called_by_a_workflow() -> None:
    root = Path(octy_workflows.__path__[0])
    sources = "".join((root / f"{name}.py").read_text() for name in MODULES if name != "activities")
    assert {name for name in declared() if f"activities.{name}" not in sources} == set()
