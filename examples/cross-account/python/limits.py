"""Prints how many API requests a Salesforce org has left: limits.py APP

SFTOKEN_URL is the ApiUrl of the sftoken deployment, or the address of an agent. AWS credentials are found as boto3 finds them.
"""

import os
import sys

import sftoken


def main(app):
    tokens = sftoken.Tokens(os.environ["SFTOKEN_URL"], app)
    response = sftoken.call(tokens, "GET", "/services/data/v65.0/limits")
    response.raise_for_status()
    left = response.json()["DailyApiRequests"]
    print(f"{left['Remaining']} of {left['Max']} API requests are left today")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: limits.py APP")
    try:
        main(sys.argv[1])
    except Exception as failed:
        sys.exit(f"limits.py: {failed}")
