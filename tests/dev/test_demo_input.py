"""The demo's CSV input: which rows are read, and where each error is."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.paths import EXAMPLES

from octy_worker.dev.demo_input import COLUMNS, DataFileError, Row, parse

HEADER = "at,user,source,outcome\n"
GOOD = "2017-03-27T13:08:09Z,root,198.18.0.41,refused\n"
ROW = Row(1, datetime(2017, 3, 27, 13, 8, 9, tzinfo=UTC), "root", ip_address("198.18.0.41"), accepted=False)
DATA = EXAMPLES / "data" / "login-attempts.csv"


@pytest.mark.parametrize(
    "text",
    [
        HEADER + GOOD,
        HEADER + GOOD.rstrip("\n"),
        "\ufeff" + HEADER + GOOD,
        (HEADER + GOOD).replace("\n", "\r\n"),
        (HEADER + GOOD).replace("\n", "\r"),
        "\n\n" + HEADER + "\n  \n" + GOOD + "\n\n",
        ",,,\n" + HEADER + ",,,,,\n" + GOOD + " , ,,\n",
        HEADER.replace("\n", ",\n") + GOOD.replace("\n", ",,\n"),
        '"at","user","source","outcome"\n"2017-03-27T13:08:09Z","root","198.18.0.41","refused"\n',
    ],
    ids=["plain", "no last line end", "mark", "CRLF", "CR", "blank lines", "blank rows", "commas behind", "quotes"],
)
def test_row_is_read_in_each_form(text):
    assert parse(text.encode()) == (ROW,)


@pytest.mark.parametrize(
    ("line", "user", "source"),
    [
        ('2017-03-27T13:08:09+02:00,"a,b",::1,accepted', "a,b", "::1"),
        ('2017-03-27T13:08:09.5-10:00,"say ""hi""",2001:db8::1,accepted', 'say "hi"', "2001:db8::1"),
        ("20170327T130809Z,Jürgen 漢字,0.0.0.0,accepted", "Jürgen 漢字", "0.0.0.0"),
        ("2017-03-27T13:08:09Z,(empty),::ffff:192.0.2.1,accepted", "(empty)", "::ffff:192.0.2.1"),
    ],
)
def test_values_of_a_row_are_parsed(line, user, source):
    (row,) = parse((HEADER + line).encode())
    assert (row.user, row.source, row.accepted) == (user, ip_address(source), True)


