"""The lock files have the hashes of every package that pyproject.toml requires, and agree."""

import re
import tomllib

import pytest

from tests import ROOT

LOCKS = {
    "requirements.lock": ("pip",),
    "requirements-deploy.lock": ("deploy",),
    "requirements-dev.lock": ("dev", "deploy"),
}


def _locked(name: str) -> dict[str, str]:
    """Return the version of each package, by its name. Each has hashes."""
    entries = re.split(r"\n(?=\w)", (ROOT / name).read_text())[1:]
    versions = {}
    for entry in entries:
        package, equals, version = entry.split()[0].partition("==")
        assert equals and " --hash=sha256:" in entry, f"{name}: {package}"
        versions[package] = version
    return versions


def _plain(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.mark.parametrize("name", LOCKS)
def test_all_that_is_asked_for_is_locked_by_hash(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {_plain(requirement) for requirement in project["dependencies"]}
    for extra in LOCKS[name]:
        wanted |= {_plain(each) for each in project["optional-dependencies"].get(extra, [extra])}
    assert wanted - {_plain(project["name"])} - set(_locked(name)) == set(), "run: make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_everybody_gets_the_versions_that_were_tested(name: str) -> None:
    assert _locked(name).items() <= _locked("requirements-dev.lock").items()


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_is_named(name: str) -> None:
    assert "://" not in (ROOT / name).read_text()
