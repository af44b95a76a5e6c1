"""A simulated Salesforce org (pkg/sfoauth/sfoauthtest) in another process, which takes commands on standard input."""

import dataclasses
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from aws import Hidden


@dataclasses.dataclass
class App:
    """An app of the org, with its primary credentials at the time of the call."""

    name: str
    app_id: str
    consumer_id: str
    consumer_key: str
    consumer_secret: Hidden

    def value(self, base_uri, rotates=False, **more):
        """The app's secret as it is stored; with rotates, with the ids that let sftoken rotate it."""
        value = {"consumerKey": self.consumer_key, "consumerSecret": self.consumer_secret, "baseUri": base_uri}
        if rotates:
            value |= {"appId": self.app_id, "consumerId": self.consumer_id}
        return value | more


class Org:
    """The org. Close it."""

    def __init__(self, binary):
        self._process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = json.loads(self._process.stdout.readline())
        self.url, self.id = hello["url"], hello["orgId"]

    @property
    def host(self):
        """host:port, as SALESFORCE_HOSTS lists it."""
        return self.url.removeprefix("http://")

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def do(self, what, **more):
        """Sends a command of org/main.go and returns its response."""
        self._process.stdin.write(json.dumps({"do": what} | more) + "\n")
        self._process.stdin.flush()
        response = json.loads(self._process.stdout.readline())
        if isinstance(response, dict) and "error" in response:
            raise RuntimeError(f"org: {what}: {response['error']}")
        return response

    def add_app(self, name, rotates=False):
        """Adds an app, or replaces the one of this name; with rotates, its user may change the app's credentials through the API."""
        return self._app(name, self.do("app", app=name, rotates=rotates))

    def credentials(self, name):
        """The app with its current primary credentials."""
        return self._app(name, self.do("credentials", app=name))

    def regenerate(self, name):
        """Regenerates the app's credentials as a person does in Setup. The old ones are invalid immediately."""
        return self._app(name, self.do("regenerate", app=name))

    def inject_fault(self, endpoint, fault, times=0):
        """Makes the next requests to an sfoauthtest.Endpoint meet a fault of sfoauthtest.AllFaults; all of them where times is 0."""
        self.do("inject_fault", endpoint=endpoint, fault=fault, times=times)

    def clear_faults(self):
        self.do("clear_faults")

    def accepts(self, token):
        """Whether the org's REST API lets the token in."""
        request = urllib.request.Request(self.url + "/services/data/v65.0/limits", headers={"Authorization": "Bearer " + token})
        try:
            return urllib.request.urlopen(request, timeout=30).status == 200
        except urllib.error.HTTPError as refused:
            return refused.code == 200

    def logs_in(self, app):
        """Whether the org's token endpoint accepts the app's credentials."""
        form = {"grant_type": "client_credentials", "client_id": app.consumer_key, "client_secret": app.consumer_secret}
        try:
            return urllib.request.urlopen(self.url + "/services/oauth2/token", urllib.parse.urlencode(form).encode(), 30).status == 200
        except urllib.error.HTTPError:
            return False

    @staticmethod
    def _app(name, d):
        return App(name, d["appId"], d["consumerId"], d["consumerKey"], Hidden(d["consumerSecret"]))
