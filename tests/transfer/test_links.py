"""New URLs for expired ones: one listing for all waiting files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sourcecraft_artifacts.errors import ApiError, TransferError
from sourcecraft_artifacts.http.waits import Call, Steps
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.transfer.links import Links
from sourcecraft_artifacts.transfer.loop import Loop

LINUX = CubeAddress("org/repo", "7", "ci", "build", "linux")
MAC = LINUX._replace(cube="mac")
NAMES = [f"file-{at}" for at in range(8)]


def artifact(name: str, address: CubeAddress = LINUX, url: str | None = "u0") -> Artifact:
    """Return an artifact as it was listed first."""
    return Artifact(address, name, "success", ArtifactDates(), download_url=url)


class Service:
    """Lists artifacts with new URLs, once all files that are expected have asked."""

    def __init__(self) -> None:
        self.listings: list[CubeAddress] = []
        self.notices: list[CubeAddress] = []
        self.error: ApiError | None = None
        self.names = NAMES
        self.url: str | None = "u{}"
        self.now = 0.0
        self.links = Links(self.relist, self.notices.append, lambda: self.now)
        self.calls: list[Call] = []
        self.loop = Loop(self.calls.append)

    def relist(self, address: CubeAddress) -> list[Artifact]:
        """Respond as the API does."""
        self.listings.append(address)
        if self.error:
            raise self.error
        url = self.url.format(len(self.listings)) if self.url else None
        return [artifact(name, address, url) for name in self.names]

    def ask(self, *wanted: Artifact, stale: str | None, has_begun: bool = False) -> list[str]:
        """Let all of these ask before a listing comes; return URLs and codes of errors."""
        answers: dict[int, str] = {}
        for at, one in enumerate(wanted):
            self.loop.begin(self._ask(at, one, stale, answers, has_begun), _done).resume()
        calls = list(self.calls)
        self.calls.clear()
        for call in calls:
            try:
                call.result = call.function()
            except Exception as error:
                call.error = error
            self.loop.finish(call)
        return [answers[at] for at in range(len(wanted))]

    def _ask(
        self,
        at: int,
        wanted: Artifact,
        stale: str | None,
        answers: dict[int, str],
        has_begun: bool,
    ) -> Steps[None]:
        try:
            found = yield from self.links.fresh(wanted, stale, has_begun=has_begun)
            answers[at] = (found.download_url or "") if found else "too soon"
        except TransferError as error:
            answers[at] = error.code
            self.failure = error

    def all_at_once(self, stale: str | None) -> list[str]:
        """Let all files ask at once."""
        return self.ask(*map(artifact, NAMES), stale=stale)

    def one(self, name: str = "file-0", stale: str | None = "u0") -> str:
        """Let one file ask."""
        return self.ask(artifact(name), stale=stale)[0]


def _done(error: Exception | None) -> None:
    if error is not None:
        raise error


@pytest.fixture
def service() -> Iterator[Service]:
    """Make a service that lists all files."""
    service = Service()
    yield service
    service.loop.close()


def test_one_listing_serves_all_who_wait(service: Service) -> None:
    """A file that later finds the same URL expired is served without another listing."""
    assert service.all_at_once("u0") == ["u1"] * 8
    assert service.one("file-0", "u0") == "u1"
    assert service.one("file-0", None) == "u1"
    assert (service.listings, service.notices) == ([LINUX], [LINUX])


def test_a_stale_new_url_is_exchanged_too(service: Service) -> None:
    """If the new URLs have expired too, there is one more listing."""
    service.all_at_once("u0")
    assert service.all_at_once("u1") == ["u2"] * 8
    assert service.one("file-0", "u1") == "u2"
    assert len(service.listings) == 2


def test_each_cube_is_listed_by_itself(service: Service) -> None:
    """The listing of one cube does not delay that of another."""
    asked = service.ask(artifact("file-0"), artifact("file-0", MAC), stale="u0")
    assert asked == ["u1", "u2"]
    assert sorted(service.notices) == [LINUX, MAC]


def test_what_is_gone_is_told(service: Service) -> None:
    """An artifact that is no longer listed fails, and the others go on."""
    service.names = NAMES[1:]
    assert service.one() == "gone"
    assert "no longer among" in service.failure.message
    assert service.one("file-1", "u0") == "u1"


def test_an_artifact_without_a_url_is_told(service: Service) -> None:
    """An artifact that is listed without a URL fails."""
    service.url = None
    assert service.one(stale=None) == "no_url"
    assert "no download_url" in service.failure.message


def test_a_listing_that_fails_fails_all_who_wait(service: Service) -> None:
    """A failed listing fails all waiting files; a later file may try again."""
    service.error = ApiError("the API is down", hint="wait")
    assert service.all_at_once("u0") == ["api"] * 8
    assert len(service.listings) == 1
    assert service.one() == "api"
    assert "listing it again failed: the API is down" in service.failure.message
    assert service.failure.hint == "wait"
    service.error = None
    assert service.one() == "api"
    assert len(service.listings) == 2
    service.now += 1
    assert service.one() == "u3"


def test_the_same_url_again_serves_all_who_wait(service: Service) -> None:
    """If the listing has the same URL again, all files get it."""
    service.url = "same"
    assert service.all_at_once("same") == ["same"] * 8
    assert len(service.listings) == 1


def test_a_bug_of_the_listing_releases_all(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any exception of the listing no file waits for ever."""

    def broken(address: CubeAddress) -> list[Artifact]:
        raise RuntimeError("a bug")

    service.links = Links(broken, service.notices.append)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            service.one()


