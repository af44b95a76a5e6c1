package rotation

import (
	"errors"
	"fmt"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// replicaError is why a replica is not rotated. Nothing is sent to Salesforce for one either: the function in the
// primary region may be changing the credentials, and what this region sees of that is late.
func replicaError(secret *appsecret.Secret) error {
	return fmt.Errorf("secret %s is a replica of the one in %s, where it is rotated: to rotate it here, promote it first "+
		"with `aws secretsmanager stop-replication-to-replica --secret-id %s`",
		secret.Name, secret.PrimaryRegion, secret.Name)
}

// failedReplicas returns which replicas Secrets Manager has failed to update, and why; nil: none.
func failedReplicas(secret *appsecret.Secret) error {
	var failed []error
	for _, replica := range secret.Replicas {
		if replica.Failed() {
			failed = append(failed, fmt.Errorf("the replica in %s: %s", replica.Region, replica.Message))
		}
	}
	return errors.Join(failed...)
}
