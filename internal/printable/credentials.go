package printable

import "strings"

// CredentialsError describes why the AWS SDK found no credentials. It leaves out what may be secret, which is what the
// SDK quotes of the output of a credential process and what AWS quotes of a signed request, and the SDK's wrapping.
func CredentialsError(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	const quoted = " output: "
	if before, _, found := strings.Cut(text, quoted); found {
		text = before + strings.TrimSuffix(quoted, ": ")
	}
	text, _, _ = strings.Cut(text, ", operation error ec2imds") // it says no more than "no EC2 IMDS role found"
	return Line(strings.TrimPrefix(text, "failed to refresh cached credentials, "))
}
