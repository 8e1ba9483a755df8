"""Configuration of checks: which file counts, what it may hold, which rules then hold where."""

from __future__ import annotations

import pickle
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_cli.checks.checking import Checking, check_paths
from medimg_cli.checks.config import Config, Settings, Wishes
from medimg_cli.checks.configuring import KEYS, load_config
from medimg_cli.checks.limits import LIMITS
from medimg_cli.checks.measures import MEASURES
from medimg_cli.checks.patterns import Patterns, place_of
from medimg_cli.checks.rules import RULES
from medimg_cli.checks.selecting import meant, meant_by_all
from medimg_cli.errors import MedImgError, UsageError
from tests.checks.planted_expecting import write

PAGE = Path(__file__).resolve().parents[2] / "docs" / "check-config.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, **wishes: Any) -> Config:
    """Load a medimg.toml."""
    Path("medimg.toml").write_text(text, encoding="utf-8")
    return load_config(Wishes(**wishes))


def settings(text: str, path: str = "a.nii", **wishes: Any) -> Settings:
    return load(text, **wishes).settings_for(path)


def usual(*letters: str) -> set[str]:
    """Return the rules of some groups that hold where nobody says anything, expectations left out."""
    return {code for code, rule in RULES.items() if rule.on and code[0] in (letters or "FHVLSDP") and not rule.needs}


def all_of(*starts: str) -> set[str]:
    return {code for code, rule in RULES.items() if code.startswith(starts) and not rule.needs}


# -- which file


def test_without_a_file_the_usual_rules_hold() -> None:
    config = load_config(Wishes(isolated=True))
    assert usual() <= set(config.settings_for("a.nii").codes) | {code for code in RULES if RULES[code].needs}
    assert config.error_on == "error"
    assert config.file is None


def test_the_nearest_file_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = folder / "one" / "two"
    deep.mkdir(parents=True)
    (folder / "medimg.toml").write_text("[check]\nerror-on = 'info'")
    monkeypatch.chdir(deep)
    found = load_config(Wishes())
    assert (found.error_on, found.file, found.root) == ("info", "../../medimg.toml", str(folder))
    (folder / "one" / "pyproject.toml").write_text("[tool.other]\nname = 'medimg'")
    assert load_config(Wishes()).error_on == "info"  # nothing in it is ours
    (folder / "one" / "pyproject.toml").write_text("[tool.medimg.check]\nerror-on = 'warning'")
    assert load_config(Wishes()).file == "../pyproject.toml"
    (folder / "one" / "medimg.toml").write_text("")
    found = load_config(Wishes())
    assert (found.error_on, found.file, found.root) == ("error", "../medimg.toml", str(folder / "one"))
    assert load_config(Wishes(isolated=True)).file is None
    assert load_config(Wishes(config="../../medimg.toml")).error_on == "info"


