// Package localaws holds stand-ins for the parts of AWS that sftoken stands on, for `sftoken local`, `sftoken demo` and
// tests: Secrets Manager as the SDKs see it, with rotation and events; what STS says of a caller; an API Gateway that checks
// signatures; and the host that runs Lambda functions, which runs the real binaries. They keep AWS's rules where sftoken relies on them, and keep
// everything in memory.
package localaws
