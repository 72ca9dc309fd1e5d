"""What CI runs, in which order, and that nothing is left out silently: .ci/run with other commands in place of make."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALL = ["make test", "make machines", "make parity", "make browser"]
UPDATE = "apt-get update --quiet"
INSTALL = "apt-get install --quiet --yes --no-install-recommends chromium"
INSTALLS = 'if [ "$1" = install ]; then cp "$(dirname "$0")/make" "$(dirname "$0")/chromium"; fi'
FAILS = "exit 100"
pytestmark = pytest.mark.skipif(not Path("/bin/sh").exists(), reason="no shell")


@pytest.fixture
def run(tmp_path):
    """Run .ci/run on a machine that has only these commands; return exit code, what was called, what was said."""
    tools, calls = tmp_path / "bin", tmp_path / "calls"
    tools.mkdir(), calls.touch()
    for name in ("bash", "sh", "dirname", "cp"):
        (tools / name).symlink_to(shutil.which(name))

    def command(name, program=""):
        path = tools / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{calls}"\n{program}\n')
        path.chmod(0o755)

    def run(commands, user=0, **settings):
        for name, program in {"make": "", **commands}.items():
            command(name, program)
        (tools / "id").write_text(f"#!/bin/sh\necho {user}\n")
        (tools / "id").chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if name not in ("CI", "CHROMIUM")}
        done = subprocess.run([str(tools / "bash"), str(ROOT / ".ci" / "run")], capture_output=True, text=True,
                              env={**environment, "PATH": str(tools), **settings}, timeout=600)  # fmt: skip
        return done.returncode, calls.read_text().splitlines(), done.stdout + done.stderr

    return run


@pytest.mark.parametrize("name", ["chromium", "chromium-browser"])
@pytest.mark.parametrize("settings", [{}, {"CI": "true"}])
def test_with_chromium_all_is_run(run, name, settings):
    code, calls, said = run({name: ""}, **settings)
    assert (code, calls) == (0, ALL) and "LEFT OUT" not in said


def test_a_chromium_that_is_named(run):
    code, calls, _ = run({}, CI="true", CHROMIUM="/some/where/chrome")
    assert (code, calls) == (0, ALL)


def test_ci_installs_chromium_before_anything_else(run):
    code, calls, _ = run({"apt-get": INSTALLS}, CI="true")
    assert (code, calls) == (0, [UPDATE, INSTALL, *ALL])


@pytest.mark.parametrize("commands, user, tried", [
    ({}, 0, []), ({"apt-get": INSTALLS}, 1000, []), ({"apt-get": FAILS}, 0, [UPDATE]),
    ({"apt-get": f'[ "$1" = update ] || {FAILS}'}, 0, [UPDATE, INSTALL]), ({"apt-get": ""}, 0, [UPDATE, INSTALL]),
], ids=["no apt-get", "not root", "no lists", "no package", "no program in it"])  # fmt: skip
def test_ci_fails_where_chromium_cannot_be_installed(run, commands, user, tried):
    code, calls, _ = run(commands, user, CI="true")
    assert code != 0 and calls == tried


def test_a_reader_without_chromium_is_told_so(run):
    code, calls, said = run({"apt-get": INSTALLS})
    assert (code, calls) == (0, ALL[:-1])
    assert said.splitlines()[-1].startswith("LEFT OUT: the tests in a browser.")


@pytest.mark.parametrize("step", ALL)
def test_a_step_that_fails_ends_all(run, step):
    code, calls, _ = run({"make": f'[ "make $1" != "{step}" ] || exit 2', "chromium": ""}, CI="true")
    assert code == 2 and calls == ALL[: ALL.index(step) + 1]
