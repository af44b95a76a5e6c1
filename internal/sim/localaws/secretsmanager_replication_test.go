package localaws

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// regions are two connected regions, of which the first has a secret with a replica in the second.
type regions struct {
	*suite
	primary, other *SecretsManager
	replication    *Replication
	moved          []LabelMoved // in the other region
}

func runRegions(t *testing.T, test func(t *testing.T, r *regions)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &regions{replication: &Replication{}}
		network := &sfoauthtest.Network{}
		region := func(name string) (*SecretsManager, *secretsmanager.Client) {
			config := SecretsManagerConfig{Account: "111111111111", Region: name, Replication: r.replication}
			if name == otherRegion {
				config.LabelMoved = func(e LabelMoved) { r.moved = append(r.moved, e) }
			}
			m := NewSecretsManager(config)
			stop, err := network.Serve(name+":80", m)
			must(t, err)
			t.Cleanup(stop)
			client := network.Client()
			t.Cleanup(client.CloseIdleConnections)
			return m, newClient("http://"+name+":80", client)
		}
		r.suite = &suite{TB: t, name: aws.String("crm")}
		r.primary, r.client = region(primaryRegion)
		r.other, r.suite.other = region(otherRegion)
		r.create("one", token1)
		r.ok(r.suite.replicate(false))
		test(t, r)
	})
}

func TestReplicationLag(t *testing.T) {
	runRegions(t, func(_ *testing.T, r *regions) {
		replica := r.replica()
		r.replication.SetLag(time.Minute)
		r.put("two", token2)
		r.status("InProgress")
		time.Sleep(30 * time.Second)
		r.put("three", token3)
		time.Sleep(29 * time.Second)
		replica.value("", "", "one", token1)
		time.Sleep(time.Second)
		replica.value("", "", "two", token2)
		r.status("InProgress")
		time.Sleep(30 * time.Second)
		replica.value("", "", "three", token3)
		r.status("InSync")
	})
}

func TestReplicatedLabels(t *testing.T) {
	runRegions(t, func(t *testing.T, r *regions) {
		r.replication.SetLabels(func(label string) bool { return strings.HasPrefix(label, "AWS") && label != "AWSPENDING" })
		r.put("two", token2, "CANDIDATE")
		r.put("three", token3, "AWSPENDING")
		r.ok(r.move("COMPROMISED", token1, ""))
		r.replica().labels(token1, "AWSCURRENT")
		r.replica().fails("ResourceNotFoundException", r.replica().get(token2, ""))
		r.replica().fails("ResourceNotFoundException", r.replica().get("", "AWSPENDING"))
		r.replication.SetLabels(nil)
		r.put("four", "00000000-0000-4000-8000-000000000004")
		r.replica().labels(token1, "AWSPREVIOUS", "COMPROMISED")
		var labels []string
		for _, e := range r.moved {
			labels = append(labels, e.Label)
		}
		slices.Sort(labels)
		if want := []string{"AWSCURRENT", "AWSCURRENT", "CANDIDATE", "COMPROMISED"}; !slices.Equal(labels, want) {
			t.Errorf("events of %v, want %v", labels, want)
		}
	})
}

// What has not arrived when the region is lost never arrives, until the region returns and has not been succeeded.
func TestLostRegion(t *testing.T) {
	runRegions(t, func(t *testing.T, r *regions) {
		replica := r.replica()
		r.replication.SetLag(time.Minute)
		r.put("two", token2)
		r.primary.Lose(false)
		time.Sleep(time.Hour)
		if r.get("", "") == nil || len(r.primary.RunDue(t.Context())) != 0 {
			t.Error("the region answers")
		}
		replica.value("", "", "one", token1)
		r.primary.Return()
		r.value("", "", "two", token2)
		time.Sleep(time.Minute)
		replica.value("", "", "two", token2)

		r.primary.Lose(true)
		begun := time.Now()
		go func() { time.Sleep(time.Hour); r.primary.Return() }()
		if r.get("", "") == nil || time.Since(begun) != time.Hour {
			t.Errorf("it responds after %s", time.Since(begun))
		}
		r.primary.Lose(false)
		_, err := r.suite.other.StopReplicationToReplica(t.Context(),
			&secretsmanager.StopReplicationToReplicaInput{SecretId: r.name})
		r.ok(err)
		replica.put("three", token3)
		r.primary.Return()
		r.status(types.StatusTypeFailed)
		r.put("four", "00000000-0000-4000-8000-000000000004")
		time.Sleep(time.Hour)
		replica.value("", "", "three", token3)
	})
}