@pytest.mark.parametrize("name", ["mine.toml", "pyproject.toml"])
def test_a_file_that_is_named(folder: Path, name: str) -> None:
    (folder / "sub").mkdir()
    (folder / "medimg.toml").write_text("[check]\nbroken = 1")
    (folder / "sub" / name).write_text("[tool.medimg.check]\nignore = ['H']\n[tool.other]")
    config = load_config(Wishes(config=f"sub/{name}"))
    assert config.root == str(folder / "sub")
    assert not [code for code in config.settings_for("a.nii").codes if code.startswith("H")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[check", "is no TOML"),
        (b"[check]\nselect = ['H'", "is no TOML"),
        (b"\xff\xfe", "is no TOML: it is not UTF-8"),
        (b"[check]\nx = " + b"[" * 5000, "is no TOML"),
        (b"[check]\nx = " + b"9" * 5000, "is no TOML"),
        (b"#" * (1 << 18) + b"##", "is too large or too deep for a configuration"),
        (b"[check]\nselect" + b".a" * 50_000 + b" = 1", "is too large or too deep for a configuration"),
        (b"[check]\nselect" + b".a" * 400 + b" = 1", "found {'a': {'a': {'a'"),
        (b"[chek]", "the file has no key 'chek'; did you mean check?"),
        (b"check = 3", "[check]: a table expected, found 3"),
    ],
)
def test_a_file_that_makes_no_sense(folder: Path, content: bytes, says: str) -> None:
    (folder / "medimg.toml").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_config(Wishes())
    assert str(caught.value).startswith("medimg.toml: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pyproject_of_somebody_else_is_passed_over(folder: Path) -> None:
    (folder / "pyproject.toml").write_bytes(b"[broken")
    assert load_config(Wishes()).file is None
    (folder / "pyproject.toml").write_bytes(b"# medimg\n[broken")
    with pytest.raises(UsageError, match="pyproject.toml: is no TOML"):
        load_config(Wishes())
    (folder / "pyproject.toml").write_bytes(b"[tool]\nmedimg = 3")
    with pytest.raises(UsageError, match="tool.medimg is no table"):
        load_config(Wishes())
    (folder / "pyproject.toml").write_bytes(b"[tool.medimg]\nchecks = {}")
    with pytest.raises(UsageError, match=r"\[tool.medimg\] has no key 'checks'; did you mean check\?"):
        load_config(Wishes())


def test_a_file_that_is_none(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "pyproject.toml").write_text("[tool.other]")
    for name, says in {"nothing.toml": "does not exist", "sub": "is no file", "pyproject.toml": "holds no"}.items():
        with pytest.raises(UsageError, match=f"{name}: {says}"):
            load_config(Wishes(config=name))
    with pytest.raises(UsageError, match="--isolated"):
        load_config(Wishes(config="a.toml", isolated=True))


# -- what it may hold

REFUSED = {
    "slect = ['H']": "[check] has no key 'slect'; did you mean select?",
    "paths = ['a']": "[check] has no key 'paths'",
    "error_on = 'info'": "[check] has no key 'error_on'; did you mean error-on?",
    "select = 'H'": "[check] select: a list of text expected",
    "select = [1]": "[check] select: a list of text expected",
    "select = ['X']": "[check] select: no rule is called 'X'; see: medimg check --explain all",
    "select = ['']": "[check] select: no rule is called ''",
    "ignore = ['form-disagree']": "did you mean forms-disagree?",
    "extend-select = ['H999']": "[check] extend-select: no rule is called 'H999'; see: medimg check",
    "expect = ['spacng <= 1']": "[check] expect: 'spacng <= 1', character 1: a fact expected, found 'spacng'; did you",
    "error-on = 'fatal'": "[check] error-on: error, warning or info expected, found 'fatal'",
    "header-only = 1": "[check] header-only: true or false expected, found 1",
    "exclude = ['../a']": "[check] exclude: the pattern '../a' leaves its folder",
    "exclude = ['']": "[check] exclude: '' is no pattern of paths",
    "exclude = ['!a']": "[check] exclude: '!a' takes back",
    "baseline = 3": "[check] baseline: text expected, found 3",
    "pair = ['a']": "[check] pair: two patterns expected",
    "pair = ['a/*', 'b/{nme}']": "[check] pair: 'b/{nme}' names {nme}; fields are",
    "severity = 3": "[check] severity: a table expected",
    "severity = {H = 'off'}": "[check] severity: H: error, warning or info expected, found 'off'; 'ignore' leaves",
    "severity = {Q1 = 'info'}": "[check] severity: Q1: no rule is called 'Q1'",
    "limits = {grid = 1}": "[check] limits: no limit is called 'grid'; did you mean grid-mm?",
    "limits = {grid-mm = '1'}": "[check] limits: grid-mm: a number expected, found '1'",
    "limits = {grid-mm = true}": "[check] limits: grid-mm: a number expected, found True",
    "limits = {grid-mm = nan}": "[check] limits: grid-mm: a number expected, found nan",
    "known-labels = [0.5]": "[check] known-labels: a list of label values expected",
    "known-labels = [true]": "[check] known-labels: a list of label values expected",
    "known-labels = ['1-9999999999999999999']": "[check] known-labels: a list of label values expected",
    "known-labels = ['5-3']": "[check] known-labels: a list of label values expected",
    "known-labels = ['-3']": "[check] known-labels: a list of label values expected",
    "known-labels = ['0-60000', '0-60000']": "[check] known-labels: more than 65536 label values",
    "known-labels = ['1-999999999999999999']": "[check] known-labels: more than 65536 label values",
    "label-maps = 'a'": "[check] label-maps: a list of text expected",
    "overrides = {}": "[check] overrides: tables [[check.overrides]] expected",
    "[[check.overrides]]\nignore = ['H']": "[[check.overrides]] 1: paths are missing",
    "[[check.overrides]]\npaths = []": "[[check.overrides]] 1 paths: at least one pattern",
    "[[check.overrides]]\npaths = ['a']\n[[check.overrides]]\npaths = ['a']\nexclude = ['a']": (
        "[[check.overrides]] 2 has no key 'exclude'"
    ),
    "[[check.overrides]]\npaths = ['a']\nlabel-map = 'yes'": "[[check.overrides]] 1 label-map: true or false expected",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_makes_no_sense_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(f"[check]\n{text}")
    said = str(caught.value)
    assert said.startswith("medimg.toml: ")
    assert REFUSED[text] in said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"select": ("H,Q",)}, "--select: no rule is called 'Q'"),
        (
            {"extend_select": ("forms-disagre",)},
            "--extend-select: no rule is called 'forms-disagre'; did you mean forms",
        ),
        ({"ignore": ("",)}, "--ignore: no rule is called ''"),
        ({"expect": ("spacing <= x",)}, "--expect: 'spacing <= x', character 12: a number"),
        ({"pair": ("", "b")}, "--pair: a pattern of --pair is empty"),
    ],
)
def test_wishes_that_make_no_sense(wishes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(Wishes(isolated=True, **wishes))
    assert str(caught.value).startswith(says)


TOML = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.sampled_from(["H", "a/**", "x = 1", "", "1-5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["H001", "grid-mm", "paths"]), inner),
)


@given(st.sampled_from(KEYS), TOML)
def test_any_value_of_a_key_is_taken_or_refused(key: Any, value: Any) -> None:
    try:
        key.read(value)
    except UsageError as error:
        assert "\n" not in str(error)


# -- which rules


def test_words_for_rules() -> None:
    assert meant("h001") == {"H001": 4} == meant(RULES["H001"].name.upper())
    assert set(meant("H")) == all_of("H") and set(meant("H").values()) == {1}
    assert set(meant("ALL")) == set(RULES) and set(meant("all").values()) == {0}
    assert meant_by_all(["H, H001"])["H001"] == 4
    assert set(meant_by_all(["H,V"])) == all_of("H", "V")


CHOICES = {
    "select = ['H']": all_of("H"),
    "select = []": set(),
    "select = ['H', 'V']": all_of("H", "V"),
    "select = ['all']": all_of(""),
    "select = ['H']\nignore = ['H001']": all_of("H") - {"H001"},
    "select = ['H001']\nignore = ['H']": {"H001"},
    "select = ['H001']\nignore = ['H00']": {"H001"},
    "select = ['H00']\nignore = ['H00']": set(),
    "select = ['all']\nignore = ['H', 'V']\nextend-select = ['H001']": all_of("") - all_of("H", "V") | {"H001"},
    "ignore = ['all']": set(),
    "ignore = ['H']": usual() - all_of("H"),
    "ignore = ['H']\nextend-select = ['H001']": usual() - all_of("H") | {"H001"},
    "extend-select = ['all']": all_of(""),
}


@pytest.mark.parametrize("text", CHOICES)
def test_the_more_specific_wins(text: str) -> None:
    assert set(settings(f"[check]\n{text}").codes) == CHOICES[text]
    given_words: dict[str, Any] = {name.replace("-", "_"): tuple(words) for name, words in tomllib.loads(text).items()}
    if all(given_words.values()):
        assert set(load_config(Wishes(isolated=True, **given_words)).settings_for("a").codes) == CHOICES[text]


LAYERS: list[tuple[str, dict[str, tuple[str, ...]], set[str]]] = [
    ("select = ['V']", {"select": ("H",)}, all_of("H")),
    ("select = ['V']", {"extend_select": ("H",)}, all_of("H", "V")),
    ("select = ['V', 'H001']", {"ignore": ("H",)}, all_of("V")),
    ("ignore = ['H001']", {"select": ("H",)}, all_of("H") - {"H001"}),
    ("ignore = ['H001']", {"select": ("H001",)}, {"H001"}),
    ("ignore = ['H']", {"select": ("H",)}, all_of("H")),
    ("ignore = ['H']", {"select": ("all",)}, all_of("") - all_of("H")),
    ("ignore = ['H']", {"select": ("V", "H001")}, all_of("V") | {"H001"}),
    ("select = ['V']\nextend-select = ['H']", {"select": ("H001",)}, {"H001"}),
]


@pytest.mark.parametrize(("text", "wishes", "codes"), LAYERS)
def test_the_command_line_goes_before_the_file(text: str, wishes: dict[str, Any], codes: set[str]) -> None:
    assert set(settings(f"[check]\n{text}", **wishes).codes) == codes


def test_rules_come_in_their_order() -> None:
    codes = settings("[check]\nselect = ['V', 'H', 'F']").codes
    assert list(codes) == [code for code in RULES if code in codes]


def test_header_only_leaves_out_rules_that_read_voxels() -> None:
    for config in (load_config(Wishes(isolated=True, header_only=True)), load("[check]\nheader-only = true")):
        found = config.settings_for("a.nii")
        assert found.header_only
        assert not [code for code in found.codes if RULES[code].reads_voxels]
        assert {code for code in usual() if not RULES[code].reads_voxels} <= set(found.codes)
    assert settings("[check]\nheader-only = true", select=("V",)).codes == tuple(
        code for code in all_of("V") if not RULES[code].reads_voxels
    )


# -- overrides

OVERRIDES = """
[check]
select = ["H", "V"]
expect = ["spacing <= 1", "dtype = int16"]
label-maps = ["labels/**"]
known-labels = [0, 1]
severity = {H = "info", H001 = "error"}
limits = {grid-mm = 0.5}

[[check.overrides]]
paths = ["raw/**", "*_raw.nii"]
ignore = ["H"]
severity = {H001 = "warning"}
expect = ["spacing <= 5", "channels = 1"]

[[check.overrides]]
paths = ["raw/good"]
extend-select = ["H001"]
limits = {grid-mm = 1, forms-mm = 2}
known-labels = ["3-5", 9]

[[check.overrides]]
paths = ["raw/odd", "labels/odd"]
select = ["D"]
expect = []
label-map = false
"""


def test_overrides_hold_for_their_paths() -> None:
    config = load(OVERRIDES)
    plain, raw, good, odd = (config.settings_for(f"{name}/a.nii") for name in ("other", "raw", "raw/good", "raw/odd"))
    expectations = {"E001"} & set(plain.codes)
    assert set(plain.codes) == all_of("H", "V") | expectations
    assert set(raw.codes) - expectations == all_of("V")
    assert set(good.codes) - expectations == all_of("V") | {"H001"}
    assert set(odd.codes) == all_of("D")
    assert [each.severity(RULES["H001"]) for each in (plain, raw, good)] == ["error", "warning", "warning"]
    assert [each.severities["H002"] for each in (plain, raw) if "H002" in RULES] == ["info", "info"]
    assert [each.limit("grid-mm") for each in (plain, raw, good)] == [0.5, 0.5, 1]
    assert good.limit("forms-mm") == 2
    assert plain.expect == ("spacing <= 1", "dtype = int16")
    assert raw.expect == ("dtype = int16", "spacing <= 5", "channels = 1")
    assert odd.expect == ()
    assert [each.known for each in (plain, raw, good)] == [(0, 1), (0, 1), (3, 4, 5, 9)]
    assert [each.labels for each in (plain, raw, good, odd)] == [None, None, True, False]
    assert config.settings_for("labels/a.nii").labels is True
    assert config.settings_for("labels/odd/a.nii").labels is False
    assert config.settings_for("deep/sub/b_raw.nii") is raw


def test_a_command_line_goes_before_overrides() -> None:
    config = load(OVERRIDES, select=("H",), expect=("spacing <= 7",))
    assert config.settings_for("other/a.nii").expect == ("dtype = int16", "spacing <= 7")
    assert config.settings_for("raw/odd/a.nii").expect == ("spacing <= 7",)
    assert all_of("H") <= set(config.settings_for("raw/a.nii").codes)
    assert not all_of("V") & set(config.settings_for("raw/a.nii").codes)


def test_settings_are_made_once_and_travel_to_workers() -> None:
    config = load(OVERRIDES)
    assert config.settings_for("raw/a.nii") is config.settings_for("raw/b.nii")
    there = pickle.loads(pickle.dumps(config))
    for path in ("raw/a.nii", "raw/good/a.nii", "labels/a.nii", "../a.nii", "https://host/raw/a.nii", "-"):
        assert there.settings_for(path) == config.settings_for(path)


def test_paths_count_from_the_folder_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "study" / "raw").mkdir(parents=True)
    (folder / "medimg.toml").write_text("[check]\nexclude = ['study/raw']\nbaseline = 'known.json'")
    assert load_config(Wishes()).baseline == "known.json"
    monkeypatch.chdir(folder / "study")
    config = load_config(Wishes())
    assert config.excludes("raw/a.nii") and config.excludes(str(folder / "study" / "raw" / "a.nii"))
    assert not config.excludes("../raw/a.nii") and not config.excludes("-")
    assert config.baseline == "../known.json"
    assert load_config(Wishes(baseline="mine.json")).baseline == "mine.json"


def test_what_is_excluded_is_not_looked_at_even_if_it_is_named(folder: Path) -> None:
    for name in ("good.nii", "bad.nii"):
        (folder / name).write_bytes(write(name)(folder).read_bytes()[:-7])
    config = load("[check]\nexclude = ['bad.*']")
    for paths in (["."], ["good.nii", "bad.nii"]):
        told = {Path(each.path).name: each for each in check_paths(paths, Checking(config=config)) if each.path}
        assert [name for name, each in told.items() if not each.excluded] == ["good.nii"]
        assert told["good.nii"].findings and not told["bad.nii"].findings


def test_a_config_that_was_changed_is_worked_out_anew() -> None:
    one = load("[check]\nselect = ['V']")
    assert one.settings_for("a.nii").codes and not one.settings_for("a.nii").header_only
    assert replace(one, header_only=True).settings_for("a.nii").header_only


def test_pairs_and_the_rest() -> None:
    one = load("[check]\npair = ['images/*.nii', 'labels/{name}']\nerror-on = 'warning'")
    assert one.pairs == (("images/*.nii", "labels/{name}"),)
    assert one.error_on == "warning"
    assert load("[check]\npair = [['a/*', 'b/{name}'], ['c/*', 'd/{1}']]").pairs[1] == ("c/*", "d/{1}")
    both = load("[check]\npair = ['a/*', 'b/{name}']\nerror-on = 'info'", pair=("c/*", "d/{1}"), error_on="error")
    assert both.pairs == (("c/*", "d/{1}"),)
    assert both.error_on == "error"


def test_severities_and_limits_reach_findings(folder: Path) -> None:
    write("a.nii")(folder)
    config = load("[check]\nselect = ['E']\nexpect = ['spacing <= 1']\nseverity = {E = 'info'}")
    (checked,) = check_paths(["a.nii"], Checking(config=config))
    assert [(finding.code, finding.severity) for finding in checked.findings] == [("E001", "info")]


# -- patterns

MATCHES = [
    ("raw", ["raw", "raw/a", "x/raw", "x/raw/y/a", "/elsewhere/raw/a"], ["raws", "x/draw/a"]),
    ("raw/", ["raw", "raw/a", "x/raw/a"], ["raws"]),
    ("raw/**", ["raw/a", "raw/x/a"], ["raw", "x/raw/a"]),
    ("./raw", ["raw", "raw/a"], ["x/raw"]),
    ("sub-*/anat", ["sub-1/anat/a", "sub-1/anat"], ["x/sub-1/anat", "sub-1/x/anat"]),
    ("**/anat/*_T1w.nii", ["anat/s_T1w.nii", "x/y/anat/s_T1w.nii"], ["anat/x/s_T1w.nii", "s_T1w.nii"]),
    ("a/**/b", ["a/b", "a/x/b", "a/x/y/b/z"], ["b", "x/a/b"]),
    ("**", ["a", "x/a", "/elsewhere/a", "https://host/a"], []),
    ("*.nii", ["a.nii", "x/a.nii", "https://host/x/a.nii?key=1"], ["a.nii.gz", "x.nii2/a"]),
    ("a?.nii", ["ab.nii"], ["a.nii", "abc.nii", "a/.nii"]),
    ("[ab]*.nii", ["a1.nii"], ["c1.nii", "A1.nii"]),
    ("[!ab].nii", ["c.nii"], ["a.nii"]),
    ("a[*].nii", ["a*.nii"], ["ab.nii"]),
    ("/elsewhere/**", ["/elsewhere/a"], ["elsewhere/a", "/elsewhere"]),
    ("x/a.nii", ["x/a.nii", "x/../x/a.nii", "./x//a.nii"], ["/elsewhere/x/a.nii", "../x/a.nii", "X/a.nii"]),
]


@pytest.mark.parametrize(("pattern", "near", "far"), MATCHES, ids=[row[0].replace("/", "|") for row in MATCHES])
def test_what_a_pattern_matches(pattern: str, near: list[str], far: list[str]) -> None:
    patterns = Patterns([pattern])
    assert [path for path in near if not patterns.match(place_of(path, "/data", "/data"))] == []
    assert [path for path in far if patterns.match(place_of(path, "/data", "/data"))] == []


def test_the_last_pattern_that_matches_decides() -> None:
    patterns = Patterns(["raw", "!raw/good", "raw/good/bad.nii"])
    found = {path: patterns.match(place_of(path, "/", "/")) for path in ("raw/a", "raw/good/a", "raw/good/bad.nii")}
    assert found == {"raw/a": True, "raw/good/a": False, "raw/good/bad.nii": True}


NAMES = st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=5)
PARTS = st.lists(st.sampled_from(["a", "b", "*", "a*", "?b", "**", "[ab]"]), min_size=2, max_size=5)


