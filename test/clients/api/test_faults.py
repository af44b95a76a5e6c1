"""Every fault of the simulated org, as callers see it: each response conforms to docs/openapi.yaml."""

import collections
import concurrent.futures
import json
import os
import unittest

import requests

from openapi import conforms
from sigv4 import TOKENS, SigV4

with open(os.environ["SFTOKEN_SECRETS"], encoding="utf-8") as file:
    APPS = json.load(file)


class Faults(unittest.TestCase):
    def test_every_fault(self):
        seen = collections.Counter()

        def ask(app):
            return app, requests.get(TOKENS + app, auth=SigV4(), timeout=60)

        with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
            for app, response in pool.map(ask, APPS):
                body = response.json()
                with self.subTest(fault=APPS[app]["fault"], status=response.status_code, error=body.get("error")):
                    conforms("GET", response)
                    self.assertIn(response.status_code, (200, 502, 503))
                    self.assertEqual(response.status_code == 200, APPS[app]["healthy"])
                    if body.get("error") == "app_misconfigured":
                        self.assertRegex(body["error_description"], r"\w{3}")
                seen[f"{response.status_code} {body.get('error', '')}".strip()] += 1
        print("responses: " + ", ".join(f"{count} x {what}" for what, count in sorted(seen.items())))
        self.assertEqual(set(seen), {"200", "502 app_misconfigured", "502 bad_upstream_response", "503 temporarily_unavailable"})


if __name__ == "__main__":
    unittest.main()
