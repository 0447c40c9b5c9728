"""New URLs for stale ones: one listing for all who wait."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_service import eventually

from sourcecraft_artifacts.errors import ApiError, TransferError
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.service.url_refresher import UrlRefresher

LINUX = CubeAddress("org/repo", "7", "ci", "build", "linux")
MAC = LINUX._replace(cube="mac")
NAMES = [f"file-{at}" for at in range(8)]


def artifact(name: str, address: CubeAddress = LINUX, url: str | None = "u0") -> Artifact:
    """An artifact as it was listed first."""
    return Artifact(address, name, "success", ArtifactDates(), download_url=url)


class Service:
    """Lists artifacts under ever newer URLs; a closed gate holds the listings back."""

    def __init__(self) -> None:
        self.listings: list[CubeAddress] = []
        self.notices: list[CubeAddress] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: ApiError | None = None
        self.names = NAMES
        self.url: str | None = "u{}"
        self.links = UrlRefresher(self.relist, self.notices.append)

    def relist(self, address: CubeAddress) -> list[Artifact]:
        """Response as the API does."""
        self.listings.append(address)
        self.gate.wait(10)
        if self.error:
            raise self.error
        url = self.url.format(len(self.listings)) if self.url else None
        return [artifact(name, address, url) for name in self.names]

    def all_at_once(self, stale: str | None) -> list[str]:
        """Let a thread for each file ask, all of them before the listing comes."""
        self.gate.clear()

        def ask(name: str) -> str:
            try:
                return self.links.fresh(artifact(name), stale).download_url or ""
            except TransferError as error:
                return error.code

        with ThreadPoolExecutor(len(NAMES)) as pool:
            answers = [pool.submit(ask, name) for name in NAMES]
            eventually(lambda: self.listings, "one lists")
            eventually(lambda: all(answer.running() for answer in answers), "all wait")
            threading.Event().wait(0.05)  # until they are at the lock: no one can see that
            self.gate.set()
            return [answer.result() for answer in answers]


def test_one_listing_serves_all_who_wait() -> None:
    """Also whoever finds out later that an older URL is stale is served without another one."""
    service = Service()
    assert service.all_at_once("u0") == ["u1"] * 8
    assert service.links.fresh(artifact("file-0"), "u0").download_url == "u1"
    assert service.links.fresh(artifact("file-0"), None).download_url == "u1"
    assert (service.listings, service.notices) == ([LINUX], [LINUX])


def test_a_stale_new_url_is_exchanged_too() -> None:
    """When the URLs of the listing are stale again, it is asked again, once."""
    service = Service()
    service.all_at_once("u0")
    assert service.all_at_once("u1") == ["u2"] * 8
    assert service.links.fresh(artifact("file-0"), "u1").download_url == "u2"
    assert len(service.listings) == 2


def test_each_cube_is_listed_by_itself() -> None:
    """A cube that is listed does not hold up another one."""
    service = Service()
    service.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(service.links.fresh, artifact("file-0"), "u0")
        second = pool.submit(service.links.fresh, artifact("file-0", MAC), "u0")
        eventually(lambda: len(service.listings) == 2, "both are listed")
        service.gate.set()
        assert {one.result().download_url for one in (first, second)} == {"u2"}
    assert sorted(service.notices) == [LINUX, MAC]


def test_what_is_gone_is_told() -> None:
    """An artifact that is no longer listed fails by name, and the others go on."""
    service = Service()
    service.names = NAMES[1:]
    with pytest.raises(TransferError, match="no longer among") as caught:
        service.links.fresh(artifact("file-0"), "u0")
    assert caught.value.code == "gone"
    assert service.links.fresh(artifact("file-1"), "u0").download_url == "u1"


def test_an_artifact_without_a_url_is_told() -> None:
    """A listing may name an artifact and give no URL."""
    service = Service()
    service.url = None
    with pytest.raises(TransferError, match="no download_url") as caught:
        service.links.fresh(artifact("file-0"), None)
    assert caught.value.code == "no_url"


def test_a_listing_that_fails_fails_all_who_wait() -> None:
    """An API that is down is not asked again by each of them; a later one may try."""
    service = Service()
    service.error = ApiError("the API is down", hint="wait")
    assert service.all_at_once("u0") == ["api"] * 8
    assert len(service.listings) == 1
    with pytest.raises(TransferError, match=r"listing it again failed: the API is down") as caught:
        service.links.fresh(artifact("file-0"), "u0")
    assert (caught.value.code, caught.value.hint) == ("api", "wait")
    service.error = None
    assert service.links.fresh(artifact("file-0"), "u0").download_url == "u3"


def test_the_same_url_again_serves_all_who_wait() -> None:
    """A service that hands out the same URL is asked once, and its word is passed on."""
    service = Service()
    service.url = "same"
    assert service.all_at_once("same") == ["same"] * 8
    assert len(service.listings) == 1


def test_a_bug_of_the_listing_releases_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a listing raises, nobody waits for ever."""
    service = Service()

    def broken(address: CubeAddress) -> list[Artifact]:
        raise RuntimeError("a bug")

    links = UrlRefresher(broken, service.notices.append)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            links.fresh(artifact("file-0"), "u0")
