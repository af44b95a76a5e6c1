// Package localaws simulates the AWS services that sftoken uses: Secrets Manager with rotation, events and replicas,
// STS, DynamoDB, an API Gateway that verifies signatures, and a Lambda host that runs functions as processes. It
// follows AWS's documented rules where sftoken relies on them, and keeps everything in memory.
package localaws
