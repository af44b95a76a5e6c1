package tokenapi

import (
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

const apiHost = "127.0.0.1:8080"

// callers are programs that call Salesforce through package sftoken, with this function behind API Gateway.
type callers struct {
	*harness
	rejections int // requests with rejected=

	mu      sync.Mutex
	running map[int]bool // the calls to Salesforce that have begun and not ended
}

// newCallers serves the function at an API Gateway, and returns a client of Salesforce for each process.
func newCallers(h *harness, processes int) (*callers, []*http.Client) {
	c := &callers{harness: h, running: map[int]bool{}}
	role := localaws.Principal{
		AccessKeyID: "ASIATESTBILLING", SecretAccessKey: "secret-of-billing", SessionToken: "session-of-billing",
		Account: "222222222222", ARN: billing, UserID: "AROATEST:anna", Invoke: []string{"GET/tokens/crm"},
	}
	h.Serve(apiHost, &localaws.Gateway{
		Account: "111111111111", Region: "us-east-1", Stage: "v1", Keys: localaws.NewKeys(role),
		AllowedAccounts: []string{role.Account},
		Function: func(ctx context.Context, event []byte) ([]byte, error) {
			if strings.Contains(string(event), `"rejected":`) {
				c.mu.Lock()
				c.rejections++
				c.mu.Unlock()
			}
			ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
			defer cancel()
			return h.handler.Invoke(ctx, event)
		},
	})
	config := aws.Config{Region: "us-east-1", Credentials: role.Credentials()}
	var clients []*http.Client
	for range processes {
		wire := h.Network.Client()
		h.T.Cleanup(wire.CloseIdleConnections)
		source := sftoken.NewTokenSource(config, "http://"+apiHost+"/v1", "crm", sftoken.WithHTTPClient(wire))
		clients = append(clients, &http.Client{Transport: &sftoken.Transport{Source: source, Base: distance{wire.Transport}}})
	}
	return c, clients
}

// distance makes requests and responses take time, so that a token can die at any moment of a call.
type distance struct{ next http.RoundTripper }

func (d distance) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(rand.N(50 * time.Millisecond))
	resp, err := d.next.RoundTrip(r)
	time.Sleep(rand.N(50 * time.Millisecond))
	return resp, err
}

// call makes one call to Salesforce.
func (c *callers) call(client *http.Client, number int) {
	c.mu.Lock()
	c.running[number] = true
	c.mu.Unlock()
	resp, err := client.Post("/services/data/v65.0/limits", "text/plain", strings.NewReader("a body that can be repeated"))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed { // the token was accepted
		c.T.Errorf("call %d: %v, %v", number, resp, err)
	}
	c.mu.Lock()
	delete(c.running, number)
	c.mu.Unlock()
}

// settle waits until the calls that are under way have ended.
func (c *callers) settle() {
	c.mu.Lock()
	running := maps.Clone(c.running)
	c.mu.Unlock()
	for len(running) > 0 {
		time.Sleep(time.Millisecond)
		c.mu.Lock()
		maps.DeleteFunc(running, func(number int, _ bool) bool { return !c.running[number] })
		c.mu.Unlock()
	}
}

// A hundred callers at once, and sessions that end at any moment: every call succeeds, each dead token is reported
// once by a process and replaced by one login. A call that met three dead tokens could not be saved; the next session
// ends only when the calls that the last one could have hit are over, so that none meets more than two.
func TestCallersWithDyingTokens(t *testing.T) {
	t.Parallel()
	deaths := 10
	if testing.Short() {
		deaths = 3
	}
	for name, try := range map[string]struct {
		processes         int
		pause             time.Duration // at least this, and up to twice as long, lies between two deaths
		rejectionsPerDead int           // of a process, at most
	}{
		"one process":   {1, 6 * time.Second, 1},
		"ten processes": {10, 6 * time.Second, 1},
		// The function checks rejected tokens at most once in five seconds, so that some requests get the dead token again.
		"faster than the checks": {1, 100 * time.Millisecond, 2},
	} {
		o := options{
			org:    sfoauthtest.Config{SessionTimeout: 24 * time.Hour},
			config: vending.Config{Logins: loginbudget.New(2*deaths, 0)},
		}
		subtest(t, name, o, func(t *testing.T, h *harness) {
			c, clients := newCallers(h, try.processes)
			stop := make(chan struct{})
			var group sync.WaitGroup
			calls := make([]int, 100)
			for i := range calls {
				group.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							c.call(clients[i%len(clients)], i*1_000_000+calls[i])
							calls[i]++
							time.Sleep(rand.N(try.pause / 4))
						}
					}
				})
			}
			dead := 0
			for range deaths {
				time.Sleep(try.pause + rand.N(try.pause))
				if h.Org.RevokeAll() > 0 {
					dead++
				}
				c.settle()
			}
			close(stop)
			group.Wait()
			if logins := h.Logins(); logins > dead+1 {
				t.Errorf("%d logins for %d dead tokens", logins, dead)
			}
			if most := dead * try.processes * try.rejectionsPerDead; c.rejections > most {
				t.Errorf("%d requests with rejected= for %d dead tokens and %d processes", c.rejections, dead, try.processes)
			}
			if dead != deaths || h.Logins() < deaths || c.rejections < deaths-1 { // the last may have died unnoticed
				t.Errorf("only %d tokens died, %d logins, %d rejections", dead, h.Logins(), c.rejections)
			}
		})
	}
}
