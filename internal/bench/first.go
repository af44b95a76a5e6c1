package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// trip is a request that a function sends to vend its first token.
type trip struct{ url, header, value, body string }

// trips returns reading the secret, reading the token table, and a login.
func (b *bench) trips() (secret, item, login trip) {
	const target = "X-Amz-Target"
	return trip{
			b.env["AWS_ENDPOINT_URL_SECRETS_MANAGER"], target, "secretsmanager.GetSecretValue", `{"SecretId":"sftoken/crm"}`,
		}, trip{
			b.table["AWS_ENDPOINT_URL_DYNAMODB"], target, "DynamoDB_20120810.GetItem",
			`{"TableName":"` + tableName + `","Key":{"app":{"S":"crm"}},"ConsistentRead":true}`,
		}, trip{
			"http://" + b.env["SALESFORCE_HOSTS"] + "/services/oauth2/token", "Content-Type",
			"application/x-www-form-urlencoded", b.form,
		}
}

// first measures the first vend of a process while everything that it calls is slow: without the token table, and with
// a table that has a token.
func (b *bench) first(ctx context.Context) error {
	f := b.function(shared)
	_, err := b.invoke(ctx, f) // puts a token into the table, unless a recent one is there
	f.Close()
	if err != nil {
		return err
	}
	b.secrets.InjectFault("", localaws.Fault{Delay: latency}, 0)
	b.tokens.SetLatency(latency / 2) // it responds sooner than Secrets Manager on AWS, too
	b.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Latency(latency), 0)
	secret, item, login := b.trips()
	return errors.Join(
		b.over(ctx, "first vend, over 2 round trips (ms)", sftoken, func() error {
			return errors.Join(send(ctx, secret), send(ctx, login))
		}),
		b.over(ctx, "with a token in the table, over 1", shared, func() error {
			var errs [2]error
			var wg sync.WaitGroup
			wg.Go(func() { errs[0] = send(ctx, secret) })
			wg.Go(func() { errs[1] = send(ctx, item) })
			wg.Wait()
			return errors.Join(errs[:]...)
		}))
}

// over compares the first vend of a process with the same requests without a function: each on a new connection.
func (b *bench) over(ctx context.Context, what, name string, requests func() error) error {
	took, extra := map[string][]float64{}, map[string][]float64{} // extra: than the bare requests
	functionCalls, bareCalls := 0, 0
	for range firsts {
		calls := b.calls()
		begun := time.Now()
		if err := requests(); err != nil {
			return err
		}
		bare := time.Since(begun)
		bareCalls += b.calls() - calls
		for _, name := range []string{noop, name} {
			calls := b.calls()
			d, err := b.firstVend(ctx, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			took[name] = append(took[name], micros(d)/1000)
			extra[name] = append(extra[name], micros(d-bare)/1000)
			functionCalls += b.calls() - calls
		}
	}
	if functionCalls != bareCalls {
		return fmt.Errorf("%s: %d requests, not %d", what, functionCalls, bareCalls)
	}
	const most = 2.0
	over := median(extra[name])
	fmt.Printf(line, what, hundredth(median(took[noop])), "", hundredth(over), "", atMost(over, most))
	return nil
}

// firstVend starts a process, and returns how long its first vend takes.
func (b *bench) firstVend(ctx context.Context, name string) (time.Duration, error) {
	f := b.function(name)
	defer f.Close()
	if _, err := f.Start(ctx); err != nil {
		return 0, err
	}
	return b.invoke(ctx, f)
}

// calls returns the number of requests that functions have sent.
func (b *bench) calls() int {
	calls := b.secrets.Calls()["GetSecretValue"] + b.org.Stats().Calls[sfoauthtest.Token]
	for _, n := range b.tokens.Calls() {
		calls += n
	}
	return calls
}

// send sends the request on a new connection.
func send(ctx context.Context, t trip) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, strings.NewReader(t.body))
	if err != nil {
		return err
	}
	req.Header.Set(t.header, t.value)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", t.url, resp.Status)
	}
	return err
}
