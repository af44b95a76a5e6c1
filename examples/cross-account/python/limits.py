"""How many API requests a Salesforce org has left, asked with a token of sftoken: limits.py APP

SFTOKEN_URL is the ApiUrl of the sftoken deployment; AWS credentials are found as boto3 finds them.
"""

import os
import sys

import botocore.exceptions
import requests

import sftoken


def main(app):
    tokens = sftoken.Tokens(os.environ["SFTOKEN_URL"], app)
    answer = sftoken.call(tokens, "GET", "/services/data/v65.0/limits")
    answer.raise_for_status()
    left = answer.json()["DailyApiRequests"]
    print(f"{left['Remaining']} of {left['Max']} API requests are left today")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: limits.py APP")
    try:
        main(sys.argv[1])
    except (sftoken.Refused, requests.RequestException, botocore.exceptions.BotoCoreError) as failed:
        sys.exit(f"limits.py: {failed}")
