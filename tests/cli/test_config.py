"""The config file, the token, and the address of the API."""

import errno
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcecraft_artifacts.cli.config import (
    Config,
    Token,
    config_path,
    find_token,
    load_config,
    remove_token,
    save_token,
)
from sourcecraft_artifacts.errors import ArtifactsError, LocalError, UsageError
from sourcecraft_artifacts.service.access import api_host, check_api_url, clean_token, masked

HOST = "api.sourcecraft.tech"
API = f"https://{HOST}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a config file that does not exist, in a folder that does not exist."""
    return tmp_path / "folder" / "config.toml"


@pytest.fixture
def given_file(file: Path) -> Path:
    """Write a config file as a person could."""
    file.parent.mkdir()
    file.write_text(
        "# mine\n"
        'repo = "o/r"   # the usual one\n'
        "[tokens] # secret\n"
        f'  "{HOST}" = "old-SECRET"  # work\n'
        '"other.example.org" = "kept"\n'
        "\n"
        "# about the next table\n"
        "[later]\n"
        "x = [\n  1,\n]\n"
    )
    return file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_absent_file_is_an_empty_one(file: Path) -> None:
    """An absent config file counts as empty, and reading creates nothing."""
    assert load_config(str(file)) == Config(str(file))
    assert load_config(str(file / "below" / "config.toml")).tokens == {}
    assert not file.parent.exists()


def test_settings_and_tokens_are_read(given_file: Path) -> None:
    """Unknown keys and a byte order mark are fine; empty strings are unset; hosts ignore case."""
    config = load_config(str(given_file))
    assert (config.repo, config.api_url, config.tokens[HOST]) == ("o/r", None, "old-SECRET")
    given_file.write_text('\ufeffrepo = ""\napi_url = "http://[::1]:9"\n[tokens]\n"A.B" = "x"\n')
    config = load_config(str(given_file))
    assert (config.repo, config.api_url, config.tokens) == (None, "http://[::1]:9", {"a.b": "x"})


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("rpo", "did you mean repo?"),
        ("repository", "did you mean repo?"),
        ("colour", "known are api_url, repo, tokens"),
    ],
)
def test_an_unknown_key_is_told_with_what_it_may_mean(file: Path, key: str, says: str) -> None:
    """The warning names the known key that is like it, or that it begins with."""
    file.parent.mkdir()
    file.write_text(f'{key} = "x"')
    (warning,) = load_config(str(file)).warnings()
    assert warning.startswith(f"the key {key} in the config file {file} is unknown; {says}")


def test_bad_toml_has_a_hint(file: Path) -> None:
    """The usual reason is a text without quotes."""
    file.parent.mkdir()
    file.write_text("repo = acme/app")
    with pytest.raises(UsageError, match="is not valid TOML at line 1") as caught:
        load_config(str(file))
    assert caught.value.hint == 'text has quotes there, as in: repo = "acme/app"'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'repo = "o/r"\n[tokens]\nx = SECRET\n', "line 3"),
        (b'[tokens]\n"SECRET"\n', "line 2"),
        (b'[tokens]\nSECRET = "a"\nSECRET = "b"\n', "line 3"),
        (b'[tokens]\n"h" = "SECRET', "not valid TOML"),
        (b"x = SECRET", "not valid TOML"),
        pytest.param(b"x = " + b"1" * 5000, "not valid TOML", id="a huge number"),
        pytest.param(b"x = " + b"[" * 50_000, "not valid TOML", id="a deep array"),
        (b'x = "\xffSECRET"', "not UTF-8"),
        (b'tokens = "SECRET"', "not a table of strings"),
        (b'[tokens]\nSECRET.sourcecraft.tech = "SECRET"', "not a table of strings"),
        (b'[[tokens]]\nh = "SECRET"', "not a table of strings"),
    ],
)
def test_a_wrong_file_is_named_but_never_quoted(file: Path, content: bytes, says: str) -> None:
    """The message says where, without the file's text; a login then changes nothing."""
    file.parent.mkdir()
    file.write_bytes(content)
    for act in (lambda: load_config(str(file)), lambda: save_token(HOST, "t", str(file))):
        with pytest.raises(UsageError, match=says) as caught:
            act()
        assert str(file) in caught.value.message
        assert "SECRET" not in f"{caught.value.message} {caught.value.hint}"
    assert file.read_bytes() == content


@pytest.mark.parametrize("content", ["repo = 5", "api_url = []"])
def test_a_setting_of_a_wrong_type_is_named(file: Path, content: str) -> None:
    """The message names the key and the file."""
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(UsageError, match=f"{content.split()[0]} in the config file {file}"):
        load_config(str(file))


def test_an_unreadable_file_is_a_usage_error(file: Path) -> None:
    """A file that cannot be read is an error, unlike an absent one."""
    file.mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(str(file))


