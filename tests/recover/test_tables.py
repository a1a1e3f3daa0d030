"""Tables of text as spreadsheets, loggers and libraries write them; what pandas writes is read."""

import numpy as np
import pytest

from specdesc.recover import tables
from specdesc.recover.errors import UsageError
from specdesc.recover.tables import Reading

pandas = pytest.importorskip("pandas")

VALUES = np.random.default_rng(0).standard_normal((6, 4)).round(6)
NAMES = ["speed", "depth, in m", "größe", "d"]


def _frame(values=VALUES, names=NAMES):
    return pandas.DataFrame(values, columns=names)


def _read(tmp_path, content, **known):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return tables.read(path, Reading(**known))


def _rows(values=VALUES, *, end="", separator=","):
    return "\n".join(separator.join(map(str, row)) + end for row in values) + "\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize(
    ("separator", "decimal"),
    [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), ("|", "."), ("|", ",")],
)
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("header", [True, False])
def test_every_way_of_writing_reads_back_the_same(
    tmp_path, encoding, separator, decimal, index, header
):
    frame = _frame()
    if index:
        frame.index = ["a", "b", "c", "d", "e", "f, g"]
    content = frame.to_csv(sep=separator, decimal=decimal, index=index, header=header)
    data = _read(tmp_path, content.encode(encoding))
    np.testing.assert_array_equal(data.values, VALUES)
    back = tmp_path / "back.csv"
    data.form.write(back, data.values)
    assert back.read_bytes() == content.encode(encoding)
    # Changed numbers come back at the last digit, between the same labels.
    data.form.write(back, data.values / 3)
    again = tables.read(back)
    np.testing.assert_array_equal(again.values, data.values / 3)
    assert again.form.header == data.form.header
    assert [again.form.row(i) for i in range(6)] == [data.form.row(i) for i in range(6)]
    if header:
        assert data.form.column(1) == "depth, in m"
    if index:
        assert data.form.row(5) == "f, g"


MARKS = ["", "NA", "N/A", "#N/A", "nan", "NaN", "null", "NULL", "None", "-", "?", "#DIV/0!", "<NA>"]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("header", [True, False])
def test_marks_of_missing_entries(tmp_path, mark, header):
    values = VALUES.copy()
    values[1, 2] = values[3, 0] = values[5, 3] = np.nan
    content = _frame(values).to_csv(na_rep=mark, index=False, header=header)
    data = _read(tmp_path, content)
    np.testing.assert_array_equal(data.values, values)
    data.form.write(tmp_path / "back.csv", data.values)
    assert (tmp_path / "back.csv").read_text() == content


@pytest.mark.parametrize("written", ["-9999", "-9999.0", "-9.999e3", "gone"])
def test_marks_that_the_user_names_and_no_others(tmp_path, written):
    values = VALUES.copy()
    values[2, 1] = np.nan
    content = _frame(values).to_csv(na_rep=written, index=False)
    known = "gone" if written == "gone" else "-9999"
    np.testing.assert_array_equal(_read(tmp_path, content, missing=(known,)).values, values)
    if written == "gone":
        with pytest.raises(UsageError, match="line 4, column 2: 'gone' is not a number"):
            _read(tmp_path, content)
    else:
        assert _read(tmp_path, content).values[2, 1] == -9999


@pytest.mark.parametrize(
    "content",
    [
        _rows(end=","),
        "a,b,c,d,\n" + _rows(end=","),
        "a,b,c,d\n" + _rows(end=","),
        "sep=;\n" + _rows(separator=";"),
        "# made by hand\n" + _rows(),
        "# a b c d\n" + _rows(separator=" "),
        "a b c d\n"
        + "".join(f"r{i} {line}\n" for i, line in enumerate(_rows(separator=" ").splitlines())),
        "a,b,c,d\ns,m,kg,K\n" + _rows(),
        "\n" + _rows().replace("\n", "\n\n"),
        _rows().replace("\n", "\r\n"),
        _rows().replace(",", ", "),
        _rows().replace("\n", "\r"),
        '"' + _rows().strip().replace(",", '","').replace("\n", '"\n"') + '"\n',
        ",0,1,2,3\n" + "".join(f"{i},{line}\n" for i, line in enumerate(_rows().splitlines())),
        "id,a,b,c,d\n"
        + "".join(f"{7 + 2 * i},{line}\n" for i, line in enumerate(_rows().splitlines())),
        "x,2001,2002,2003,2004\n"
        + "".join(f"r{i},{line}\n" for i, line in enumerate(_rows().splitlines())),
        "a,kind,b,c,d\n"
        + "".join(line.replace(",", ",red,", 1) + "\n" for line in _rows().splitlines()),
    ],
    ids=[
        "trailing comma",
        "trailing comma, header too",
        "trailing comma, header without",
        "hint of a spreadsheet",
        "comment",
        "savetxt",
        "R",
        "units",
        "blank lines",
        "windows",
        "spaces after commas",
        "old mac",
        "quoted numbers",
        "pandas without names",
        "numbered",
        "years",
        "words between numbers",
    ],
)
def test_what_people_put_around_numbers(tmp_path, content):
    np.testing.assert_array_equal(_read(tmp_path, content).values, VALUES)


@pytest.mark.parametrize(("decimal", "group"), [(",", "."), (".", ",")])
def test_marks_of_thousands(tmp_path, decimal, group):
    values = (VALUES * 1e6).round(2)
    swap = str.maketrans(",.", group + decimal)
    content = _rows([[f'"{v:,.2f}"'.translate(swap) for v in row] for row in values], separator=";")
    np.testing.assert_array_equal(_read(tmp_path, content).values, values)


def test_counting_numbers_are_data_where_nothing_names_them(tmp_path):
    values = np.arange(24.0).reshape(6, 4)
    np.testing.assert_array_equal(_read(tmp_path, _rows(values)).values, values)
    assert _read(tmp_path, _rows(values), header=True).values.shape == (5, 4)
    assert _read(tmp_path, _rows(values), header=True, index=True).values.shape == (5, 3)


def test_a_column_with_a_name_and_nothing_else_is_missing(tmp_path):
    data = _read(tmp_path, "a,b,c,d,e\n" + _rows(end=","))
    assert np.isnan(data.values[:, 4]).all()
    assert data.form.column(4) == "e"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2\n3,four\n", "line 2, column 2: 'four' is not a number"),
        ("1,2\n3\n", "line 2 has 1 fields, the others 2"),
        ("1,2\n3,4\n\n5,6,7\n", "line 4 has 3 fields, the others 2"),
        ("a,b\n1,2\n3,4\n5\n", "line 4 has 1 fields"),
        ("1,2,3\n1,2\n3,4\n5,6\n", "line 1 has 3 fields"),
        ("1\n1,2\n3,4\n5,6\n", "line 1 has 1 fields"),
        ('a,b\n"1\n",2\n3,x\n5,6\n', "line 4, column 2: 'x'"),
        ("1,2\n3,inf\n", "line 2, column 2: 'inf' is infinite"),
        ("", "it is empty"),
        ("a,b\n", "is not a number"),
        ("NA,NA\nNA,NA\n", "every entry is missing"),
        (b"\x00\x01\x02\x03" * 30, "it is no text"),
        ("1,2\n3,1_000\n", "'1_000' is not a number"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path, content, message):
    with pytest.raises(UsageError, match=message):
        _read(tmp_path, content)
