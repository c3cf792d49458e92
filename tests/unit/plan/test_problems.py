"""Every problem is told at its place, with what would be right."""

import pytest

from tests.unit.plan.examples import SMALL, UUID, assert_told, load, problems


@pytest.mark.parametrize(
    ("line", "column", "piece"),
    [
        ("nmae: a", 1, 'unknown key "nmae"; did you mean `name`?'),
        ("zzzzzz: a", 1, "known here: version, name"),
        ("grace_timeout: 5m", 1, "it belongs under `stop`"),
        ("<<: {}", 1, "merge key"),
        ("stop: {grace_timout: 5m}", 8, "did you mean `grace_timeout`?"),
        ("stop: {type: Cold}", 14, 'found "Cold"; did you mean `cold`?'),
        ("stop: {type: 1}", 14, "a number; `grace` or `cold` is expected"),
        ("stop: {grace_timeout: 300}", 23, "write `300s`"),
        ("stop: {grace_timeout: 5 m}", 23, "write `5m`"),
        ("stop: {grace_timeout: true}", 23, "a duration is expected"),
        ("stop: {grace_timeout: 74s}", 8, "write at least `75s`"),
        ("stop: {power_cut_after: 4m}", 8, "write at least `5m`"),
        ("stop: {grace_timeout: 0s}", 8, "longer than zero"),
        ("stop: {cold_timeout: 0ms}", 8, "longer than zero"),
        ("stop: {power_cut_after: 0s}", 8, "longer than zero"),
        ("stop: {fallback_on: []}", 8, "found an empty list"),
        ("stop: {fallback_on: [error, error]}", 8, "written twice"),
        ("stop: {fallback_on: [errors]}", 22, "did you mean `error`?"),
        ("stop: {fallback_on: error}", 21, "a list is expected"),
        ("stop: {type: cold, fallback: none}", 20, "`type: cold` has no fallback"),
        ("stop: {stop_ha: yes}", 17, "`true` or `false` is expected"),
        ("stop: {stop_ha: 'true'}", 17, "without quotes"),
        ("stop: {system_tags: ['']}", 22, "empty text"),
        ("stop: {system_tags: [validationOnly]}", 22, "without stopping anything"),
        ("stop: {user_tags: [1]}", 20, 'quote it: "1"'),
        ("stop: cold", 7, "a mapping with keys is expected"),
        ("stop:", 1, "found nothing"),
        ("limits: {per_cluster: null}", 23, "found nothing"),
        ("limits: {concurrency: 0}", 23, "at least 1"),
        ("limits: {concurrency: true}", 23, "a whole number is expected"),
        ("limits: {concurrency: '5'}", 23, 'found "5" in quotes, a text'),
        ("limits: {concurrency: 1.5}", 23, "a whole number is expected"),
        ("limits: {per_host: -1}", 20, "at least 1"),
        ("limits: {per_cluster: 0}", 23, "at least 1"),
        ("limits: {per_primary_storage: 0}", 31, "at least 1"),
        ("limits: {per_host: 99999999}", 20, "at most 1000000"),
        ("limits: {requests_per_second: 0.05}", 31, "at least 0.1"),
        ("limits: {requests_per_second: .nan}", 31, "not finite"),
        ("limits: {requests_per_second: .inf}", 31, "not finite"),
        ("limits: {requests_per_second: 1e999}", 31, "not finite"),
        ("limits: {requests_per_second: false}", 31, "a number is expected"),
        ("limits: {concurrency: " + "9" * 5000 + "}", 23, "not finite"),
        ("guard: {endpoint: mn.example}", 19, "an http or https URL is expected"),
        ("guard: {endpoint: 'ftp://mn/'}", 19, "an http or https URL is expected"),
        ("guard: {endpoint: 'http://mn:99999/'}", 19, "an http or https URL is expected"),
        ("guard: {endpoint: 'http://[::1/'}", 19, "an http or https URL is expected"),
        ("guard: {max_targets: 0}", 22, "at least 1"),
        ("guard: {expect_targets: 500..480}", 25, "write `480..500`"),
        ("guard: {expect_targets: 480-500}", 25, "a range like `480..500`"),
        ("guard: {expect_targets: '480'}", 25, "without quotes"),
        ("guard: {expect_targets: 0}", 25, "at least 1 target"),
        ("guard: {expect_targets: 480..500, max_targets: 479}", 35, "fewer than the 480"),
        ("guard: {protect: {where: []}}", 26, "found an empty list"),
        ("guard: {protect: {}}", 18, "nothing is selected"),
        ("exclude: {where: [[]]}", 19, "a condition like"),
        ("exclude: {uuids: []}", 10, "nothing is selected"),
        ("exclude: {may_be_empty: true}", 10, "nothing is selected"),
        ("exclude: {uuids: [" + UUID[:31] + "]}", 19, "has 31 hex digits"),
        ("exclude: {where: [name=a]}", 19, 'a group in brackets of its own is expected: ["name=a"]'),
        ("exclude: {where: [[name]]}", 20, "without an operator"),
        ("exclude: {where: [[name=a>=b]]}", 20, "searches for `>=`"),
        ("exclude: {where: [[name: a]]}", 20, "quote the condition"),
        ("exclude: {where: [['a?=1', 2]]}", 28, 'quote it: "2"'),
        ("verify: {after: 2}", 17, "write `2s`"),
        ("report: {formats: [pdf]}", 20, "`json`, `html`"),
        ("report: {formats: [json, json]}", 10, "written twice"),
        ("report: {directory: ''}", 21, "empty text"),
        ("notify: [{on: [finished]}]", 10, "nobody is told"),
        ("notify: [{url_env: A, command: [b]}]", 23, "found `url_env` and `command`"),
        ("notify: [{url_env: A, url_file: b}]", 23, "write one of"),
        ("notify: [{command: [a], token_env: B}]", 25, "sent to a webhook"),
        ("notify: [{url_env: A, token_env: B, token_file: c}]", 37, "two tokens"),
        ("notify: [{url_env: A, on: [finished, finished]}]", 23, "written twice"),
        ("notify: [{url_env: A, on: [finish]}]", 28, "did you mean `finished`?"),
        ("notify: [{url_env: A, on: []}]", 27, "empty list"),
        ("notify: [{url: A}]", 11, "did you mean `url_env`?"),
        ("notify: [{command: page}]", 20, "a list is expected"),
        ("notify: [{command: []}]", 20, "empty list"),
        ("notify: []", 9, "empty list"),
        ("reference: 20417", 12, 'quote it: "20417"'),
        ('description: "\\x07"', 14, "control character"),
        ("name: again", 1, "already in line 2"),
        ("1: a", 1, "keys are texts"),
        ("null: a", 1, "keys are texts"),
        ("[a]: a", 1, "keys are texts"),
        ("reference: !!str a", 12, "YAML tag"),
        ("reference: !!python/object/apply:os.system [ls]", 12, "YAML tag"),
        ('reference: "\\ud800"', 12, "surrogate"),
    ],
)
def test_one_problem(line: str, column: int, piece: str) -> None:
    """One wrong line after a good plan is one problem, at its column."""
    told = problems(SMALL + line + "\n")
    assert [told[0].line, told[0].column, piece in told[0].message] == [5, column, True], [str(one) for one in told]
    assert all(problem.line == 5 for problem in told)


