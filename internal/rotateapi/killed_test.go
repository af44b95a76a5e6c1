package rotateapi

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// fate is what happens at a call of the function.
type fate string

const (
	killedBefore fate = "killed before the call is sent"
	killedAfter  fate = "killed after it took effect, before the answer"
	answerLost   fate = "answer lost, process alive"
)

// scenarios are the rotations that are broken off at every call.
var scenarios = map[string]struct {
	options options
	prepare func(w *world)
}{
	"an app that rotates itself":         {},
	"an admin app":                       {options: options{adminApp: true}},
	"flat answers":                       {options: options{org: sfoauthtest.Config{FlatStaged: true}}},
	"the slot holds the pair before":     {prepare: (*world).rotateOnce},
	"a new pair beside a rotated one":    {options: options{org: sfoauthtest.Config{StageAlongsideRotated: true}}, prepare: (*world).rotateOnce},
	"a leak":                             {prepare: (*world).leak},
	"a leak with an old pair in grace":   {prepare: func(w *world) { w.rotateOnce(); w.leak() }},
	"a pair that takes time to work":     {options: options{org: sfoauthtest.Config{PropagationDelay: 4 * time.Minute}, propagation: 10 * time.Minute}},
	"a staged pair that does not log in": {options: options{org: sfoauthtest.Config{StagedCannotLogIn: true}, propagation: 2 * time.Minute}},
	"a pair that somebody left staged":   {prepare: (*world).stageByHand},
}

func (w *world) rotateOnce() {
	w.must(w.rotate(""))
	w.deliver()
}

// stageByHand leaves a pair in the slot, as an abandoned rotation does.
func (w *world) stageByHand() {
	_, err := w.pairs().Stage(w.t.Context())
	w.must(err)
}

// pairs is a person's access to the app's pairs.
func (w *world) pairs() *sfoauth.StagedCredentialsClient {
	w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.ExternalClientAppDeveloper, u.ViewClientSecret = true, true })
	client := w.network.Client()
	w.t.Cleanup(client.CloseIdleConnections)
	c := &sfoauth.Client{BaseURL: "http://" + orgHost, AllowedHosts: sfoauth.AllowedHosts{orgHost}, HTTPClient: client}
	token := &sfoauth.Token{AccessToken: sfoauth.NewSecret(w.app.NewToken())}
	return c.StagedCredentials(token, w.app.ID, w.app.ConsumerID)
}

// leak labels the current version, as `sftoken rotate --compromised` does.
func (w *world) leak() {
	w.compromise()
	w.deliver()
}

func (w *world) compromise() { w.compromiseVersion(w.describe().VersionWithLabel("AWSCURRENT")) }

func (w *world) compromiseVersion(version string) {
	w.t.Helper()
	s := w.describe()
	input := &secretsmanager.UpdateSecretVersionStageInput{SecretId: aws.String(crm), VersionStage: aws.String("COMPROMISED"), MoveToVersionId: &version}
	if from := s.VersionWithLabel("COMPROMISED"); from != "" {
		input.RemoveFromVersionId = &from
	}
	_, err := w.secrets.UpdateSecretVersionStage(w.t.Context(), input)
	w.must(err)
}

func TestKilledAnywhere(t *testing.T) {
	points := 0
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			calls := 0
			inBubble(t, scenario.options, func(t *testing.T, w *world) {
				if scenario.prepare != nil {
					scenario.prepare(w)
				}
				calls = w.breakOff(0, "")
			})
			if calls < 8 {
				t.Fatalf("a rotation takes %d calls", calls)
			}
			for call := 1; call <= calls; call++ {
				for _, fate := range []fate{killedBefore, killedAfter, answerLost} {
					for _, newToken := range []bool{false, true} {
						points++
						t.Run(fmt.Sprintf("call %d, %s, new token %t", call, fate, newToken), func(t *testing.T) {
							inBubble(t, scenario.options, func(t *testing.T, w *world) {
								if scenario.prepare != nil {
									scenario.prepare(w)
								}
								w.recovers(call, fate, newToken)
							})
						})
					}
				}
			}
		})
	}
	t.Logf("a rotation was broken off at %d points", points)
}

