import os
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.suite.document import MAX_BYTES, parse, read


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, "f.yaml")
    return str(caught.value)


def test_values_are_those_of_yaml_1_2() -> None:
    text = "a: [1e-3, none, off, no, 012, 0o17, 0x1F, 1_000, ~, true, 2001-01-01, +1.5, '7']"
    expected = [1e-3, "none", "off", "no", 12, 15, 31, 1000, None, True, "2001-01-01", 1.5, "7"]
    found = parse(text, "f").content["a"]
    assert found == expected
    assert [type(item) for item in found] == [type(item) for item in expected]


def test_every_value_and_key_knows_its_line() -> None:
    document = parse("a:\n  b:\n    - 1\n    - c:\n        2\n", "f")
    assert document.line(("a", "b", 1, "c")) == 5
    assert document.line(("a", "b", 1, "c"), of_key=True) == 4
    assert document.line(("a", "b", 0)) == 3
    assert document.line(("a", "b", 1, "absent", 7)) == 4
    assert document.line(()) == 1


def test_keys_given_twice_do_not_hide_each_other() -> None:
    document = parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "f.yaml")
    assert [str(problem) for problem in document.problems] == [
        "f.yaml:4: b.c: this key was already given on line 3",
        "f.yaml:5: a: this key was already given on line 1",
    ]
    assert document.content == {"a": 1, "b": {"c": 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!python/object:os.system x", "f.yaml:1: a: the tag"),
        ("a: 1\nb: !mine {c: 1}", "f.yaml:2: b: the tag '!mine' means nothing here"),
        ("1: 2", "f.yaml:1: a key should be text, not 1"),
        ("? [1, 2]\n: 3", "f.yaml:1: a key should be text, not a list"),
        ("a: !!int twelve", "f.yaml:1: a: not a number: 'twelve'"),
        ("a: " + "9" * 5000, "f.yaml:1: a: not a number: '999"),
    ],
)
def test_strange_values_leave_the_rest_readable(text: str, said: str) -> None:
    document = parse(f"{text}\nlast: 5\n", "f.yaml")
    assert len(document.problems) == 1
    assert str(document.problems[0]).startswith(said)
    assert document.content["last"] == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yaml:1: is empty"),
        ("# only a remark\n", "f.yaml:1: is empty"),
        ("- 1\n- 2", "f.yaml:1: should be a mapping of keys to values, not a list"),
        ("\n\nhello", "f.yaml:3: should be a mapping of keys to values, not the single value"),
        ("a: 1\nb: [1", "f.yaml:2: is not YAML: while parsing a flow sequence"),
        ("a: 1\nb: c: d", "f.yaml:2: is not YAML: mapping values are not allowed here"),
        ("a: *q", "f.yaml:1: is not YAML: found undefined alias 'q'"),
        ("a: 1\n---\nb: 2", "f.yaml:2: is not YAML: expected a single document"),
        ("a: 1\nb: \x00", "f.yaml:2: is not YAML: the character"),
        ("[" * 3000, "f.yaml: is nested too deeply"),
        ("a: " + "[" * 40 + "]" * 40, "f.yaml:1: is nested more than 30 deep"),
        ("a: &a [*a]", "f.yaml:1: is nested more than 30 deep"),
    ],
)
def test_what_is_no_suite_at_all_is_one_sentence(text: str, said: str) -> None:
    found = refused(text)
    assert found.startswith(said)
    assert "\n" not in found


def test_aliases_cannot_write_billions_of_values() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "holds more than 100000 values" in refused("\n".join(lines))


def test_aliases_are_otherwise_welcome() -> None:
    assert parse("a: &x {b: 1}\nc: *x", "f").content == {"a": {"b": 1}, "c": {"b": 1}}


def test_files_that_are_not_text(tmp_path: Path) -> None:
    binary, large, absent = tmp_path / "b.yaml", tmp_path / "l.yaml", tmp_path / "absent.yaml"
    binary.write_bytes(b"a: 1\n\xff\xfe\x00")
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    for path, said in (
        (binary, f"{binary}:2: is not a text file in UTF-8"),
        (large, f"{large}: is larger than 1000000 bytes"),
        (absent, f"{absent}: cannot be read: no such file or directory"),
        (tmp_path, f"{tmp_path}: is a folder, not a suite file"),
    ):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(caught.value) == said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be read: permission denied"):
        read(path)


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\nb: 2\r\n")
    assert read(path).content == {"name": "x", "b": 2}
