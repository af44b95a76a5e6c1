"""Checks that a token is never sent to another host: python -m unittest, in this folder."""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest
from unittest import mock

import sftoken


class Host:
    """A server that records the paths of requests and sends a given response."""

    def __init__(self):
        self.asked, self.authorization, self.response = [], None, (200, {}, b"{}")
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                host.asked.append(self.path)
                host.authorization = self.headers["Authorization"]
                status, headers, body = host.response
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = "127.0.0.1:%d" % self._server.server_port
        self.url = "http://" + self.name
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Given:
    """Tokens of the org."""

    def __init__(self, org):
        self._org = org

    def get(self, rejected=None):
        return {"access_token": "00Dxx!token", "token_id": "0123456789abcdef", "instance_url": self._org.url, "expires_in": 600}


class TestCall(unittest.TestCase):
    def setUp(self):
        self.org, self.other = Host(), Host()
        self.addCleanup(self.org.close)
        self.addCleanup(self.other.close)

    def test_no_path_changes_the_host(self):
        other = self.other.name
        for path in "", "x", f"@{other}/x", f":x@{other}/x", f".{other}/x", f"https://{other}/x", f"http://{other}/x", f"\\\\{other}/x", f" @{other}/x", f"?@{other}":
            with self.subTest(path=path):
                with self.assertRaises(ValueError):
                    sftoken.call(Given(self.org), "GET", path)
                self.assertEqual((self.org.asked, self.other.asked), ([], []))
        for path in "/", "/x", f"//{other}/x", f"///{other}/x", f"/@{other}/x", f"/\\{other}/x", f"/\\@{other}/x", f"/../@{other}", f"/?@{other}":
            with self.subTest(path=path):
                self.assertEqual(sftoken.call(Given(self.org), "GET", path).status_code, 200)
                self.assertEqual((len(self.org.asked), self.other.asked), (1, []))
                self.org.asked.clear()

    def test_no_redirect_is_followed(self):
        for status in 301, 302, 303, 307, 308:
            for target in self.other.url + "/x", "/x":
                with self.subTest(status=status, target=target):
                    self.org.response = status, {"Location": target}, b""
                    with self.assertRaises(sftoken.Refused):
                        sftoken.call(Given(self.org), "GET", "/services/data", allow_redirects=True)
                    self.assertEqual((self.org.asked, self.other.asked), (["/services/data"], []))
                    self.org.asked.clear()


class TestTokens(unittest.TestCase):
    def setUp(self):
        self.api, self.other = Host(), Host()
        self.addCleanup(self.api.close)
        self.addCleanup(self.other.close)
        variables = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session", "AWS_REGION": "eu-west-1"}
        self.enterContext(mock.patch.dict(os.environ, variables))
        for variable in "SFTOKEN_AGENT_TOKEN", "SFTOKEN_AGENT_TOKEN_FILE":
            os.environ.pop(variable, None)
        self.api.response = 200, {}, json.dumps(Given(self.api).get()).encode()

    def test_a_token(self):
        self.assertEqual(sftoken.Tokens(self.api.url, "crm").get()["token_id"], "0123456789abcdef")
        self.assertRegex(self.api.authorization, "^AWS4-HMAC-SHA256 ")

    def test_an_agent(self):
        os.environ["SFTOKEN_AGENT_TOKEN"] = "first\n"  # as of a file
        tokens = sftoken.Tokens(self.api.url, "crm")
        self.assertEqual(tokens.get()["token_id"], "0123456789abcdef")
        self.assertEqual(self.api.authorization, "Bearer first")
        del os.environ["SFTOKEN_AGENT_TOKEN"]
        with tempfile.NamedTemporaryFile("w") as file:
            os.environ["SFTOKEN_AGENT_TOKEN_FILE"] = file.name
            file.write("second\n")
            file.flush()
            tokens.get(rejected="0123456789abcdef")
        self.assertEqual(self.api.authorization, "Bearer second")
        self.assertEqual(self.api.asked, ["/tokens/crm", "/tokens/crm?rejected=0123456789abcdef"])

    def test_the_agent_token_reaches_no_other_host(self):
        os.environ["SFTOKEN_AGENT_TOKEN"] = "secret"
        loopback = "http://127.0.0.1:7373/v1", "http://127.1.2.3/v1", "http://localhost:7373/v1", "http://[::1]:7373/v1"
        others = (
            "https://127.0.0.1/v1", "http://10.0.0.1/v1", "http://localhost.example/v1", "http://127.0.0.1.example/v1", "http://0.0.0.0/v1",
            "http://127.0.0.1@example.com/v1", "http://example.com\\@127.0.0.1/v1", "http://example.com/127.0.0.1", "https://example.com/v1",
        )
        self.assertEqual([url for url in loopback + others if sftoken.uses_agent(url)], list(loopback))
        with mock.patch.dict(os.environ, {"http_proxy": self.other.url, "all_proxy": self.other.url, "no_proxy": ""}):
            sftoken.Tokens(self.api.url, "crm").get()
        self.assertEqual((self.api.asked, self.other.asked), (["/tokens/crm"], []))

    def test_an_agent_needs_no_botocore(self):
        program = "import sys; sys.modules['botocore'] = None; import sftoken; print(sftoken.Tokens(sys.argv[1], 'crm').get()['token_id'])"
        done = subprocess.run([sys.executable, "-c", program, self.api.url], env=os.environ | {"SFTOKEN_AGENT_TOKEN": "x"}, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, "0123456789abcdef\n"), done.stderr)

    def test_no_redirect_is_followed(self):
        for status in 301, 302, 303, 307, 308:
            with self.subTest(status=status):
                self.api.response = status, {"Location": self.other.url + "/tokens/crm"}, b""
                with self.assertRaises(sftoken.Refused):
                    sftoken.Tokens(self.api.url, "crm").get()
                self.assertEqual((self.api.asked, self.other.asked), (["/tokens/crm"], []))
                self.api.asked.clear()


if __name__ == "__main__":
    unittest.main()
