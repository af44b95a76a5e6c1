import { App, CfnOutput, Stack } from "aws-cdk-lib";
import { Sftoken } from "./sftoken.js";

const app = new App();
const stack = new Stack(app, "sftoken");
const sftoken = new Sftoken(stack, "Sftoken", {
  template: app.node.tryGetContext("template") ?? "../../dist/packaged.yaml",
  parameters: { AppName: "crm", RotationSchedule: "rate(30 days)", LogRetentionDays: "365" },
});
// Attach CallerPolicyArn to the roles of this account that may get the app's tokens.
for (const name of ["ApiUrl", "CallerPolicyArn"]) new CfnOutput(stack, name, { value: sftoken.output(name) });
