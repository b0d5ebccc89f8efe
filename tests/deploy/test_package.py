"""The two archives that are published: they build, and what they install works without the checkout."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import worker
from tests.conftest import INSTALL, ROOT

pytestmark = pytest.mark.timeout(300)

NAME = f"supabase_realtime_worker-{worker.__version__}"
NO_PART = re.compile(r"(^|/)(\.(?!gitignore)|tests/|test_|scripts/)|\.(env|pem|key|pyc)$")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def _built(source: Path, target: str, home: Path) -> Path:
    """By the build backend that is pinned for this environment, which fetches nothing."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(home)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = home.iterdir()
    return made


def test_the_source_archive_has_what_the_package_is_made_of_and_nothing_else(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.removeprefix(f"{NAME}/") for member in archive.getmembers()}

    assert sdist.name == f"{NAME}.tar.gz"
    assert {"pyproject.toml", "PKG-INFO", "LICENSE", "README.md", "sql/install.sql", "worker/cli.py"} <= names
    assert [name for name in names if NO_PART.search(name)] == []


def test_the_wheel_of_the_source_archive_is_that_of_the_checkout(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    again = _built(tmp_path / "source" / NAME, "wheel", tmp_path / "wheel")

    assert again.name == wheel.name == f"{NAME}-py3-none-any.whl"
    assert _contents(again) == _contents(wheel)


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_installs_into_an_empty_environment_and_its_command_works(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are lent by this environment: what they are is test_image's business."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(home / "bin/python")]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")  # without what its own .pth files name
    empty = tmp_path / "empty"
    empty.mkdir()

    def said(program: str, *arguments: str) -> str:
        command = [str(home / "bin" / program), *arguments]
        return subprocess.check_output(command, cwd=empty, env={}, text=True)

    assert Path(said("python", "-c", "print(__import__('worker').__file__)").strip()).is_relative_to(home)
    assert "Usage" in said("worker", "--help")
    assert said("worker", "sql") == INSTALL
    assert list(empty.iterdir()) == []