def test_an_address_where_its_name_belongs_is_not_repeated() -> None:
    """A webhook's address is a secret: written into the plan it is refused, and the message does not show it."""
    (told,) = problems(SMALL + "notify: [{url_env: 'https://hooks.example/T0/canary'}]\n")
    assert (told.line, told.column) == (5, 20)
    assert "the name of an environment variable" in told.message
    assert "canary" not in str(told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", [(1, 1, "`version` is missing"), (1, 1, "`name` is missing"), (1, 1, "`targets` is missing")]),
        ("version: 2\nname: a\ntargets: {where: [[a=b]]}", [(1, 10, "version: 1")]),
        ("version: true\nname: a\ntargets: {where: [[a=b]]}", [(1, 10, "version: 1")]),
        ("version: '1'\nname: a\ntargets: {where: [[a=b]]}", [(1, 10, "version: 1")]),
        ("version: 1\nname: 123\ntargets: {where: [[a=b]]}", [(2, 7, 'quote it: "123"')]),
        ("version: 1\nname: a\ntargets: {}", [(3, 10, "at least one of")]),
        ("version: 1\nname: a\ntargets: {uuids: [], uuid_files: []}", [(3, 10, "at least one of")]),
        ("version: 1\nname: a\ntargets: {where: []}", [(3, 18, "empty list")]),
        ("version: 1\nname: a\ntargets: {where: [[a=b]], may_be_empty: true}", [(3, 27, "always refused")]),
        ("- version: 1", [(1, 1, "a plan is a mapping")]),
        ("rack-12", [(1, 1, "a plan is a mapping")]),
    ],
)
def test_whole_plans(text: str, expected: list[tuple[int, int, str]]) -> None:
    """Missing keys are told at the mapping that lacks them, and what is required is checked."""
    told = problems(text)
    assert sorted((p.line, p.column) for p in told) == sorted((line, column) for line, column, _ in expected)
    for _, _, piece in expected:
        assert any(piece in problem.message for problem in told)


