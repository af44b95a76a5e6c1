"""Signs what schemathesis sends, and counts what the API answers."""

import atexit
import collections
import json

import schemathesis

from sigv4 import SigV4

schemathesis.auth.set_from_requests(SigV4("owner"))
answers = collections.Counter()


@schemathesis.hook
def after_call(context, case, response):
    try:
        body = json.loads(response.content)
    except ValueError:
        body = {}
    answers[f"{response.status_code} {body.get('error', 'by API Gateway' if response.status_code >= 400 else '')}".strip()] += 1


@atexit.register
def report():
    if answers:
        print("answers: " + ", ".join(f"{count} x {what}" for what, count in sorted(answers.items())))