def test_a_home_that_may_not_be_entered_holds_no_config(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If HOME is another user's folder, as in a container, there is no config file."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert load_config(str(file)).tokens == {}


def test_a_first_login_makes_a_private_file_in_a_private_folder(file: Path) -> None:
    """Whatever the umask, only the owner can read the token."""
    umask = os.umask(0)
    try:
        save_token(HOST.upper(), "  tok en\n", str(file))
    finally:
        os.umask(umask)
    assert file.read_text() == f'[tokens]\n"{HOST}" = "tok en"\n'
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert os.listdir(file.parent) == ["config.toml"]


def test_a_login_changes_one_line(given_file: Path) -> None:
    """Comments, order and unknown keys stay, and the file becomes private."""
    given_file.chmod(0o644)
    before = given_file.read_text()
    save_token(HOST, 'n"e\\w', str(given_file))
    assert given_file.read_text() == before.replace("old-SECRET", 'n\\"e\\\\w')
    assert load_config(str(given_file)).tokens[HOST] == 'n"e\\w'
    assert mode(given_file) == 0o600


def test_another_host_stands_after_the_last_one(given_file: Path) -> None:
    """A new line is not put between a comment and its table."""
    before = given_file.read_text()
    save_token("127.0.0.1:80", "t", str(given_file))
    kept = '"other.example.org" = "kept"\n'
    assert given_file.read_text() == before.replace(kept, kept + '"127.0.0.1:80" = "t"\n')


def test_a_logout_removes_one_line(given_file: Path) -> None:
    """A logout without a stored token writes nothing."""
    before = given_file.read_text()
    assert not remove_token("absent.example.org", str(given_file))
    assert given_file.read_text() == before
    assert remove_token(HOST.upper(), str(given_file))
    assert given_file.read_text() == before.replace(f'  "{HOST}" = "old-SECRET"  # work\n', "")
    assert not remove_token(HOST, str(given_file))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", 'x = 1\n\n[tokens]\n"h" = "t"\n'),
        ("x = 1\r\n", 'x = 1\r\n\r\n[tokens]\r\n"h" = "t"\r\n'),
        ("\ufeff[tokens]", '\ufeff[tokens]\n"h" = "t"\n'),
        ("[ 'tokens' ]\r\n# c\r\n[x]\r\n", '[ \'tokens\' ]\r\n"h" = "t"\r\n# c\r\n[x]\r\n'),
        ("[tokens]\n'H' = '''\na\n''' # c\ny='z'\n", '[tokens]\n"h" = "t"\ny=\'z\'\n'),
        ("[tokens]\nH='a' # 1\n h=\"b\" # 2", '[tokens]\n"h" = "t" # 1\n'),
        ('s = """\n[tokens]\n"""\n', 's = """\n[tokens]\n"""\n\n[tokens]\n"h" = "t"\n'),
        ("[tokens]\n[[a]]\n[a.tokens]\n", '[tokens]\n"h" = "t"\n[[a]]\n[a.tokens]\n'),
        ('[tokens]\na = """\n[x]\nh = 1\n"""', '[tokens]\na = """\n[x]\nh = 1\n"""\n"h" = "t"\n'),
    ],
)
def test_odd_forms_of_the_file_are_edited_well(file: Path, before: str, after: str) -> None:
    """Line ends, quotes, strings of several lines and spellings of a host are handled."""
    file.parent.mkdir()
    file.write_bytes(before.encode())
    save_token("h", "t", str(file))
    assert file.read_bytes().decode() == after
    assert load_config(str(file)).tokens["h"] == "t"


@pytest.mark.parametrize("content", ['tokens = { "h" = "SECRET" }\n', 'tokens.h = "SECRET"\n'])
def test_a_form_that_is_not_edited_is_left_to_the_user(file: Path, content: str) -> None:
    """A form that cannot be edited is read, but not changed."""
    file.parent.mkdir()
    file.write_text(content)
    assert load_config(str(file)).tokens == {"h": "SECRET"}
    for act in (lambda: save_token("h", "t2", str(file)), lambda: remove_token("h", str(file))):
        with pytest.raises(UsageError) as caught:
            act()
        assert "by hand" in (caught.value.hint or "")
        assert "SECRET" not in f"{caught.value.message} {caught.value.hint}"
    assert file.read_text() == content


@pytest.mark.parametrize(("token", "rest"), [("t" * 8000, 60_000), ("t." * 501, 0)])
def test_no_file_is_written_that_could_not_be_read(file: Path, token: str, rest: int) -> None:
    """A file that would be too large, or have too many dots in a line, stays as it was."""
    file.parent.mkdir()
    file.write_text("#" * rest)
    with pytest.raises(UsageError):
        save_token("h", token, str(file))
    assert file.read_text() == "#" * rest
    save_token("h", "t", str(file))
    assert load_config(str(file)).tokens == {"h": "t"}