def expression(parts: list[str]) -> str:
    """Return a regular expression that says of whole paths what a pattern with a slash says."""
    text = ""
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            text += "[^/]+/" if last else "(?:[^/]+/)*"
        else:
            text += part.replace("*", "[^/]*").replace("?", "[^/]") + "/"
    return text + "(?:[^/]+/)*"


@given(PARTS, NAMES)
def test_patterns_are_what_a_regular_expression_says(parts: list[str], names: list[str]) -> None:
    found = Patterns(["/".join(parts)]).match(place_of("/".join(names), "/data", "/data"))
    assert found == (re.fullmatch(expression(parts), "/".join(names) + "/") is not None)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_pattern_is_taken_or_refused(pattern: str, path: str) -> None:
    try:
        patterns = Patterns([pattern])
    except MedImgError as error:
        assert str(error)
        return
    assert patterns.match(place_of(path, "/data", "/data")) in (True, False)


def test_patterns_of_many_stars_end() -> None:
    deep = "/".join(["a"] * 400)
    assert not Patterns(["**/a/" * 60 + "b"]).match(place_of(deep, "/", "/"))
    assert not Patterns(["*a" * 60 + "b"]).match(place_of("a" * 250, "/", "/"))


# -- the page


def rows(heading: str) -> dict[str, list[str]]:
    """Return the rows of the table below a heading of the page, by the name in the first cell."""
    part = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")
    ]
    return {row[0].strip("`"): row[1:] for row in cells[2:]}


