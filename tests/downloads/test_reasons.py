"""Why the plan does what it does, in words."""

from __future__ import annotations

import os

import pytest

from sourcecraft_artifacts.choices import IfExists
from sourcecraft_artifacts.disk.entry import Entry
from sourcecraft_artifacts.disk.paths import safe_path
from sourcecraft_artifacts.downloads.decisions import Action, Step
from sourcecraft_artifacts.downloads.reasons import reason_for
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress

ARTIFACT = Artifact(CubeAddress("o/r", "1", "ci", "b", "c"), "a", "success", ArtifactDates())
ENTRY = Entry(ARTIFACT.address, "a", ARTIFACT.dates, 1, "ab" * 32, 1)
OTHER = ENTRY._replace(dates=ArtifactDates(updated_at="2026-11-01T10:00:00Z"))


@pytest.mark.parametrize(
    ("action", "is_there", "entry", "if_exists", "reason"),
    [
        (Action.DOWNLOAD, False, None, IfExists.UPDATE, "it is not there"),
        (Action.DOWNLOAD, False, ENTRY, IfExists.UPDATE, "the recorded file is gone"),
        (Action.REPLACE, True, ENTRY, IfExists.UPDATE, "what is there is not as recorded"),
        (Action.REPLACE, True, OTHER, IfExists.UPDATE, "the service lists another version"),
        (Action.REPLACE, True, ENTRY, IfExists.OVERWRITE, "--if-exists is overwrite"),
        (Action.KEEP, True, ENTRY, IfExists.UPDATE, "it is there as recorded"),
        (Action.SKIP, True, None, IfExists.SKIP, "something is there, and --if-exists is skip"),
        (Action.UNPACK, True, ENTRY, IfExists.UPDATE, "its archive is there"),
        (Action.NONE, False, None, IfExists.UPDATE, "it cannot be fetched"),
    ],
)
def test_each_decision_has_a_reason(
    action: Action, is_there: bool, entry: Entry | None, if_exists: IfExists, reason: str
) -> None:
    """The reason follows from what was listed, recorded and found."""
    before = os.stat_result([0] * 10) if is_there else None
    step = Step(ARTIFACT, safe_path("a", portable=False), action, before, entry)
    assert reason_for(step, if_exists).startswith(reason)
