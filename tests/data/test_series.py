"""Series from files: columns, calendars, and what is wrong with a line."""
import random

import numpy as np
import pytest

from minidl.data import labelled, read_series, read_ts
from minidl.errors import ArgumentError, MinidlError

CALENDARS = {"year": (["2001", "2002", "2003"], 1, ["2004", "2005"]),
             "quarter": (["1999Q3", "1999Q4", "2000Q1"], 4, ["2000Q2", "2000Q3"]),
             "month": (["2000-11", "2000-12", "2001-01"], 12, ["2001-02", "2001-03"]),
             "month end": (["2023-11-30", "2023-12-31", "2024-01-31"], 12, ["2024-02-29", "2024-03-31"]),
             "day of the month": (["2023-01-28", "2023-02-28", "2023-03-28"], 12, ["2023-04-28", "2023-05-28"]),
             "quarter's first": (["2023-07-01", "2023-10-01", "2024-01-01"], 4, ["2024-04-01", "2024-07-01"]),
             "week": (["2024-02-19", "2024-02-26", "2024-03-04"], 52, ["2024-03-11", "2024-03-18"]),
             "day": (["2024-02-27", "2024-02-28", "2024-02-29"], 7, ["2024-03-01", "2024-03-02"]),
             "weekday": (["2024-02-29", "2024-03-01", "2024-03-04", "2024-03-05", "2024-03-06"], 5,
                         ["2024-03-07", "2024-03-08"]),
             "hour": (["2024-02-29 22:00:00", "2024-02-29T23:00:00", "2024-03-01 00:00"], 24,
                      ["2024-03-01 01:00:00", "2024-03-01 02:00:00"]),
             "hour of one day": ([f"2024-02-29 {hour}:00" for hour in range(20, 24)], 24,
                                 ["2024-03-01 00:00:00", "2024-03-01 01:00:00"])}


def table(path, head, *columns, separator=","):
    path.write_text("\n".join([separator.join(head), *map(separator.join, zip(*columns))]) + "\n")
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("times, season, later", CALENDARS.values(), ids=CALENDARS)
def test_calendars_go_on(tmp_path, times, season, later, separator):
    numbers = [f"{n}.5" for n in range(len(times))]
    found = read_series(table(tmp_path / "t.csv", ["when", "a"], times, numbers, separator=separator))
    assert found.name == "a" and found.season == season and (found.values == np.arange(len(times)) + 0.5).all()
    assert found.to_come(2) == tuple(later)


def test_columns_are_chosen_by_name_or_because_there_is_one(tmp_path):
    path = table(tmp_path / "t.csv", ["a", "place", "Date", "b"], "123", "xyz", ["2001", "2002", "2003"], "456")
    assert (read_series(path, "b").values == [4, 5, 6]).all() and read_series(path, "b").to_come(1) == ("2004",)
    with pytest.raises(ArgumentError, match="column: expected the name of a column of numbers, got none.*2: a, b"):
        read_series(path)
    for name in ("column", "time"):
        with pytest.raises(ArgumentError, match=f"{name}: expected one of a, place, Date, b, got 'c'"):
            read_series(path, **{"column": "a", name: "c"})
    alone = read_series(table(tmp_path / "n.csv", ["a"], "123"))
    assert alone.step is None and alone.season == 1 and alone.to_come(2) == (3, 4)
    numbers = ["1250", "1180", "1300"]                 # no years
    assert read_series(table(tmp_path / "n.csv", ["a"], numbers)).step is None
    assert read_series(table(tmp_path / "n.csv", ["a", "b"], numbers, "123"), "a").step is None


