import boto3, os, json
cf=boto3.client("cloudformation"); print(json.dumps(cf.describe_stacks(StackName="sftoken")["Stacks"][0]["Outputs"],indent=1,default=str))
