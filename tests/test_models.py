import pytest

from sourcecraft_artifacts import ApiError
from sourcecraft_artifacts.models import ArtifactDates, CubeAddress, read_artifact, read_run

CUBE = CubeAddress("o/r", "1", "w", "t", "c")


@pytest.mark.parametrize("data", [{}, {"dates": None, "download_url": None}, {"download_url": ""}])
def test_absent_null_and_empty_are_one(data: dict[str, object]) -> None:
    """Absent, null and empty fields mean the same."""
    artifact = read_artifact(CUBE, data)
    assert (artifact.download_url, artifact.dates) == (None, ArtifactDates())


def test_a_download_url_is_not_in_the_repr() -> None:
    """The repr of an artifact does not show its URL."""
    artifact = read_artifact(CUBE, {"local_path": "a", "download_url": "https://h/?s=secret"})
    assert "secret" not in repr(artifact)


def test_unknown_values_are_kept_as_they_are() -> None:
    """An unknown status is kept."""
    run = read_run({"slug": 7, "status": "paused", "new": [], "workflows": [{"slug": "ci"}]})
    assert (run.slug, run.status, run.ended, run.workflows[0].tasks) == ("7", "paused", False, ())


@pytest.mark.parametrize("data", [{"dates": []}, {"local_path": {}}, {"status": ["x"]}])
def test_misshapen_answers_are_api_errors(data: dict[str, object]) -> None:
    """A wrong type is an error that names the field."""
    with pytest.raises(ApiError, match="malformed"):
        read_artifact(CUBE, data)


@pytest.mark.parametrize(
    ("status", "cubes", "ended"),
    [
        ("success", ["processing"], True),
        ("processing", ["success"], False),
        ("created", [], False),
        ("archiving", [], False),
        ("archiving", ["success", "failed"], True),
        ("archiving", ["success", "processing"], False),
        ("archiving", ["success", "skipped"], True),
        ("awaiting_approval", ["success", "awaiting_approval"], False),
        ("archiving", ["success", "awaiting_approval"], False),
        ("rejected", ["created"], True),
        ("skipped", [], True),
        ("queued", ["queued"], False),
        ("paused", ["success", "paused"], False),
        ("", ["success"], True),
    ],
)
def test_a_run_in_a_status_not_known_ends_with_its_cubes(
    status: str, cubes: list[str], ended: bool
) -> None:
    """A run in an unknown status has ended if its cubes have."""
    tasks = [{"cubes": [{"slug": "c", "status": cube} for cube in cubes]}]
    run = read_run({"status": status, "workflows": [{"slug": "ci", "tasks": tasks}]})
    assert run.ended is ended


@pytest.mark.parametrize(
    ("status", "ended"), [("skipped", True), ("", True), ("processing", False), ("failed", True)]
)
def test_what_has_a_time_of_its_end_has_ended(status: str, ended: bool) -> None:
    """The end time counts if the status is unknown."""
    over = {"status": status, "dates": {"finished_at": "2026-11-01T10:00:00Z"}}
    run = read_run({**over, "workflows": [{"tasks": [{"cubes": [over]}]}]})
    assert (run.ended, run.workflows[0].tasks[0].cubes[0].ended) == (ended, ended)
