"""Plans that load and plans that do not, and a way to say where a problem must be told."""

from pathlib import Path

import pytest

from orchestrator.errors import PlanError, Problem
from orchestrator.plan.load import PlanFile, plan_from_text

UUID = "0b54a1d0a1c34f5f9d1f5e0f7d6c2b11"
OTHER = "ffffffffffffffffffffffffffffffff"

SMALL = """\
version: 1
name: rack-12-power
targets:
  where: [[cluster.name=rack-12]]
"""

FULL = f"""\
version: 1
name: rack-12-power
reference: CHG-20417              # free text for the report
description: |
  Power maintenance of rack 12
  in two lines
targets:
  uuids: [{UUID}]
  where:
    - [cluster.name=rack-12]
    - ["name~=app-%", hostUuid not null]
exclude:
  where: [[__userTag__=keep-running]]
  may_be_empty: true
stop:
  type: grace
  grace_timeout: 4m
  fallback: cold
  fallback_on: [timeout, error]
  cold_timeout: 3m
  power_cut_after: 60s
  stop_ha: true
  system_tags: []
  user_tags: [maintenance]
  appliances: skip
limits:
  concurrency: 50
  per_host: 5
  per_cluster: 20
  per_primary_storage: 20
  requests_per_second: 50
  node_outage: 10m
guard:
  endpoint: https://mn.example:8443/zstack
  max_targets: 500
  expect_targets: 480..500
  protect: {{where: [[__userTag__=protected]]}}
verify: {{after: 2m}}
report: {{formats: [json, html, markdown, csv, junit], directory: reports}}
"""

COLD = f"""\
version: 1
name: "2026"
targets: {{uuids: [{UUID}, {OTHER}]}}
stop: {{type: cold, stop_ha: false, appliances: include}}
verify: {{after: 0s}}
guard: {{expect_targets: 2}}
report: {{formats: []}}
"""

ANCHORED = """\
version: 1
name: 2026-11-28
targets: {where: &racks [[cluster.name=rack-12], [cluster.name=rack-13]]}
guard:
  protect: {where: [[name=jump]], may_be_empty: true}
exclude: {where: *racks}
"""

JSON = f"""\
{{"version": 1, "name": "from-json",
 "targets": {{"uuids": ["{UUID.upper()}"], "where": [["name~=db-%"]]}},
 "limits": {{"requests_per_second": 2.5}}}}
"""

MAINTENANCE = f"""\
version: 1
name: rack-12-power
targets:
  where: [[cluster.name=rack-12]]
waves:
  - name: app
    where: [["name~=app-%"]]
    limits: {{concurrency: 20, per_host: 2, per_cluster: 10, ramp: [5%, 100%]}}
  - name: db
    after: [app]
    where: [["name~=db-%"]]
    uuids: [{UUID}]
    uuid_files: []
    stop: {{fallback: none, grace_timeout: 5m}}
    budget: {{per_wave: 0}}
  - name: rest
    after: [db, app]
limits:
  ramp: [1, 5, 20%, 100%]
budget:
  failures: 5%
  per_wave: 10%
  per_host: 3
  same_cause: 10
  power_cuts: 12.5%
window:
  start: 2026-11-28T22:00:00+08:00
  end: 2026-11-29T02:00:00+08:00
  at_end: finish
  reserve: 15m
notify:
  - url_env: CHAT_URL
    token_file: chat.token
  - on: [budget_crossed, finished]
    url_file: chat.url
    token_env: CHAT_TOKEN
  - on: [past_window]
    command: [/usr/local/bin/page, --night]
"""

GOOD = {"small": SMALL, "full": FULL, "cold": COLD, "anchored": ANCHORED}


def load(text: str, *, json: bool = False) -> PlanFile:
    """The plan in `text`, as if read from plan.yaml in a folder without UUID files."""
    return plan_from_text(text, name="plan.yaml", folder=Path("nowhere"), json=json)


def problems(text: str, *, json: bool = False) -> tuple[Problem, ...]:
    """What loading `text` refuses."""
    with pytest.raises(PlanError) as raised:
        load(text, json=json)
    return raised.value.problems


def assert_told(told: tuple[Problem, ...], *expected: tuple[int | None, int | None, str]) -> None:
    """Each problem, in order: line, column, and a piece of its message."""
    places = [(problem.line, problem.column) for problem in told]
    assert places == [(line, column) for line, column, _ in expected], [str(problem) for problem in told]
    for problem, (_, _, piece) in zip(told, expected, strict=True):
        assert piece in problem.message