// recovers breaks a rotation off and checks that the next one completes it, and that all was well in between.
func (w *world) recovers(call int, fate fate, newToken bool) {
	w.t.Helper()
	oldKey, oldSecret := w.app.Credentials()
	leaked := w.describe().VersionWithLabel("COMPROMISED") != ""
	w.breakOff(call, fate)
	w.deliver()
	for try := 0; try == 0 || w.rotated(oldKey) != nil && try < 3; try++ {
		time.Sleep(time.Hour)
		if newToken {
			w.giveUpToken()
			_ = w.rotate("")
		} else {
			w.retry()
		}
		w.deliver()
	}
	if err := w.rotated(oldKey); err != nil {
		w.t.Errorf("%v\n%s", err, w.log.String())
	}
	if leaked && w.org.CanLogin(oldKey, oldSecret) {
		w.t.Error("the leaked pair still logs in")
	}
	w.noSecrets()
}

// retry runs the steps again with the same token, as Secrets Manager does some time after one has failed.
func (w *world) retry() {
	s := w.describe()
	token := s.VersionWithLabel("AWSPENDING")
	if token == "" { // given up: the next rotation is a new one
		_ = w.rotate("")
		return
	}
	for _, step := range []string{"createSecret", "setSecret", "testSecret", "finishSecret"} {
		if w.step(step, token) != nil {
			return
		}
	}
}

const rotationToken = "rotation-token-0000000000000000000000"

// step calls the function for one step, as Secrets Manager does.
func (w *world) step(step, token string) error {
	payload := fmt.Sprintf(`{"Step":%q,"SecretId":%q,"ClientRequestToken":%q,"RotationToken":%q}`, step, w.describe().ARN, token, rotationToken)
	_, err := w.invoke(w.t.Context(), []byte(payload))
	return err
}

// giveUpToken cancels the rotation and takes AWSPENDING off, as a person does, and switches the rotation on again.
func (w *world) giveUpToken() {
	ctx := w.t.Context()
	_, err := w.secrets.CancelRotateSecret(ctx, &secretsmanager.CancelRotateSecretInput{SecretId: aws.String(crm)})
	w.must(err)
	s := w.describe()
	if pending := s.VersionWithLabel("AWSPENDING"); pending != "" && pending != s.VersionWithLabel("AWSCURRENT") {
		_, err = w.secrets.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: aws.String(crm), VersionStage: aws.String("AWSPENDING"), RemoveFromVersionId: &pending,
		})
		w.must(err)
	}
}

// breakOff rotates, and lets the fate strike at the given call (0: at none). It returns how many calls the function made. From
// then on it is checked after each change on either side that AWSCURRENT logs in.
func (w *world) breakOff(call int, fate fate) int {
	w.t.Helper()
	var made atomic.Int32
	struck := false
	at := func(arrived bool, changes bool, what string) {
		if arrived {
			made.Add(1)
		}
		if !arrived && changes && !w.logsIn("AWSCURRENT") {
			w.t.Errorf("after %s AWSCURRENT does not log in", what)
		}
		if int(made.Load()) != call || struck || arrived != (fate == killedBefore) {
			return
		}
		struck = true
		if fate != answerLost {
			w.process.Load().kill()
		}
		panic(http.ErrAbortHandler)
	}
	w.watchOrg = func(c sfoauthtest.Call) {
		at(c.Phase == sfoauthtest.Arrived, slices.Contains([]sfoauthtest.Endpoint{sfoauthtest.Stage, sfoauthtest.Promote, sfoauthtest.Delete}, c.Endpoint), string(c.Endpoint))
	}
	w.watchAWS = func(c localaws.Call) {
		at(c.Phase == localaws.Arrived, c.Operation == "PutSecretValue" || c.Operation == "UpdateSecretVersionStage", c.Operation)
	}
	_ = w.rotate("")
	if call > 0 && !struck {
		w.t.Errorf("call %d was never made", call)
	}
	return int(made.Load())
}
