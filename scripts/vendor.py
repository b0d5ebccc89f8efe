"""
Third-party files of the panel: fetched with npm, bundled with esbuild, written beside the panel with their origins.

The result is committed, so neither users nor contributors need Node. `--check` writes nothing, and exits 1 on a
difference.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "scripts/vendoring"
TARGET = ROOT / "worker/web/panel/static/vendor"
# Each vendored file, and the packages that are in it.
BUNDLES = {"preact.js": ("preact", "htm"), "uplot.js": ("uplot",)}
COPIES = {"uplot.css": "uplot/dist/uPlot.min.css"}
NPM_SECONDS = 180.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with what is committed, write nothing")
    check = parser.parse_args().check
    made = _make()
    if check:
        different = [name for name, content in made.items() if _there(name) != content]
        if different:
            raise SystemExit(f"Not what {SOURCE} makes: {', '.join(different)}")
        print("Vendored files are what their versions make.")
        return
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        (TARGET / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")


def _there(name: str) -> bytes | None:
    path = TARGET / name
    return path.read_bytes() if path.exists() else None


def _make() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as home_name:
        home = Path(home_name)
        for path in SOURCE.iterdir():
            shutil.copy(path, home)
        locked = (home / "package-lock.json").exists()
        _run("npm", "ci" if locked else "install", "--no-audit", "--no-fund", cwd=home)
        if not locked:
            shutil.copy(home / "package-lock.json", SOURCE)
        made = {name: _bundle(name, home) for name in BUNDLES}
        made |= {name: (home / "node_modules" / path).read_bytes() for name, path in COPIES.items()}
        for package in sum(BUNDLES.values(), ()):
            made[f"LICENSE.{package}"] = (home / "node_modules" / package / "LICENSE").read_bytes()
        made["VENDOR.json"] = _origins(home, made)
        return made


def _bundle(name: str, home: Path) -> bytes:
    return _run(
        *("node_modules/.bin/esbuild", name, "--bundle", "--format=esm", "--minify", "--target=es2022"),
        "--legal-comments=eof",
        cwd=home,
    )


def _origins(home: Path, made: dict[str, bytes]) -> bytes:
    contents = BUNDLES | {name: (path.partition("/")[0],) for name, path in COPIES.items()}
    files = {
        name: {
            "sha256": hashlib.sha256(made[name]).hexdigest(),
            "packages": [_origin(home, package) for package in packages],
        }
        for name, packages in contents.items()
    }
    return (json.dumps({"files": files}, indent=2) + "\n").encode()


def _origin(home: Path, name: str) -> dict[str, str]:
    manifest = json.loads((home / "node_modules" / name / "package.json").read_text())
    return {"name": name, "version": manifest["version"], "licence": manifest["license"], "text": f"LICENSE.{name}"}


def _run(*command: str, cwd: Path) -> bytes:
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=NPM_SECONDS)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr.decode(errors='replace')}")
    return done.stdout


if __name__ == "__main__":
    main()
