"""simple-salesforce with a token of the API. It supports https only, to the host of the token's instance_url."""

import unittest
import uuid

from simple_salesforce import Salesforce, format_soql
from simple_salesforce.exceptions import SalesforceExpiredSession, SalesforceMalformedRequest, SalesforceResourceNotFound

from sigv4 import end_session, get_token


def connect(token):
    return Salesforce(session_id=token["access_token"], instance_url=token["instance_url"], version="65.0")


class SimpleSalesforce(unittest.TestCase):
    def test_records(self):
        sf = connect(get_token())
        self.assertGreater(sf.limits()["DailyApiRequests"]["Remaining"], 0)
        self.assertGreater(sf.api_usage["api-usage"].total, 0)
        self.assertIn("Account", [one["name"] for one in sf.describe()["sobjects"]])
        self.assertIn("Industry", [one["name"] for one in sf.Account.describe()["fields"]])
        self.assertIs(sf.is_sandbox(), False)

        name = f"O'Hara & Söhne {uuid.uuid4()}"
        created = sf.Account.create({"Name": name, "NumberOfEmployees": 12})
        self.assertTrue(created["success"])
        self.assertEqual(sf.Account.update(created["id"], {"Industry": "Media"}), 204)
        account = sf.Account.get(created["id"])
        self.assertEqual((account["Name"], account["Industry"], account["NumberOfEmployees"]), (name, "Media", 12))
        find = format_soql("SELECT Id, IsDeleted FROM Account WHERE Name = {}", name)
        self.assertEqual([one["Id"] for one in sf.query(find)["records"]], [created["id"]])
        self.assertEqual(sf.Account.delete(created["id"]), 204)
        self.assertEqual(sf.query(find)["totalSize"], 0)
        self.assertEqual([one["IsDeleted"] for one in sf.query_all(find, include_deleted=True)["records"]], [True])
        with self.assertRaises(SalesforceResourceNotFound):
            sf.Account.get(created["id"])
        with self.assertRaises(SalesforceMalformedRequest):
            sf.query("SELECT Nothing FROM Account")

    def test_many_records(self):
        sf = connect(get_token())
        records = [{"attributes": {"type": "Account"}, "Name": f"Many {i}"} for i in range(450)]
        ids = []
        for i in range(0, len(records), 200):
            saved = sf.restful("composite/sobjects", method="POST", json={"records": records[i : i + 200]})
            ids += [one["id"] for one in saved]
        found = sf.query_all("SELECT Name FROM Account WHERE Name LIKE 'Many %'", headers={"Sforce-Query-Options": "batchSize=200"})
        self.assertEqual(sorted(one["Name"] for one in found["records"]), sorted(one["Name"] for one in records))
        for i in range(0, len(ids), 200):
            sf.restful("composite/sobjects", method="DELETE", params={"ids": ",".join(ids[i : i + 200])})

    def test_an_ended_session(self):
        token = get_token()
        sf = connect(token)
        sf.query("SELECT Id FROM Account LIMIT 1")
        end_session(token)
        with self.assertRaises(SalesforceExpiredSession):
            sf.query("SELECT Id FROM Account LIMIT 1")
        sf = connect(get_token(rejected=token["token_id"]))
        self.assertEqual(sf.query("SELECT Id FROM Account LIMIT 1")["totalSize"], 1)


if __name__ == "__main__":
    unittest.main()