@pytest.mark.parametrize("text, problem", [
    ("t,a\n2001-01,1\n2001-02,2\n2001-04,3\n2001-05,4\n2001-06,4",
     "line 4, t: expected 2001-03 behind 2001-02, got '2001-04'"),
    ("t,a\n2001,1\n2003,2\n2002,3\n2004,3\n2005,3\n2006,3\n2007,3", "line 3, t: expected 2002 behind 2001, got '2003'"),
    ("t,a\n2003,1\n2002,2\n2001,3", "t: expected times, each behind the one before, got 2003 2002 2001"),
    ("t,a\n2001,1\n2001,2\n2001,3", "t: expected times, each behind the one before"),
    ("t,a\n2001,1\n2002,\n2003,3", "line 3, a: expected a number, got ''. Fill the gap"),
    ("t,a\n2001,1\n2002,nan\n2003,3", "line 3, a: expected a number, got 'nan'"),
    ("t,a\n2001,1\n2002,two\n2003,3", "line 3, a: expected a number, got 'two'"),
    ("t,a\n2001,1\n2002,2\n2003,3\nlater,4", "line 5, t: expected a time, got 'later'"),
    ("t,a\n2001,1\n2002,2,9\n", "line 3: expected 2 cells as in the first, got 3"),
    ("t,a\n", "path: expected a head line and rows"), ("", "path: expected a head line and rows"),
    ("t,a\nx,y\n", "column: expected the name of a column of numbers, got none. .* has 0")])
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, problem):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=r"\[read_series\] .*" + problem):
        read_series(path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    for content in (b"\xff\xfe\x00a", bytes(range(128, 256)) * 9):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(ArgumentError, match="expected a CSV file in UTF-8"):
            read_series(tmp_path / "t.csv")


def test_damaged_files_are_read_or_refused(tmp_path):
    """Never another error than minidl's."""
    rng, path, kept = random.Random(0), tmp_path / "t", 0
    whole = (b"t,a\n2001-01,1\n2001-02,2\n2001-03,3\n2001-04,4\n", b"t;a;b\n2001;1;2\n2002;2;4\n2003;3;5\n",
             b"date,x\n2024-02-28,1\n2024-02-29,2\n2024-03-01,5e300\n", b"t,a\n9999-11,1\n9999-12,2\n",
             b't,a\n2024-01-01T00:00:00+00:00,1\n2024-01-01 01:00:00,2\n', b"@data\n1,2,3:4,5,6:yes\n7:8:no\n")
    for _ in range(600):
        text = bytearray(rng.choice(whole))
        for _ in range(rng.randrange(3)):
            place = rng.randrange(len(text))
            text[place:place + rng.randrange(4)] = rng.choices(b'0123456789-:,;\n"QW.eTZ+ \x00\xff', k=rng.randrange(3))
        path.write_bytes(text)
        for read in (lambda: read_series(path).to_come(3), lambda: read_ts(path)):
            try:
                read()
                kept += 1
            except MinidlError as error:
                assert ": expected " in str(error)
    assert kept > 100


def test_labelled_series_are_read_and_padded(tmp_path):
    path = tmp_path / "x.ts"
    path.write_text("# about\n@classLabel true yes no\n@data\n1,2,3:4,5,6:yes\n\n7:8:no\n")
    series, labels = read_ts(path)
    assert [s.tolist() for s in series] == [[[1, 2, 3], [4, 5, 6]], [[7], [8]]] and labels == ["yes", "no"]
    data = labelled(series, labels)
    x, lengths, numbers = data.arrays
    assert x.tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 0, 0], [8, 0, 0]]] and lengths.tolist() == [3, 1]
    assert numbers.tolist() == [1, 0] and data.classes == ("no", "yes")
    with pytest.raises(ArgumentError, match="labels: expected of a, b, got no, yes"):
        labelled(series, labels, ["a", "b"])
    for given in ([], [np.ones((1, 3)), np.ones((2, 3))]):
        with pytest.raises(ArgumentError, match=r"\[padded\] series: expected series of as many channels, got"):
            labelled(given, labels[:len(given)])
    for bad, problem in (("@data\n1,x:yes", "line 2: expected numbers"),
                         ("@data\n1,2:3:yes", "line 2: expected numbers"),
                         ("@data\n1,2:3,4:yes\n1,2:no", "line 3: expected 2 channels, as in the first"),
                         ("@data\n1,2", "line 2: expected channels and a label"), ("1,2:yes", "none in")):
        path.write_text(bad)
        with pytest.raises(ArgumentError, match=problem):
            read_ts(path)