def test_the_page_lists_all_keys() -> None:
    wanted = {
        key.name: [
            {"check": "`[check]`", "overrides": "`[[check.overrides]]`", "both": "both"}[key.where],
            *(key.form, key.says),
        ]
        for key in KEYS
    }
    assert rows("Keys") == wanted


def test_the_page_lists_all_facts() -> None:
    kinds = {"number": "number", "text": "text", "axes": "number an axis", "set": "numbers"}
    wanted = {}
    for each in MEASURES.values():
        names = ", ".join(f"`{name}`" for name in (each.name, *each.others))
        wanted[names.strip("`")] = [kinds[each.kind] + (f", {each.unit}" if each.unit else ""), each.says]
    assert rows("Facts") == wanted


def test_the_examples_of_the_page_are_right() -> None:
    text = PAGE.read_text(encoding="utf-8")
    examples = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 2
    used = set()
    for example in examples:
        Path("medimg.toml").unlink(missing_ok=True)
        name = "pyproject.toml" if "tool.medimg" in example else "medimg.toml"
        Path(name).write_text(example)
        assert load_config(Wishes()).file == name
        data = tomllib.loads(example)
        table = data["check"] if "check" in data else data["tool"]["medimg"]["check"]
        used |= {*table, *(key for each in table.get("overrides", ()) for key in each)}
    assert used == {key.name for key in KEYS}, "the complete example shows every key"
    expectations = re.findall(
        r"^\| `([^`]+)` \|[^|]*\|$", text.partition("## Expectations")[2].partition("\n## ")[0], re.M
    )
    assert len(expectations) > 10
    for expectation in expectations:
        load_config(Wishes(isolated=True, expect=(expectation,)))


def test_limits_and_keys_are_told_in_sentences() -> None:
    assert all(limit.says.endswith(".") for limit in LIMITS)
    assert all(key.says.endswith(".") for key in KEYS)
    assert len({key.name for key in KEYS}) == len(KEYS)
