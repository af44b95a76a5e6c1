"""The build: its bytes, and the version in it."""

import deployment


def test_two_builds_of_one_source_are_the_same_bytes(template, directory):
    """By sam build, and by make build elsewhere, with nothing compiled before."""
    clone = deployment.clone(directory / "another place")
    environment = deployment.plain() | {"GOCACHE": str(directory / "cold")}
    deployment.run("make", "build", "ARCH=" + deployment.ARCHITECTURE, env=environment, cwd=clone, timeout=1200)
    for function, name in {"TokenFunction": "token", "RotateFunction": "rotate", "ProbeFunction": "probe"}.items():
        assert (clone / "dist" / name / "bootstrap").read_bytes() == (template.parent / function / "bootstrap").read_bytes()
    assert deployment.run(str(clone / "dist" / "sftoken"), "version", env=environment) == deployment.VERSION + "\n"
