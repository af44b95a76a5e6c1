"""How test/sam-local waits for a line of a container's log. No Docker runs here: one that is slow is played by a script."""

import os
import subprocess
import time

import pytest

import deployment

# `docker events` reports one container; `docker logs` writes its line after a while, as a slow daemon does, and then the container is gone.
DOCKER = """#!/usr/bin/env bash
case $1 in
events) [[ " $* " == *" --since "*" event=start "* ]] || exit 1; echo "container$$"; exec sleep 60 ;;
logs) [[ $2 == --follow ]] || exit 1; echo "START RequestId"; sleep "$DELAY"; echo '{"msg":"vend","cache":"miss"}' ;;
esac
"""
SCRIPT = """
started=()
trap 'for pid in "${started[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done' EXIT
source test/container-logs.sh
echo "a response, and no line of the log" >"$WORK/invoke.log"
follow_containers "$WORK/containers"
"""


@pytest.fixture
def bash(tmp_path):
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)

    def run(commands, delay, patience):
        """Runs the commands after the containers are followed; returns the exit code, what was written, and how long it took."""
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WORK": str(tmp_path), "DELAY": str(delay), "AWAIT": str(patience)}
        begun = time.monotonic()
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", SCRIPT + commands], env=environment, cwd=deployment.ROOT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return done.returncode, done.stdout, time.monotonic() - begun

    return run


LOGGED = 'await logged "$WORK/containers" "$WORK/invoke.log" \'"cache":"miss"\''


def test_a_line_that_comes_late_is_waited_for(bash):
    """It is not there when the response is."""
    code, output, took = bash(f'sleep 0.5; logged "$WORK/containers" "$WORK/invoke.log" \'"cache":"miss"\' && exit 9\n{LOGGED}', delay=2, patience=20)
    assert (code, output) == (0, "") and 1.5 < took < 15


def test_a_line_that_never_comes_is_not_waited_for_without_end(bash):
    code, output, took = bash(LOGGED, delay=15, patience=2)
    assert code == 1 and output.startswith("waited 2 s in vain for: logged") and took < 15


def test_a_line_of_an_earlier_container_does_not_count(bash):
    code, *_ = bash(f'{LOGGED}\nforget_containers "$WORK/containers"\n{LOGGED}', delay=0, patience=3)
    assert code == 1
