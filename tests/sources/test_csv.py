"""CSV files as people have them: dialects, encodings, headers, and what is refused."""

from __future__ import annotations

import csv
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources import FromFile
from tests.streams import read_rows, read_source

A, B, C = (str(uuid.UUID(int=number)) for number in (0xA, 0xB, 0xC))


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a file, and returns the source of it."""

    def write(content: str | bytes, column: str | int | None = None, name: str = "x.csv", **options) -> FromFile:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return FromFile(str(path), column, **options)

    return write


@pytest.mark.parametrize(
    ("content", "options", "found"),
    [
        (f"id;name\n{A};Ada\n", {}, ";"),
        (f"id;name\n{A};Ada\n", {"column": "id"}, ";"),
        (f"id;name\n{A};Ada\n", {"delimiter": ","}, ";"),
        (f'"id;name"\n{A};Ada\n', {}, ";"),
        (f"id\tname\n{A}\tAda\n", {}, "\t"),
        (f"id|name\n{A}|Ada\n", {}, "|"),
        (f"id,name\n{A},Ada\n", {"delimiter": ";"}, ","),
        (f"id,name\n{A},Ada\n", {"name": "x.tsv"}, ","),
        (f"{A};Ada\n", {"column": 0}, ";"),
        (f"{A}|Ada\n", {"column": 0}, "|"),
    ],
)
def test_another_delimiter_in_the_only_column_is_refused(file, content, options, found):
    """A header or first row of one column with another delimiter in it is refused, and the argument is named."""
    with pytest.raises(CijInputError) as raised:
        read_source(file(content, **options))
    assert f"Give delimiter={found!r}" in str(raised.value)
    assert "line 1" in str(raised.value)
    assert A not in str(raised.value)


def test_a_column_named_in_full_may_hold_a_delimiter(file):
    """A header is not taken for several columns where the argument names it in full."""
    assert read_source(file("Name, first\nAda\n", "Name, first", delimiter=";")) == [(2, "Ada")]


def test_a_delimiter_that_is_given_settles_a_file_without_header(file):
    """Values of a file without a header may hold other delimiters where the delimiter is given."""
    assert read_source(file("a;b\n", 0, delimiter=",")) == [(1, "a;b")]


@pytest.mark.parametrize("first", [A, "ada@x.test", "4930123456"])
def test_a_first_row_that_holds_a_value_is_no_header(file, first):
    """The first member of a file without a header is not lost as a header, and not shown."""
    with pytest.raises(CijInputError, match=r"line 1: this first row is no header.*Give column=0") as raised:
        read_source(file(f"{first}\n{B}\n"))
    assert first not in str(raised.value)
    assert read_source(file(f"{first}\n{B}\n", 0)) == [(1, first), (2, B)]


@pytest.mark.parametrize(
    ("line", "delimiter"), [("sep=;", ";"), ('"sep=|"', "|"), ("SEP=\t", "\t"), ("\ufeffsep=;", ";")]
)
def test_the_line_that_names_the_delimiter_for_excel_is_read(file, line, delimiter):
    """Excel's first line ``sep=`` names the delimiter, and is no row; the lines behind it keep their numbers."""
    assert read_source(file(f"{line}\r\nid{delimiter}name\r\n{A}{delimiter}Ada\r\n", "id")) == [(3, A)]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_encodings_and_line_ends(file, encoding, newline):
    """A file is read in its encoding, with any line ends."""
    text = newline.join(['"Straße";id', f'"Jürgen{newline}Weg 2";{A}', "", f"é;{B}", ""])
    content = text.encode(encoding)
    source = file(content, "id", delimiter=";", encoding="utf-8-sig" if encoding == "utf-8" else encoding)
    assert read_source(source) == [(3, A), (5, B)]
    assert [row["Straße"] for _, row in read_rows(source)] == [f"Jürgen{newline}Weg 2", "é"]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("id\nx\n".encode("utf-16"), {}, "begins with the byte order mark of UTF-16. Give encoding='utf-16'"),
        ("id\nx\n".encode("utf-32"), {}, "begins with the byte order mark of UTF-32. Give encoding='utf-32'"),
        ("id\nx\n".encode("utf-8-sig"), {"encoding": "cp1252"}, "byte order mark of UTF-8. Give encoding='utf-8'"),
        ("id,b\nx,y\n".encode("utf-16-le"), {"column": "id"}, "give encoding, such as 'cp1252' or 'utf-16'"),
        ("größe,id\n1,2\n".encode("cp1252"), {"column": "größe"}, "Its header is no utf-8-sig: give encoding"),
        ("id\nok\nJos\xe9\n".encode("cp1252"), {}, "line 3: column 'id' has bytes that are no utf-8-sig"),
        ("Jos\xe9\n".encode("cp1252"), {"column": 0}, "line 1: column 0 has bytes that are no utf-8-sig"),
        (b"i\0d\0\n", {"encoding": "utf-16"}, "encoding"),
        (b"id\nx\n", {"encoding": "base64"}, "'base64' is not a text encoding"),
    ],
)
def test_a_wrong_encoding_is_refused_and_named(file, content, options, words):
    """A file in another encoding is refused where it matters, and the argument is named."""
    with pytest.raises(CijInputError) as raised:
        read_source(file(content, **options))
    assert words in str(raised.value)


