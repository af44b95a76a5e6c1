"""The AWS CLI commands of docs/how-to/controls.md, as an auditor of the deployed stack types them, and what they answer. The commands of
sftoken itself are run by TestDocumentedCommandBlocks in cmd/sftoken; the queries are checked in test/docs."""

import re

import pytest

import deployment
from rotations import restart

PAGE = (deployment.ROOT / "docs/how-to/controls.md").read_text()
SECTION = re.compile(r"^#+ ([^\n]+)$|^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks():
    """The blocks that run no command of sftoken, each with its heading."""
    heading = None
    for title, commands in SECTION.findall(PAGE):
        if title:
            heading = title
        elif not re.search(r"^(?:time )?sftoken ", commands, re.MULTILINE):
            yield heading, commands


(_, FUNCTIONS), *BLOCKS = blocks()
# Other tests make many principals, and asking about each takes a second.
FEW = FUNCTIONS.replace("'Roles[].Arn'", "\"Roles[?starts_with(RoleName, 'sftoken-')].Arn\"").replace("'Users[].Arn'", "'Users[:1].Arn'")

# What must be in the answers under a heading, and what must not.
ANSWERS = {
    "Who can read the secret?": (["GetSecretValue", "-TokenRole", "-RotateRole", "None", "TheAccountDecides"], ["ApiLoggingRole"]),
    "Who can change the secret?": (["PutSecretValue", "UpdateSecretVersionStage", "-RotateRole"], ["-TokenRole", "DeleteSecret\t"]),
    "Who may call the API?": (["GET\tAWS_IAM", "POST\tAWS_IAM", "DELETE\tAWS_IAM"], ["NONE"]),
    "Is the boundary tested?": ([], ["ALARM"]),
    "How are the logs kept?": (["TokenLogs", "RotateLogs", "AccessLogs", "\t365"], ["-TokenRole", "-RotateRole"]),
    "How is the secret encrypted?": (["True"], []),
    "When was the secret rotated and checked?": (["sftoken/crm", "Z ok"], []),
    "Who is alerted?": (["LoginRefused", "NoDailyCheck", "True"], ["False"]),
    "How are changes deployed?": (["COMPLETE", "TokenFunction"], []),
    "Does the deployed code match a release?": (["  TokenFunction", "  RotateFunction", "None"], ["code-signing-config"]),
    "Who can turn a control off?": (["apigateway.amazonaws.com"], ["-TokenRole", "-RotateRole"]),
}


@pytest.fixture(scope="module")
def answers(stack, crm, emulator, environment):
    """What the commands answer, by heading, after a daily check that has found crm well."""
    restart(emulator, stack)  # a process that has just found it well does not try it again
    done = emulator.client("lambda").invoke(FunctionName=stack.resources["RotateFunction"], Payload=b'{"detail-type": "Scheduled Event"}')
    assert "FunctionError" not in done
    found = {}
    for heading, commands in BLOCKS:
        done = deployment.shell(FEW + commands, environment())
        assert done.returncode == 0, f"{heading}: {done.stderr}\n{commands}"
        found[heading] = found.get(heading, "") + done.stdout
    return found


def test_every_command_is_for_a_question(answers):
    assert set(answers) == set(ANSWERS)
    assert FEW.count("sftoken-") == 1 and FEW.count("[:1]") == 1


@pytest.mark.parametrize("heading", ANSWERS)
def test_answer(heading, answers):
    present, absent = ANSWERS[heading]
    assert not [text for text in present if text not in answers[heading]], answers[heading]
    assert not [text for text in absent if text in answers[heading]], answers[heading]
