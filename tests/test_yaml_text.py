import pytest
import yaml

from recsys_ssl import yaml_text
from recsys_ssl.yaml_text import YamlError

# Nine times nine times nine ... of a value, once its aliases are written out.
BOMB = "x0: &x0 [1]\n" + "\n".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 9))
MERGES = "x0: &x0 {a: 1}\n" + "\n".join(f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}" for i in range(1, 9))


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: [x, 1.5, true, null, ~]\nc:\n  - {d: 'e f'}\n",
        "a: &a {b: 1, c: 2}\nd:\n  <<: *a\n  c: 3\ne: *a\n",
        'a: "\\u00e9\\t\\x1b"\nb: |\n  two\n  lines\n',
        "!!map {a: !!str 1}",
        "",
    ],
    ids=["plain", "merge", "escapes", "tags", "empty"],
)
def test_what_plain_yaml_means_is_what_pyyaml_says(text):
    assert yaml_text.parse(text).values == yaml.safe_load(text)


def test_a_date_is_a_text():
    assert yaml_text.parse("a: 2020-01-01\nb: 2001-02-30\n").values == {"a": "2020-01-01", "b": "2001-02-30"}


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ([], 1),
        (["a"], 1),
        (["e"], 4),
        (["e", "b"], 1),  # merged
        (["e", "c"], 6),  # its own, over the merged one
        (["f", 1, "g"], 9),
        (["f", 7], 7),
        (["absent", "b"], 1),
    ],
)
def test_a_value_has_the_line_of_its_key(keys, line):
    text = "a: &a {b: 1,\n  c: 2}\n\ne:\n  <<: *a\n  c: 3\nf:\n  - 1\n  - g: 2\n"
    assert yaml_text.parse(text).line_of(keys) == line


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: &b [*b]\n", 2, r"\*b stands within what it stands for"),
        ("&a\nb: *a\n", 2, r"\*a stands within"),
        (BOMB, 5, "at most|may have 10,000 values"),
        (MERGES, 5, "may have 10,000 values"),
        ("a: [" + "1," * 10_000 + "1]", 1, "may have 10,000 values"),
        ("a:\n - " + "[" * 3000, 2, "30 deep"),
        ("\n".join(" " * i + "a:" for i in range(300)), 30, "30 deep"),
        ("a: " + "9" * 5000, 1, "cannot be read as int. Received: '9999"),
        ("a: 1\nb: 010\n", 2, "in base 8 or 60. Received: 010. Write it in base 10, or quote it"),
        ("a: [3:30]", 1, "in base 8 or 60. Received: 3:30"),
        ("a: 1:30.5", 1, "in base 8 or 60"),
        ("a: 1\nb: !!bool abc\n", 2, "cannot be read as bool. Received: 'abc'"),
        ("a: !!int ''", 1, "cannot be read as int. Received: ''"),
        ("a: !!python/object/apply:os.system ['x']", 1, "a tag must be one of"),
        ("a: !!binary '***'", 1, "a tag must be one of .* Received: '!!binary'"),
        ("a: 1\nb: 2\na: 3\n", 3, "a key may be given once. Received twice: 'a'"),
        ("? [a]\n: 1\n", 1, "a key must be a text or a number"),
        ("? {a: 1}\n: 1\n", 1, "a key must be a text or a number"),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document"),
        ('a:\n  "\\ud800"\n', 2, "without NUL and halves of characters. Received: '.ud800'"),
        ('a: 1\nb: "\\0"\n', 2, "without NUL and halves of characters. Received: '.x00'"),
        ("a: 1\nb: \x1b[31m\n", 2, "character #x001b is not allowed"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("<<: 1\n", 1, "not valid YAML: .*expected a mapping"),
        ("a: *b\n", 1, "undefined alias"),
        ("a" * 300_000, 1, "at most 256 kB"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_fault_is_one_line_with_its_number(text, line, message):
    with pytest.raises(YamlError, match=message) as raised:
        yaml_text.parse(text)
    assert raised.value.line == line
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_is_read_by_its_mark(tmp_path, encoding):
    (tmp_path / "a.yaml").write_bytes("a: é\n".encode(encoding))
    assert yaml_text.read(tmp_path / "a.yaml").values == {"a": "é"}


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a: 1\nb: \xe9\n", 2, "cannot be read as utf-8. Save it as UTF-8"),
        (b"\xff\xfea", 1, "cannot be read as utf-16"),
        (b"a: " + b"x" * 300_000, 1, "at most 256 kB. Is it the right file"),
        (b"PK\x03\x04\0\0", 1, "character #x0003 is not allowed"),
    ],
    ids=["latin-1", "cut UTF-16", "large", "zip"],
)
def test_a_file_that_is_no_yaml_is_one_line(tmp_path, content, line, message):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(YamlError, match=message) as raised:
        yaml_text.read(tmp_path / "a.yaml")
    assert raised.value.line == line


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\x1b[31m\u202e", "'a\\x1b[31m\\u202e'"),
        ("a" * 100, "'" + "a" * 80 + "'…"),
        (1.5, "1.5"),
        (["a" * 1000], None),
        (10**4000, None),
    ],
    ids=["controls", "long", "number", "long list", "long number"],
)
def test_a_value_is_shown_in_one_short_line(value, shown):
    text = yaml_text.show(value)
    assert text.isprintable()
    assert len(text) < 90
    assert shown in (None, text)
