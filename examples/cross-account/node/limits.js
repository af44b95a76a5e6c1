// Prints how many API requests a Salesforce org has left: limits.js APP
//
// SFTOKEN_URL is the ApiUrl of the sftoken deployment, or the address of an agent. AWS credentials are found as the AWS SDK finds
// them.
import { call, Tokens } from "./sftoken.js";

try {
  const tokens = new Tokens(process.env.SFTOKEN_URL, process.argv[2]);
  const response = await call(tokens, "/services/data/v65.0/limits");
  if (!response.ok) throw new Error(`Salesforce: HTTP ${response.status}: ${await response.text()}`);
  const left = (await response.json()).DailyApiRequests;
  console.log(`${left.Remaining} of ${left.Max} API requests are left today`);
} catch (failed) {
  console.error(`limits.js: ${failed.message}`);
  process.exitCode = 1;
}
