"""Signs the requests of schemathesis and counts the API's responses."""

import atexit
import collections
import json

import schemathesis

from sigv4 import SigV4

schemathesis.auth.set_from_requests(SigV4("owner"))
responses = collections.Counter()


@schemathesis.hook
def after_call(context, case, response):
    try:
        body = json.loads(response.content)
    except ValueError:
        body = {}
    responses[f"{response.status_code} {body.get('error', 'by API Gateway' if response.status_code >= 400 else '')}".strip()] += 1


@atexit.register
def report():
    if responses:
        print("responses: " + ", ".join(f"{count} x {what}" for what, count in sorted(responses.items())))
