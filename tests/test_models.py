import pytest

from sourcecraft_artifacts import ApiError
from sourcecraft_artifacts.models import ArtifactDates, CubeAddress, read_artifact, read_run

CUBE = CubeAddress("o/r", "1", "w", "t", "c")


@pytest.mark.parametrize("data", [{}, {"dates": None, "download_url": None}, {"download_url": ""}])
def test_absent_null_and_empty_are_one(data: dict[str, object]) -> None:
    """The service may leave out what is empty."""
    artifact = read_artifact(CUBE, data)
    assert (artifact.download_url, artifact.dates) == (None, ArtifactDates())


def test_a_download_url_is_not_in_the_repr() -> None:
    """A temporary key to a file does not leak through a log of a record."""
    artifact = read_artifact(CUBE, {"local_path": "a", "download_url": "https://h/?s=secret"})
    assert "secret" not in repr(artifact)


def test_unknown_values_are_kept_as_they_are() -> None:
    """A new status is shown, never a crash."""
    run = read_run({"slug": 7, "status": "paused", "new": [], "workflows": [{"slug": "ci"}]})
    assert (run.slug, run.status, run.ended, run.workflows[0].tasks) == ("7", "paused", False, ())


@pytest.mark.parametrize("data", [{"dates": []}, {"local_path": {}}, {"status": ["x"]}])
def test_misshapen_answers_are_api_errors(data: dict[str, object]) -> None:
    """A wrong type says which field is wrong."""
    with pytest.raises(ApiError, match="misshapen"):
        read_artifact(CUBE, data)
