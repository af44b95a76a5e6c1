import { CfnStack } from "aws-cdk-lib";
import { Asset } from "aws-cdk-lib/aws-s3-assets";
import { Construct } from "constructs";

/**
 * sftoken as a nested stack. Props: template, the path of the template that `make package` writes; parameters, the template's
 * parameters as strings, which docs/reference/settings.md describes.
 *
 * A nested stack, since CloudFormation expands the SAM transform. CfnInclude does not, and the template refers to resources that only
 * the transform makes.
 */
export class Sftoken extends Construct {
  constructor(scope, id, { template, parameters = {} }) {
    super(scope, id);
    const file = new Asset(this, "Template", { path: template });
    this.stack = new CfnStack(this, "Stack", { templateUrl: file.httpUrl, parameters });
  }

  /** An output of the template, such as ApiUrl or CallerPolicyArn. */
  output(name) {
    return this.stack.getAtt(`Outputs.${name}`).toString();
  }
}
