"""The workflows can be read, run commands that the Makefile has, and may do no more than they must."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
every_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def read(name: str) -> dict:
    """A workflow; its key `on` stays text, which YAML 1.1 would read as true."""
    return yaml.load(WORKFLOWS[name].read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def steps(name: str) -> list[dict]:
    return [step for job in read(name)["jobs"].values() for step in job["steps"]]


@every_workflow
def test_a_workflow_says_when_it_runs_and_for_how_long(name):
    workflow = read(name)
    assert workflow["name"] == name and "workflow_dispatch" in workflow["on"]
    for job in workflow["jobs"].values():
        assert job["runs-on"] and int(job["timeout-minutes"]) <= 60 and job["steps"]


@every_workflow
def test_a_workflow_reads_and_only_the_deployment_may_do_more(name):
    workflow = read(name)
    assert workflow["permissions"] == {"contents": "read"}
    more = {key: job["permissions"] for key, job in workflow["jobs"].items() if "permissions" in job}
    assert more == ({"deploy": {"pages": "write", "id-token": "write"}} if name == "publish" else {})


@every_workflow
def test_every_step_is_an_action_of_a_version_or_a_command(name):
    for step in steps(name):
        assert ("uses" in step) != ("run" in step)
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v0"))


@every_workflow
def test_every_make_command_is_one_of_the_makefile(name):
    asked = [word for step in steps(name) for word in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))]
    assert set(asked) <= TARGETS


@pytest.mark.parametrize(
    "name, event, command",
    [
        ("publish", {"push": {"tags": ["v*"]}}, "make publish DIR=build/site"),
        ("links", {"schedule": [{"cron": "17 4 * * 1"}]}, "make linkcheck"),
        ("versions", {"schedule": [{"cron": "43 3 * * 3"}]}, "make nbval"),
    ],
)
def test_what_is_published_and_checked_is_what_make_does(name, event, command):
    assert {key: value for key, value in read(name)["on"].items() if key != "workflow_dispatch"} == event
    assert command in [step.get("run") for step in steps(name)]


def test_what_is_deployed_is_what_was_laid_out():
    (upload,) = (step for step in steps("publish") if "upload-pages-artifact" in step.get("uses", ""))
    assert upload["with"]["path"] == "build/site"
