"""The limits by leaving parts out: each arm answers as the whole does, and has a row in each table."""

import pytest

from proofs.benchmarks import limits
from proofs.benchmarks.apps.left_out import ACCEPTED_PARTS, REFUSED_PARTS


@pytest.mark.parametrize("name", ["uvicorn", "flask"])
def test_accepted_parts_have_a_row_each(name, capfd):
    assert limits.main(["--size", "tiny", "--rounds", "1", "--only", name]) == 0
    text = capfd.readouterr().out
    assert [text.count(f"| {part} |") for part in (*ACCEPTED_PARTS, limits.ALL)] == [1, 1, 1, 1]


@pytest.mark.parametrize(("load", "database_kind"), [("alone", "sqlite"), ("flood", "postgresql")])
def test_refused_parts_have_a_row_each(load, database_kind, capfd):
    arguments = ["--size", "tiny", "--rounds", "1", "--only", load, "--database", database_kind]
    assert limits.main(arguments) == 0
    text = capfd.readouterr().out
    assert [text.count(f"| {part} |") for part in (*REFUSED_PARTS, limits.ALL)] == [1, 1, 1, 1, 1]


def test_an_unknown_name_is_refused_with_those_that_exist(capsys):
    with pytest.raises(SystemExit):
        limits.main(["--only", "nginx"])
    assert "nginx: there are only uvicorn, granian" in capsys.readouterr().err
