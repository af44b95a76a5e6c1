// How many API requests a Salesforce org has left, asked with a token of sftoken: limits.js APP
//
// SFTOKEN_URL is the ApiUrl of the sftoken deployment; AWS credentials are found as the AWS SDK finds them.
import { call, Tokens } from "./sftoken.js";

try {
  const tokens = new Tokens(process.env.SFTOKEN_URL, process.argv[2]);
  const answer = await call(tokens, "/services/data/v65.0/limits");
  if (!answer.ok) throw new Error(`Salesforce: HTTP ${answer.status}: ${await answer.text()}`);
  const left = (await answer.json()).DailyApiRequests;
  console.log(`${left.Remaining} of ${left.Max} API requests are left today`);
} catch (failed) {
  console.error(`limits.js: ${failed.message}`);
  process.exitCode = 1;
}
