package appsecret_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
)

func TestReplica(t *testing.T) {
	t.Parallel()
	o := simtest.Options{StandbyAWS: &localaws.SecretsManagerConfig{}}
	simtest.Run(t, o, func(t *testing.T, h *simtest.Harness) {
		if s := h.Secret(); s.PrimaryRegion != "" || s.IsReplica() || s.Replicas != nil || s.Region() != simtest.Region {
			t.Errorf("without a replica: %+v", s)
		}
		h.Replicate()
		primary := h.Secret()
		if primary.IsReplica() || primary.PrimaryRegion != simtest.Region {
			t.Errorf("the primary secret: %+v", primary)
		}
		want := []appsecret.Replica{{Region: simtest.StandbyRegion, Status: "InSync", Message: "Replication succeeded"}}
		if diff := cmp.Diff(want, primary.Replicas); diff != "" || primary.Replicas[0].Failed() {
			t.Error(diff)
		}
		replica := func() []*appsecret.Secret {
			opened, err := appsecret.Open(t.Context(), h.StandbySecrets, simtest.Prefix, simtest.SecretName)
			h.Must(err)
			listed, err := appsecret.List(t.Context(), h.StandbySecrets, simtest.Prefix)
			if err != nil || len(listed) != 1 {
				t.Fatalf("listed %v: %v", listed, err)
			}
			return append(listed, opened)
		}
		for _, s := range replica() {
			if !s.IsReplica() || s.PrimaryRegion != simtest.Region || s.Region() != simtest.StandbyRegion {
				t.Errorf("the replica: %+v", s)
			}
		}
		h.Promote()
		for _, s := range replica() {
			if s.IsReplica() || s.PrimaryRegion != "" {
				t.Errorf("the promoted replica: %+v", s)
			}
		}
		if r := h.Secret().Replicas; len(r) != 1 || !r[0].Failed() {
			t.Errorf("the former primary secret has %+v", r)
		}
	})
}
