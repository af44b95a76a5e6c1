package main

import (
	"io"
	"sync"
	"testing"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// The rotate function is killed while Salesforce processes one of its calls. TestRotationCrashRecovery of
// internal/rotateapi covers every call.
func TestRotateFunctionKilled(t *testing.T) {
	t.Parallel()
	s := newTestStack(t, io.Discard, "PROPAGATION=1s")
	for _, at := range []sfoauthtest.Endpoint{sfoauthtest.Stage, sfoauthtest.Promote, sfoauthtest.Token} {
		oldKey, _ := s.App.Credentials()
		before := s.Org.Stats().Calls[at]
		s.Org.InjectFault(at, sfoauthtest.Latency(time.Second), 1)
		var killer sync.WaitGroup
		killer.Go(func() {
			for s.Org.Stats().Calls[at] == before {
				time.Sleep(5 * time.Millisecond)
			}
			s.Rotate.Kill()
		})
		_, _ = startRotation(t.Context(), s.Secrets, prefix+"crm") // Secrets Manager tries twice
		killer.Wait()
		s.Org.ClearFaults()
		for try := 0; ; try++ {
			secret, err := s.Secret(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			key, pair := s.App.Credentials()
			version, err := secret.Read(t.Context(), secret.VersionWithLabel("AWSCURRENT"))
			if err == nil && key != oldKey && version.ConsumerKey == key && s.Org.CanLogin(key, pair) {
				break
			}
			if try == 3 {
				t.Fatalf("killed at %s: the rotation does not complete: %v", at, err)
			}
			_, _ = startRotation(t.Context(), s.Secrets, prefix+"crm")
		}
	}
}