def test_duplicate_rows_are_kept():
    assert [row.number for row in parse((HEADER + GOOD + "\n" + GOOD).encode())] == [1, 2]


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("", 1, 0, "line 1: the file is empty; its first line must be at,user,source,outcome"),
        ("\n \n", 1, 0, "the file is empty"),
        (HEADER, 1, 0, "line 1: the file has a header and no rows"),
        (GOOD, 1, 1, "line 1, column 1 (at): the header must be at,user,source,outcome"),
        ("at,user,ip,outcome\n" + GOOD, 1, 3, "not 'ip' here"),
        ("at,user,source\n" + GOOD, 1, 4, "column 4 (outcome): this column is missing"),
        ("at,user,source,outcome,more\n" + GOOD, 1, 5, "column 5: too many columns: there must be 4"),
        (" at,user,source,outcome\n" + GOOD, 1, 1, "not ' at' here"),
        (HEADER + GOOD + "2017-03-27T13:08:09Z,root\n", 3, 3, "column 3 (source): this column is missing"),
        (HEADER + GOOD + "\n\n" + GOOD.strip() + ",x\n", 5, 5, "too many columns: there must be 4"),
        (HEADER + GOOD.replace("2017-03-27T13:08:09Z", "yesterday"), 2, 1, "'yesterday' is not an ISO 8601 time"),
        (HEADER + GOOD.replace("09Z", "09"), 2, 1, "with an offset"),
        (HEADER + GOOD.replace("2017-03-27T13:08:09Z", "2017-03-27"), 2, 1, "with an offset"),
        (HEADER + GOOD.replace("root", ""), 2, 2, "column 2 (user): '' is not a valid user"),
        (HEADER + GOOD.replace("root", " root"), 2, 2, "no space at the ends"),
        (HEADER + GOOD.replace("root", '"ro\not"'), 2, 2, r"'ro\not' is not a valid user"),
        (HEADER + GOOD.replace("root", "\x1b[31m"), 2, 2, r"'\x1b[31m' is not a valid user"),
        (HEADER + GOOD.replace("root", "x" * 201), 2, 2, "x" * 60 + r"\u2026'"),
        (HEADER + GOOD.replace("198.18.0.41", "198.18.0.256"), 2, 3, "'198.18.0.256' is not an IPv4 or IPv6 address"),
        (HEADER + GOOD.replace("198.18.0.41", "fe80::1%eth0"), 2, 3, "is not an IPv4 or IPv6 address"),
        (HEADER + GOOD.replace("198.18.0.41", "198.18.0.0/24"), 2, 3, "is not an IPv4 or IPv6 address"),
        (HEADER + GOOD.replace("refused", "Refused"), 2, 4, "'Refused' is neither accepted nor refused"),
        (HEADER + GOOD + 'x,"never closed\n\n\n', 3, 2, "quotes must enclose the whole value"),
        (HEADER + GOOD.replace("root", 'ro"ot'), 2, 2, "quotes must enclose the whole value"),
        (HEADER + GOOD.replace("root", '"ro"ot'), 2, 2, "quotes must enclose the whole value"),
        ('"at","user","source","outcome"\n"2017-03-27T13:08:09Z","two\nlines,x\n', 2, 2, "quotes must enclose"),
    ],
)
def test_invalid_rows_are_reported(text, line, column, what):
    with pytest.raises(DataFileError) as caught:
        parse(text.encode())
    assert what in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [
        (b"\xff\xfea\x00t\x00", 1, 1),
        (HEADER.encode() + b"2017-03-27T13:08:09Z,J\xfcrgen,::1,refused", 2, 2),
        ((HEADER + GOOD).replace("\n", "\r\n").encode() + b"x,y,z,\xc3", 3, 4),
    ],
)
def test_invalid_utf_8_is_reported(content, line, column):
    with pytest.raises(DataFileError, match="this is not UTF-8 text") as caught:
        parse(content)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_error_after_a_value_of_two_lines_names_the_right_line():
    text = HEADER + '2017-03-27T13:08:09Z,root,"198.18.0.41\n",refused\n'
    with pytest.raises(DataFileError, match=r"line 2, column 3") as caught:
        parse(text.encode())
    assert caught.value.line == 2


calm = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])  # for busy machines

USERS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=' ",'), min_size=1, max_size=200)
ROWS = st.builds(
    Row,
    number=st.just(0),
    at=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9.5))])),
    user=USERS.filter(lambda user: user == user.strip() and user.isprintable()),
    source=st.ip_addresses().filter(lambda source: "%" not in str(source)),
    accepted=st.booleans(),
)


@calm
@given(st.lists(ROWS, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_any_output_of_a_csv_writer_is_read(rows, end):
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=end)
    writer.writerow(COLUMNS)
    for row in rows:
        outcome = "accepted" if row.accepted else "refused"
        writer.writerow([row.at.isoformat(), row.user, row.source, outcome])
    found = parse(file.getvalue().encode())
    assert [(row.at, row.user, row.source, row.accepted) for row in found] == [
        (row.at, row.user, row.source, row.accepted) for row in rows
    ]
    assert [row.number for row in found] == list(range(1, len(rows) + 1))


@calm
@given(
    st.binary(max_size=200) | st.text(st.sampled_from('at,user"\r\n x0:.')).map(lambda text: (HEADER + text).encode())
)
def test_any_other_text_is_an_error_with_its_line(content):
    error = fault_of(content)
    assert error is None or 1 <= error.line <= content.count(b"\n") + content.count(b"\r") + 1
    assert error is None or 0 <= error.column <= 5


def fault_of(content: bytes) -> DataFileError | None:
    try:
        parse(content)
    except DataFileError as error:
        return error
    return None


def test_default_data_has_the_expected_rows():
    rows = parse(DATA.read_bytes())
    assert len(rows) == 1268
    assert sum(row.accepted for row in rows) == 226
    assert len({row.user for row in rows}) == 31