def test_whole_rows_refuse_bytes_of_another_encoding(file):
    """No column of a whole row is read wrongly, while ids beside it are read."""
    source = file("id,name\nx,Jos\xe9\n".encode("cp1252"), "id")
    assert read_source(source) == [(2, "x")]
    with pytest.raises(
        CijInputError, match=r"line 2: column 'name' has bytes that are no utf-8-sig.*encoding='cp1252'"
    ):
        read_rows(source)


@pytest.mark.parametrize(
    ("content", "options", "values"),
    [
        (f'id,t\n{A},"Tim \\"Danger\\" Yates"\n{B},x\n', {"escape": "\\"}, [A, B]),
        (f'id,t\n{A},"19\\""\n{B},", Inc"\n{C},x\n', {"escape": "\\"}, [A, B, C]),
        (f'id,t\n{A},"a\\\\"\n{B},x\n', {"escape": "\\"}, [A, B]),
        (f'id,t\n{A},"say ""a"" and \\"b\\""\n{B},x\n', {"escape": "\\"}, [A, B]),
        (f'id,t\n{A},19" wide\n{B},"x\n', {"quote": ""}, [A, B]),
        (f"id,t\n{A},'a,b'\n{B},'it''s'\n", {"quote": "'"}, [A, B]),
        (f"id,t\n{A},a\\,b\n{B},x\n", {"quote": "", "escape": "\\"}, [A, B]),
    ],
)
def test_quotes_and_escapes_are_read_as_the_file_is_written(file, content, options, values):
    """Quotes that are escaped, other quotes and none are read when the arguments say so."""
    assert [value for _, value in read_source(file(content, "id", **options))] == values


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (
            f'id,t\n{A},x\n{B},"Lovelace\n{C},y\n',
            3,
            "a quote that opens in this row is never closed (read on to line 4)",
        ),
        (f'id,t\n{A},"a\nb"\n{B},"Lovelace\n', 4, "is never closed"),
        (f'sep=;\nid;t\n{A};"Lovelace\n', 3, "is never closed"),
        (f'id,t\n{A},"Tim \\"D\\" Y"\n', 2, "neither doubled nor escaped"),
        (f'id,t\n{A},"19\\""\n{B},", Inc"\n{C},x\n', 3, "3 fields, and the header has 2"),
        (f"id,t\n{A},x\n{B},Lovelace, Ada\n", 3, "3 fields, and the header has 2"),
    ],
)
def test_a_row_that_is_not_as_the_arguments_say_is_refused(file, content, line, words):
    """A row whose quotes or delimiters don't fit is refused with the line where it begins."""
    with pytest.raises(CijInputError) as raised:
        read_source(file(content, "id"))
    assert f"line {line}: " in str(raised.value)
    assert words in str(raised.value)
    assert "Give quote, escape or delimiter" in str(raised.value)
    assert "Lovelace" not in str(raised.value)


