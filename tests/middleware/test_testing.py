"""The examples of docs/testing.md work as written."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.paths import DOCS
from support.world import World

from octy_middleware import Authenticator, InvalidInputError, OctyASGIMiddleware
from octy_middleware.testing import TestInstallation, throwaway_installation

DOCUMENT = DOCS / "testing.md"


def example(name: str) -> dict[str, Any]:
    [source] = re.findall(rf"```python\n# {name}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, f"{DOCUMENT.name}: {name}", "exec"), names)
    return names


@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_examples_of_the_testing_page_work(name: str) -> None:
    example(name)["test_hello_needs_a_key_pair"]()


def test_example_with_the_authorize_button_works(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTY_DATABASE_URL", world.url)
    monkeypatch.setenv("OCTY_PEPPERS", world.peppers.export())
    assert "OctyKeyPair" in example("openapi")["app"].openapi()["components"]["securitySchemes"]


def test_temporary_installation_is_removed() -> None:
    with throwaway_installation() as octy:
        keys = octy.add_account()
        assert keys.secret_key not in repr(keys)
        with pytest.raises(InvalidInputError):
            octy.add_account()
        adapter = OctyASGIMiddleware(None, settings=octy.settings())  # type: ignore[arg-type]
        assert isinstance(octy, TestInstallation)
        folder = Path(octy.database_url.removeprefix("sqlite:///")).parent
        assert folder.is_dir()
        assert isinstance(adapter.authenticator, Authenticator)
    assert not folder.exists()