def test_all_at_once_and_in_order() -> None:
    """Every problem of a file comes at once, sorted by place, also those between keys of a section with others."""
    told = problems(
        "version: 1\ntargets:\n  where: [[a?=1,2]]\nstop:\n  fallback: none\n  type: cold\n  colour: red\n"
        "  cold_timeout: 5\nlimits: {per_host: x}\nnonsense: []\n"
    )
    assert_told(
        told,
        (1, 1, "`name` is missing"),
        (3, 17, 'quote the condition: "a?=1,2"'),
        (5, 3, "no fallback"),
        (7, 3, "unknown key"),
        (8, 17, "write `5s`"),
        (9, 20, "a whole number"),
        (10, 1, "unknown key"),
    )
    assert str(told[1]).startswith("plan.yaml:3:17: `targets.where[0][1]`: ")


def test_json_values_have_the_same_places() -> None:
    """JSON is judged like YAML."""
    told = problems('{"version": 1,\n "name": 7,\n "targets": {"where": [["a"]]},\n "stop": {"tpye": "cold"}}', json=True)
    assert_told(told, (2, 10, "quote it"), (3, 25, "without an operator"), (4, 11, "did you mean `type`?"))


def test_passwords_are_not_shown() -> None:
    """A URL with user info is refused without repeating it."""
    (told,) = problems(SMALL + "guard: {endpoint: 'https://root:hunter2@mn/zstack'}\n")
    assert "user info" in told.message
    assert "hunter2" not in str(told)


def test_long_and_invisible_values_are_tamed() -> None:
    """Messages shorten long values and show control characters instead of sending them to a terminal."""
    (told,) = problems(SMALL + 'stop: {type: "\\e[31m' + "x" * 5000 + '"}\n')
    assert r"\x1b[31m" in told.message
    assert len(told.message) < 300


@pytest.mark.parametrize(
    ("line", "column", "piece"),
    [
        ("exclude: {where: [[hostUuid=null]]}", 20, "`hostUuid is null`"),
        ("exclude: {where: [[name~=app]]}", 20, "no implicit wildcard"),
        ("exclude: {where: [[name=a], [name=a]]}", 29, "already written"),
        (f"exclude: {{uuids: [{UUID}, {UUID.upper()}]}}", 53, "counts once"),
        ("limits: {concurrency: 3, per_host: 5}", 26, "never reached"),
        ("stop: {type: cold, fallback_on: [error]}", 20, "no effect"),
        ("stop: {fallback: none, fallback_on: [error]}", 24, "no effect"),
    ],
)
def test_one_warning(line: str, column: int, piece: str) -> None:
    """What is odd but possible is a warning at its place, and the plan loads."""
    (warning,) = load(SMALL + line + "\n").warnings
    assert (warning.file, warning.line, warning.column) == ("plan.yaml", 5, column)
    assert piece in warning.message


def test_running_in_targets_is_a_warning() -> None:
    """Targets picked by state=Running would miss the Paused; elsewhere it is no matter."""
    text = SMALL.replace("cluster.name=rack-12", "state=Running")
    assert "Paused" in load(text).warnings[0].message
    assert load(SMALL + "exclude: {where: [[state=Running]]}\n").warnings == ()
