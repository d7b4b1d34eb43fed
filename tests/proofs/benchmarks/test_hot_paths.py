"""Instructions and interpreters of the hot paths."""

import os
import sys
from contextlib import closing

import pytest
from support.world import World

from proofs.benchmarks import commands, instructions, pythons
from proofs.benchmarks.bulk import insert_keys
from proofs.benchmarks.hot_path import ACCEPTED_ASGI, REFUSED
from proofs.benchmarks.hot_paths import IN_INSTRUCTIONS, SPREAD_OF_INSTRUCTIONS, environment_of
from proofs.benchmarks.instructions import Job


@pytest.mark.timeout(600)
@pytest.mark.needs("valgrind")
def test_instructions_of_a_refused_request_are_equal_within_their_spread_in_two_runs(tmp_path):
    """Those of an accepted one: `test_against`."""
    assert {ACCEPTED_ASGI, REFUSED} == set(IN_INSTRUCTIONS)
    runs = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        with closing(World(folder)) as world:
            insert_keys(world, 1)
            runs.append(instructions.count(Job(REFUSED, folder, environment_of(world))))
    assert runs[0] > 1000
    assert runs[1] == pytest.approx(runs[0], rel=SPREAD_OF_INSTRUCTIONS[REFUSED])


@pytest.mark.needs("valgrind")
def test_counting_a_process_that_fails_raises(tmp_path):
    with pytest.raises(RuntimeError, match="ModuleNotFoundError"):
        instructions.count(Job(ACCEPTED_ASGI, tmp_path, {"PATH": os.environ["PATH"]}))


def interpreter(path, version):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{f'echo {version}' if version else 'exit 1'}\n")
    path.chmod(0o755)
    return str(path)


def test_find_takes_interpreters_that_run_from_path_and_from_pyenv(tmp_path):
    home, path = tmp_path / "home", tmp_path / "bin"
    interpreter(path / "python3.11", "3.11")
    interpreter(path / "python3.12", "")  # as pyenv has it for a version that is not chosen
    interpreter(path / "python3.13", "")
    interpreter(home / ".pyenv/versions/3.11.9/bin/python3.11", "3.11")
    interpreter(home / ".pyenv/versions/3.13.0/bin/python3.13", "3.13")
    found = pythons.find(str(path), home)
    assert found == {
        "3.11": str(path / "python3.11"),
        "3.13": str(home / ".pyenv/versions/3.13.0/bin/python3.13"),
    }


def test_find_names_the_running_version_when_it_is_on_the_path(tmp_path):
    (tmp_path / f"python{pythons.running()}").symlink_to(sys.executable)
    assert list(pythons.find(str(tmp_path), tmp_path)) == [pythons.running()]


@pytest.mark.parametrize(
    ("text", "commit", "expected"),
    [
        ("351 abc", "abc", {"test_seconds": 351.0}),
        ("351 abc", "abd", {}),
        ("351 ", "", {}),
        ("", "abc", {}),
        (None, "abc", {}),
    ],
    ids=["this commit", "another commit", "no commit", "empty", "no file"],
)
def test_seconds_of_the_suite_count_for_its_commit_only(text, commit, expected, tmp_path):
    file = tmp_path / "test-seconds"
    if text is not None:
        file.write_text(text)
    assert commands.read_test_seconds(file, commit) == expected