def test_empty_fields_behind_the_header_are_nothing(file):
    """Delimiters at the end of rows, behind the last column, are no columns."""
    assert read_source(file(f"id,t\n{A},x,,\n{B}\n", "id")) == [(2, A), (3, B)]


def test_a_character_has_one_meaning():
    """One character can't be delimiter and quote at once."""
    with pytest.raises(CijInputError, match=r"quote is ';', and so is delimiter"):
        FromFile("x.csv", delimiter=";", quote=";")


def test_a_text_may_be_long_and_the_limit_of_the_process_stays(file):
    """A column that nobody reads may hold any text, and the field limit of other code is what it was."""
    before = csv.field_size_limit()
    rows = [(2, A), (3, B)]
    assert read_source(file(f"id,t\n{A},{'x' * (before + 1)}\n{B},x\n", "id")) == rows
    assert csv.field_size_limit() == before
    with pytest.raises(csv.Error, match="field larger than field limit"):
        list(csv.reader(["x" * (before + 1)]))


@pytest.mark.parametrize(
    "options", [{"delimiter": ""}, {"delimiter": "\\t"}, {"quote": "''"}, {"escape": 5}, {"delimiter": "\n"}]
)
def test_an_argument_of_more_than_a_character_is_refused_at_once(options):
    """Delimiter, quote and escape are one character each, which is checked when the DAG is parsed."""
    with pytest.raises(CijInputError, match=f"{next(iter(options))} is .*Give one character"):
        FromFile("x.csv", **options)


@pytest.mark.parametrize("content", ["", "\n\n", "id\n", "id"])
def test_a_file_without_rows_has_no_member(file, content):
    """A file that is empty, or has a header alone, has no rows; without a header, there is no column either."""
    if "id" in content:
        assert read_source(file(content, "id")) == []
    else:
        assert read_source(file(content, 0)) == []
        with pytest.raises(CijInputError, match=r"there is no column 'id'. Its columns: none"):
            read_source(file(content, "id"))


def test_names_are_compared_without_what_surrounds_them(file):
    """Invisible characters around a header, or around the argument, do not matter."""
    source = file(f"name,\u200bid\u00a0\nAda,{A}\n".encode(), " id", encoding="utf-8")
    assert read_source(source) == [(2, A)]
    assert read_rows(source) == [(2, {"name": "Ada", "id": A})]


def test_a_byte_order_mark_before_a_quote_is_no_part_of_the_header(file):
    """A byte order mark is no part of the first name, also where the encoding leaves it and a quote follows."""
    assert read_source(file(f'\ufeff"id","name"\n{A},Ada\n', "id", encoding="utf-8")) == [(2, A)]


def test_a_nul_is_part_of_a_value(file):
    """A NUL in a row is part of a value, and stops nothing."""
    assert read_source(file(b"id,t\nx\0y,\0\nz,\n", "id")) == [(2, "x\0y"), (3, "z")]


_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(
    st.lists(st.tuples(_TEXTS, _TEXTS), max_size=5),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(['"', "'"]),
    st.sampled_from([None, "\\"]),
)
def test_what_the_csv_module_writes_in_a_dialect_is_read(tmp_path_factory, rows, delimiter, quote, escape):
    """Rows that Python writes in a dialect are read with the same arguments."""
    path = tmp_path_factory.getbasetemp() / "dialect.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        how = {"delimiter": delimiter, "quotechar": quote, "escapechar": escape, "doublequote": escape is None}
        csv.writer(file, quoting=csv.QUOTE_ALL, **how).writerows([("a", "b"), *rows])
    source = FromFile(str(path), "a", delimiter=delimiter, quote=quote, escape=escape)
    assert [tuple(row.values()) for _, row in read_rows(source)] == rows
