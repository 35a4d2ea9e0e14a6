"""A short soak: everything around the real server fails, and every upload has its one outcome."""

import json
import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from google.cloud import storage

from function.local import PublishedMessage
from tests.benchmarks.soak import POISON, Audit, Step, Told, plan, soak

UPLOADS, SEED, POISON_ONE_IN = 18, 43, 2


def test_a_seed_gives_the_same_plan_with_every_kind_of_trouble_in_it():
    steps = plan(2000, SEED, 20)
    assert steps == plan(2000, SEED, 20)
    assert steps != plan(2000, SEED + 1, 20)
    assert {step.then for step in steps} == {"", "overwrite", "delete"}
    assert {step.server_gets for step in steps} == {None, signal.SIGKILL, signal.SIGTERM}
    assert 20 < sum(bool(step.poison) for step in steps) < 60
    assert 350 < sum(step.duplicated for step in steps) < 450
    assert 150 < sum(step.store_fault is not None for step in steps) < 250
    assert 150 < sum(bool(step.publish_fault) for step in steps) < 250


def test_no_upload_is_lost_or_wrong_although_the_server_is_killed_and_decoders_loop_crash_and_grow(tmp_path: Path):
    steps = plan(UPLOADS, SEED, 1, POISON_ONE_IN)
    assert any(step.store_fault or step.publish_fault for step in steps)
    assert any(step.duplicated for step in steps)
    assert {step.poison for step in steps} == {"", *POISON}
    audit = soak(UPLOADS, SEED, 1, tmp_path, POISON_ONE_IN)
    assert (audit.lost, audit.wrong, audit.gave_up, audit.restarts) == ([], [], 0, 0), audit
    assert audit.generations >= UPLOADS
    assert sum(audit.signals.values()) == 1


class Stored:
    """A bucket in which every result has one checksum."""

    def get_blob(self, name: str) -> Any:
        return SimpleNamespace(name=name, crc32c="c", generation=7)


OUTCOME = {
    "status": "completed",
    "code": "",
    "outputs": [{"name": "soak/0.png", "crc32c": "c", "generation": "7"}],
}
STEP = Step(name="soak/0", image=0)


def judged(step: Step, *outcomes: dict[str, Any], final: bool = True) -> Audit:
    audit = Audit(rss_before=0, rss_after=0, signals={}, gave_up=0)
    now = datetime.now(UTC)
    messages = [
        PublishedMessage(topic="t", id=str(number), data=json.dumps(outcome).encode(), attributes={}, published=now)
        for number, outcome in enumerate(outcomes)
    ]
    told = Told(step=step, finalized=now.timestamp(), final=final, messages=messages)
    audit.judge("soak/0.jpg", "1", told, cast("storage.Bucket", Stored()), {0: set()})
    return audit


def test_the_audit_passes_what_is_right():
    for audit in (judged(STEP, OUTCOME), judged(STEP, OUTCOME, OUTCOME)):
        assert (audit.lost, audit.wrong) == ([], [])


def test_the_audit_sees_what_is_lost_or_wrong():
    failed = OUTCOME | {"status": "failed", "code": "superseded", "outputs": []}
    other = OUTCOME | {"outputs": [{"name": "soak/0.png", "crc32c": "other", "generation": "7"}]}
    assert judged(STEP).lost == ["soak/0.jpg#1"]
    assert "messages differ" in judged(STEP, OUTCOME, OUTCOME | {"key": "2"}).wrong[0]
    assert judged(STEP, failed).wrong == ["soak/0.jpg#1: superseded"]
    assert judged(STEP, failed, final=False).wrong == []
    assert "not the announced one" in judged(STEP, other).wrong[0]
    assert judged(replace(STEP, poison="no-image"), OUTCOME).wrong == ["soak/0.jpg#1: completed"]
