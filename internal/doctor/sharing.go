package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sftoken/sftoken/internal/tokenstore"
)

var sharingChecks = []check{
	{"sharing", "token-table", []string{"credentials"}, (*session).tokenTable},
	{"sharing", "login-rate", []string{"user"}, (*session).loginRate},
}

// tokenTable describes the token table. It reads no item: only the token function's role needs to. Without the table
// tokens are available, so nothing here is a failure.
func (s *session) tokenTable(ctx context.Context) outcome {
	const correct = "pass the deployment's output TokenTable with --token-table"
	switch {
	case s.TokenTable == "":
		return skipped("if SharedTokens is on, " + correct)
	case s.region == "":
		return skipped("no region: set AWS_REGION to the API's")
	}
	client := dynamodb.NewFromConfig(s.aws, func(o *dynamodb.Options) { o.Region = s.region })
	out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &s.TokenTable})
	missing := fmt.Sprintf("account %s has no table %s in %s", s.accountID, s.TokenTable, s.region)
	switch {
	case errorCode(err) == "AccessDeniedException":
		return skipped("you may not call dynamodb:DescribeTable on " + s.TokenTable)
	case errorCode(err) == "ResourceNotFoundException" && s.secret == nil: // the deployment is probably elsewhere
		return skipped(missing)
	case errorCode(err) == "ResourceNotFoundException":
		return warning(missing, correct+". If the table was deleted, every process logs in alone: deploy with "+
			"SharedTokens off, then on")
	case err != nil:
		return skipped("cannot describe " + s.TokenTable + ": " + shortError(err))
	}
	switch status := out.Table.TableStatus; {
	case len(out.Table.KeySchema) != 1 || aws.ToString(out.Table.KeySchema[0].AttributeName) != tokenstore.Key:
		return warning(s.TokenTable+" is not a token table: its key is not app", correct)
	case status == types.TableStatusInaccessibleEncryptionCredentials:
		return warning("DynamoDB may not use the key that encrypts "+s.TokenTable,
			"enable the deployment's key (output KeyArn), and let the account use it through DynamoDB")
	case status == types.TableStatusCreating, status == types.TableStatusDeleting,
		status == types.TableStatusArchiving, status == types.TableStatusArchived:
		return warning(s.TokenTable+" has the status "+string(status), "until it is ACTIVE every process logs in alone")
	}
	s.shared = true
	return ok("shared tokens are on: DynamoDB has the table " + s.TokenTable)
}

// manyLogins is a tenth of the logins that Salesforce allows a user in an hour, which are 3,600.
const manyLogins = 360

// loginRate counts the user's logins of the last hour. A user may read its own login history.
func (s *session) loginRate(ctx context.Context) outcome {
	if s.userID == "" {
		return blockedBy("user")
	}
	n, err := s.bearerClient().CountLogins(ctx, s.token(), s.userID, time.Now().Add(-time.Hour))
	found := fmt.Sprintf("%s of this user in the last hour, by all programs, of the 3,600 that Salesforce allows",
		plural(n, "login"))
	switch {
	case err != nil:
		return historyUnavailable(err)
	case n <= manyLogins:
		return ok(found)
	case s.shared:
		return warning(found, "if the token function makes them (its metric Logins), see ManyLogins and TokenTableFails in "+
			"the runbook. Otherwise give the other program a separate user")
	}
	return warning(found, "if the token function makes them (its metric Logins), deploy with SharedTokens on, so that "+
		"all its processes share one login. Otherwise give the other program a separate user")
}