def test_a_linked_file_stays_linked(given_file: Path, tmp_path: Path) -> None:
    """If the file is a symlink, its target is written, also if that is absent."""
    for target in (given_file, tmp_path / "new" / "config.toml"):
        link = tmp_path / "link.toml"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        save_token(HOST, "t", str(link))
        assert link.is_symlink()
        assert (load_config(str(target)).tokens[HOST], mode(target)) == ("t", 0o600)


def test_a_device_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config file linked to `/dev/null` is not replaced."""
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("replaced"))
    link = tmp_path / "config.toml"
    link.symlink_to(os.devnull)
    with pytest.raises(LocalError, match="not a regular file"):
        save_token(HOST, "t", str(link))


def test_a_failed_write_leaves_the_old_file(
    given_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk keeps the old file and leaves no temporary one."""
    before = given_file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalError, match="No space left") as caught:
        save_token(HOST, "t", str(given_file))
    assert "SOURCECRAFT_TOKEN" in (caught.value.hint or "")
    assert given_file.read_bytes() == before
    assert os.listdir(given_file.parent) == ["config.toml"]


def test_a_token_is_on_the_disk_when_it_is_saved(
    given_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes before the file gets its name, and then the name, which the folder holds."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def note(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def name(*given: Any, **options: Any) -> None:
        done.append("name")
        replace(*given, **options)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", name)
    save_token(HOST, "t", str(given_file))
    assert done == ["file", "name", "folder"]


def test_a_folder_that_cannot_be_made_is_a_local_error(tmp_path: Path) -> None:
    """The message names the file, and the hint names the variable."""
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="cannot be written"):
        save_token(HOST, "t", str(tmp_path / "file" / "below" / "config.toml"))


def test_without_a_home_there_is_no_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home folder, a folder named `~` is not used."""
    monkeypatch.setattr("platformdirs.user_config_dir", lambda *_, **__: "~/.config/x")
    assert load_config().tokens == {}
    with pytest.raises(LocalError, match="no home folder") as caught:
        save_token(HOST, "t")
    assert "set HOME" in (caught.value.hint or "")


@pytest.mark.skipif(os.name == "nt", reason="the variable is of the XDG specification")
def test_the_file_stands_in_the_users_config_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default path is the platform's, and all functions use it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_path().endswith(os.path.join("sourcecraft-artifacts", "config.toml"))
    save_token(HOST, "t")
    assert load_config().path == config_path()
    assert remove_token(HOST)
    assert load_config().tokens == {}


@pytest.mark.parametrize(
    ("environ", "tokens", "api_url", "found"),
    [
        ({}, {}, API, None),
        ({"SOURCECRAFT_TOKEN": " e\r\n"}, {HOST: "c"}, API, "e"),
        ({"SOURCECRAFT_TOKEN": " \n"}, {HOST: " c "}, API, "c"),
        ({}, {HOST: "c"}, f"{API}:443/base", "c"),
        ({}, {HOST: "c"}, "https://API.sourcecraft.tech", "c"),
        ({}, {HOST: "c"}, f"{API}:8443", None),
        ({}, {HOST: "c"}, "https://evil.example.org", None),
        ({}, {HOST: ""}, API, None),
        ({}, {"127.0.0.1:8080": "c"}, "http://127.0.0.1:8080", "c"),
    ],
)
def test_the_variable_beats_the_token_of_this_host_alone(
    environ: Mapping[str, str], tokens: Mapping[str, str], api_url: str, found: str | None
) -> None:
    """A stored token is used for its API host only; an empty variable is unset."""
    token = find_token(environ, Config("/c.toml", tokens=tokens), api_url)
    assert (token and token.value) == found


def test_a_token_knows_where_it_comes_from() -> None:
    """A token names its source for messages; a valid variable makes the file irrelevant."""
    config = Config("/c.toml", tokens={HOST: "bad\x1bSECRET"})
    token = find_token({"SOURCECRAFT_TOKEN": "t"}, config, API)
    assert token == Token("t", "the variable SOURCECRAFT_TOKEN")
    with pytest.raises(UsageError, match=r"the config file /c\.toml") as caught:
        find_token({}, config, API)
    assert "SECRET" not in caught.value.message
    assert "SECRET" not in repr((config, Token("SECRET", "x")))


@pytest.mark.parametrize(
    "text", ["", " \t\r\n", "SEC\nRET", "SEC\x00RET", "SECRET\x7f", "SECRETы", "SEC" * 6000]
)
def test_a_malformed_token_is_refused_unseen(text: str) -> None:
    """Control and non-ASCII characters and too many are refused; the token is not shown."""
    with pytest.raises(UsageError) as caught:
        clean_token(text)
    assert "SEC" not in caught.value.message


@pytest.mark.parametrize(
    ("token", "shown"),
    [("", "****"), ("x" * 15, "****"), ("abcdefghijklmnop", "****mnop")],
)
def test_a_masked_token_shows_four_characters_at_most(token: str, shown: str) -> None:
    """A short token is hidden completely."""
    assert masked(token) == shown


@pytest.mark.parametrize(
    ("url", "checked", "host"),
    [
        (API, API, HOST),
        (f"{API}/", API, HOST),
        ("HTTPS://H.Example.org:443/Base//", "HTTPS://H.Example.org:443/Base", "h.example.org"),
        ("https://h:80", "https://h:80", "h:80"),
        ("http://localhost:80", "http://localhost:80", "localhost"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_api_has_an_address_and_a_host(url: str, checked: str, host: str) -> None:
    """An address is https, or http on loopback; a token's host includes an unusual port."""
    assert check_api_url(url) == checked
    assert api_host(checked) == host


