"""Prints the names of the org's accounts, with simple-salesforce and a token of the agent."""

import os
from pathlib import Path

import requests
from simple_salesforce import Salesforce, SalesforceExpiredSession


def run(work, rejected=None):
    secret = Path(os.environ["SFTOKEN_AGENT_TOKEN_FILE"]).read_text().strip()
    response = requests.get(os.environ["SFTOKEN_URL"] + "/tokens/crm", {"rejected": rejected}, auth=("", secret), timeout=60)
    response.raise_for_status()
    try:
        return work(Salesforce(session_id=response.json()["access_token"], instance_url=response.json()["instance_url"]))
    except SalesforceExpiredSession:
        if rejected: raise
        return run(work, response.json()["token_id"])


if __name__ == "__main__":
    for account in run(lambda sf: sf.query_all("SELECT Name FROM Account ORDER BY Name"))["records"]:
        print(account["Name"])
