"""The file of settings: read as sh, systemd and Compose read it, or refused with what to do."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_worker.env_file import EnvFileError, parse, write_value

# As each of the three reads it: sh in the test below, systemd and Compose by their sources.
_AGREED = r"""
# a comment, it's 'one
OCTY_A=correct#horse
  OCTY_B=spaces#around{end}
OCTY_C='quoted # with $HOME, `x`, "y", \ and é'
OCTY_D="it's # (plain)!"
OCTY_E=
OCTY_F=''
OCTY_G=k1:Zm9v+/==,k2:YmFy
OCTY_H=a*b?[c]{d,e}=f%g!h^i@j
OCTY_I=first
OCTY_I=last
""".lstrip()
AGREED = _AGREED.replace("{end}", "  \t")
VALUES = {
    "OCTY_A": "correct#horse",
    "OCTY_B": "spaces#around",
    "OCTY_C": 'quoted # with $HOME, `x`, "y", \\ and é',
    "OCTY_D": "it's # (plain)!",
    "OCTY_E": "",
    "OCTY_F": "",
    "OCTY_G": "k1:Zm9v+/==,k2:YmFy",
    "OCTY_H": "a*b?[c]{d,e}=f%g!h^i@j",
    "OCTY_I": "last",
}


def read_by_sh(path: Path) -> dict[str, str]:
    done = subprocess.run(
        ["sh", "-c", 'set -a; . "$1"; env -0', "sh", str(path)],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
    )
    pairs = (entry.partition("=") for entry in done.stdout.decode().split("\0"))
    return {name: value for name, _, value in pairs if name.startswith("OCTY_")}


def test_env_file_line_is_read_as_sh_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "octy.env"
    file.write_text(AGREED)
    assert parse(AGREED) == VALUES
    assert read_by_sh(file) == VALUES


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("OCTY_A=canary # comment", "systemd reads it as part of the value"),
        ("OCTY_A='canary' # comment", "disagree about text after closing quotes"),
        ("OCTY_A=canary two", "sh ends the value at the space"),
        ("OCTY_A= canary", "sh ends the value at the space"),
        ("OCTY_A =canary", "this is not NAME=value"),
        ("export OCTY_A=canary", "systemd ignores lines with export"),
        ("OCTY_A=canary$x", "a special character outside of quotes"),
        ("OCTY_A=canary&x", "a special character outside of quotes"),
        ("OCTY_A=canary\\x", "a special character outside of quotes"),
        ("OCTY_A=it's'", "a special character outside of quotes"),
        ("OCTY_A=#canary", "a special character outside of quotes"),
        ("OCTY_A=~/canary", "a special character outside of quotes"),
        ("OCTY_A=canary:~/x", "a special character outside of quotes"),
        ("OCTY_A=canary\u2028x", "a special character outside of quotes"),
        ('OCTY_A="canary$x"', "about $, ` and \\ in double quotes"),
        ('OCTY_A="canary\\n"', "about $, ` and \\ in double quotes"),
        ("OCTY_A='canary\\'", "about a backslash before the closing quote"),
        ("OCTY_A='can''ary'", "disagree about text after closing quotes"),
        ("OCTY_A='canary", "its quotes do not close on the line"),
        ("OCTY_A='canary\x07'", "the value contains a control character"),
        ("OCTY_A=canary\r", "it has a Windows line end"),
        ("# canary \\", "systemd continues a comment that ends with a backslash"),
        ("; canary", "this is not NAME=value"),
        ("OCTY_Ä=canary", "this is not NAME=value"),
        ("OTHER='canary", "the value does not end on its line"),
        ("OTHER=canary\\", "the value does not end on its line"),
    ],
)
def test_ambiguous_env_file_line_is_rejected_without_its_content(line: str, wrong: str) -> None:
    with pytest.raises(EnvFileError) as caught:
        parse(f"OCTY_B=1\n{line}\n", lambda name: name.startswith("OCTY_"))
    assert wrong in caught.value.wrong
    assert caught.value.line == 2
    assert caught.value.to_do
    assert "canary" not in f"{caught.value.wrong} {caught.value.to_do}"


def test_byte_order_mark_in_env_file_is_named_in_the_error() -> None:
    with pytest.raises(EnvFileError, match="byte order mark"):
        parse("\ufeffOCTY_A=1\n")


def test_env_file_lines_of_other_programs_are_ignored() -> None:
    text = "export PATH=/x:$PATH\nURL=a?b&c\nWORDS=two words # and a comment\nOCTY_A=1\n"
    assert parse(text, lambda name: name.startswith("OCTY_")) == {"OCTY_A": "1"}


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'\"\\$`# ~:\t\n\r"), max_size=12))
def test_written_env_file_is_read_back_unchanged(value: str) -> None:
    try:
        written = write_value(value)
    except EnvFileError:
        no_single = "'" in value or value.endswith("\\")
        no_double = set(value) & set('"$`\\')
        assert (no_single and no_double) or min(value) < " " or "\x7f" in value
    else:
        assert parse(f"OCTY_A={written}\n") == {"OCTY_A": value}


def test_written_env_file_is_read_by_sh(tmp_path: Path) -> None:
    values = {
        f"OCTY_{number}X": value
        for number, value in enumerate(
            ["a b", "'x'", "#x", "~", "a:~/b", "it's", 'say "x"', "$HOME", "`x`", "a\\b", "é", "\u2028", ""]
        )
    }
    file = tmp_path / "octy.env"
    file.write_text("".join(f"{name}={write_value(value)}\n" for name, value in values.items()))
    assert read_by_sh(file) == parse(file.read_text()) == values