@pytest.mark.parametrize(
    "url",
    [
        "",
        HOST,
        f"http://{HOST}",
        f"https://u:SECRET@{HOST}",
        f"{API}?SECRET",
        f"{API}/#SECRET",
        f"{API}:port",
        f"{API}\n",
        "https://h\x1b/",
    ],
)
def test_another_api_address_is_a_usage_error(url: str) -> None:
    """The message shows no secrets or escape characters, and the hint shows a valid address."""
    with pytest.raises(UsageError) as caught:
        check_api_url(url)
    assert "SECRET" not in caught.value.message
    assert caught.value.message.isprintable()
    assert API in (caught.value.hint or "")


_TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
_HOSTS = st.from_regex(r"[a-z0-9_-]{1,9}(\.[a-z0-9-]{1,9}){0,2}(:[1-9][0-9]{0,3})?", fullmatch=True)
_BEFORE = st.lists(
    st.sampled_from(
        [
            "# a comment with [tokens]",
            "",
            '\ts = "text" # [tokens]',
            "'[tokens]' = '''\n[tokens]\nx = \"\"\"\n'''",
            "list = [ # open\n  [1, 'a'],\n  \"]\",\n]",
            "f = nan",
            "d = 1979-05-27T07:32:00Z",
            "point = { tokens = { x = 1 } }",
        ]
    ),
    unique=True,
).map("\n".join)
_TABLES = st.lists(
    st.sampled_from(
        ["[a.tokens]\nx = '''\n[tokens]\n'''", "[[b]]\n[[b]] # two\nx = 1", "# c\n[c]\n\n", "\n\n"]
    ),
    unique=True,
).map("\n".join)
_TABLE = st.lists(
    st.sampled_from(
        ["", "# note", "'first.example.org' = 'x' # c", 'b = """\n[c]\n"""', "Big = 'y'"]
    ),
    unique=True,
).map(lambda lines: "\n".join(["[tokens]", *lines]))


@settings(derandomize=True, max_examples=60)
@given(
    before=_BEFORE,
    tables=_TABLES,
    table=st.none() | _TABLE,
    rest=st.sampled_from(["", "\n[rest]\nx = 1 # end", "\n"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    host=_HOSTS,
    token=_TOKENS,
)
def test_any_file_keeps_all_but_its_tokens(
    tmp_path_factory: pytest.TempPathFactory,
    before: str,
    tables: str,
    table: str | None,
    rest: str,
    newline: str,
    host: str,
    token: str,
) -> None:
    """In any file, a login and a logout change nothing but the token."""
    file = tmp_path_factory.mktemp("config") / "config.toml"
    head = f"{before}\n{tables}\n".replace("\n", newline)
    tail = rest.replace("\n", newline)
    file.write_bytes((head + (table or "").replace("\n", newline) + tail).encode())
    old = load_config(str(file)).tokens
    save_token(host, token, str(file))
    assert load_config(str(file)).tokens == {**old, host: token}
    saved = file.read_bytes().decode()
    assert saved.startswith(head)
    assert tail.strip() in saved[len(head) :]
    assert remove_token(host, str(file))
    assert load_config(str(file)).tokens == {k: v for k, v in old.items() if k != host}
    assert file.read_bytes().decode().startswith(head)


@settings(derandomize=True, max_examples=60)
@given(content=st.binary() | st.text().map(str.encode))
def test_no_bytes_in_a_config_file_are_a_crash(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Any bytes are read and saved, or refused with an error and no change."""
    file = tmp_path_factory.mktemp("config") / "config.toml"
    file.write_bytes(content)
    try:
        save_token(HOST, "t", str(file))
    except ArtifactsError:
        assert file.read_bytes() == content
    else:
        assert tomllib.loads(file.read_text("utf-8-sig"))["tokens"][HOST] == "t"