def test_listings_that_bring_nothing_are_made_ever_more_seldom(service: Service) -> None:
    """If no new URL works, each of many files does not make a listing of its own."""
    assert [service.one(stale="u0"), service.one(stale="u1")] == ["u1", "u2"]
    for name in NAMES[1:]:
        assert [service.one(name, "u0"), service.one(name, "u2")] == ["u2", "too soon"]
    for pause, made in ((1, 3), (2, 4), (4, 5), (8, 6), (16, 7), (30, 8), (30, 9)):
        service.now += pause - 0.1
        assert service.one(stale=f"u{made - 1}") == "too soon"
        service.now += 0.2
        assert service.one(stale=f"u{made - 1}") == f"u{made}"
        service.now -= 0.1
    assert len(service.listings) == 9


def test_a_url_that_has_worked_may_expire_at_any_time(service: Service) -> None:
    """A file that has begun gets a new URL at once, though others are refused in vain."""
    for number in range(5):
        asked = service.ask(artifact("file-0"), stale=f"u{number}", has_begun=True)
        assert asked == [f"u{number + 1}"]
    assert service.one("file-1", "u5") == "too soon"


def test_a_new_url_that_works_ends_the_pause(service: Service) -> None:
    """If an artifact that needed the listing was served, listing again may help others too."""
    service.one("file-0", "u0")
    service.one("file-0", "u1")
    assert service.one("file-1", "u2") == "too soon"
    service.links.works(artifact("file-0"), is_new=True)
    assert [service.one("file-1", f"u{at}") for at in (2, 3, 4)] == ["u3", "u4", "too soon"]


def test_while_the_storage_accepts_others_urls_may_have_expired(service: Service) -> None:
    """Refused artifacts among others cause some listings without a pause, but not without end."""
    for number in range(12):
        expected = f"u{number + 1}" if number < 8 else "too soon"
        assert service.one("file-0", f"u{min(number, 8)}") == expected
        service.links.works(artifact("file-1"), is_new=False)
    assert len(service.listings) == 8


def test_one_that_stops_waiting_leaves_the_listing_to_the_others(service: Service) -> None:
    """If the first of those that wait is given up, the others still share its listing."""
    answers: dict[int, str] = {}
    tasks = [
        service.loop.begin(service._ask(at, artifact(name), "u0", answers, False), _done)
        for at, name in enumerate(NAMES[:3])
    ]
    for task in tasks[:2]:
        task.resume()
    tasks[0].close()
    tasks[2].resume()
    (call,) = service.calls
    service.calls.clear()
    call.result = call.function()
    service.loop.finish(call)
    assert answers == {1: "u1", 2: "u1"}
    assert service.one("file-0", "u0") == "u1"
    assert len(service.listings) == 1
