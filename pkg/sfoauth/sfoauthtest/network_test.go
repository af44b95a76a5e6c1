package sfoauthtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestNetworkHosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var network sfoauthtest.Network
		for _, host := range []string{"a.example", "b.example"} {
			respond := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, host) }
			stop, err := network.Serve(host+":80", http.HandlerFunc(respond))
			must(t, err)
			defer stop()
		}
		client := network.Client()
		defer client.CloseIdleConnections()
		for _, host := range []string{"a.example", "b.example", "a.example"} {
			resp, err := client.Get("http://" + host)
			must(t, err)
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != host {
				t.Errorf("%s responds as %s", host, body)
			}
		}

		if _, err := client.Get("http://a.example:81"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a closed port: %v", err)
		}
		_, err := client.Get("http://c.example")
		if missing, ok := errors.AsType[*net.DNSError](err); !ok || !missing.IsNotFound {
			t.Errorf("an unknown host: %v", err)
		}
		if _, err := network.Listen("a.example:80"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a port in use: %v", err)
		}
	})
}

func TestNetworkListenerClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var network sfoauthtest.Network
		l, err := network.Listen("a.example:1")
		must(t, err)
		if l.Addr().String() != "a.example:1" || l.Addr().Network() != "tcp" {
			t.Errorf("address %s", l.Addr())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := network.DialContext(ctx, "tcp", "a.example:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no accept: %v", err)
		}
		dialled := make(chan error)
		go func() {
			_, err := network.DialContext(t.Context(), "tcp", "a.example:1")
			dialled <- err
		}()
		synctest.Wait()
		_ = l.Close()
		_ = l.Close()
		if err := <-dialled; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("closed while dialling: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
		if _, err := network.Listen("a.example:1"); err != nil {
			t.Errorf("the port is not free again: %v", err)
		}
	})
}

// A session's life of days passes in a bubble in no time.
func TestFakeTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultClient(t)
		c.prepare()
		for range 3 * 24 {
			time.Sleep(time.Hour)
			if got := c.outcome(sfoauthtest.REST); got != "200 application/json" {
				t.Fatal(got)
			}
		}
		time.Sleep(2 * time.Hour)
		if got := c.outcome(sfoauthtest.REST); got != "401 application/json" {
			t.Errorf("after two hours without use: %s", got)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	server, org := start(t, sfoauthtest.Config{SharedSessions: true})
	app := org.AddApp(sfoauthtest.AppOptions{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := &faultClient{t: t, org: org, app: app, client: http.DefaultClient, base: server.URL}
			for range 5 {
				resp, err := c.send(t.Context(), sfoauthtest.Token)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				org.InjectFault(sfoauthtest.REST, sfoauthtest.Unavailable(), 1)
				app.Change(func(o *sfoauthtest.AppOptions) { o.ExtraFields = !o.ExtraFields })
				app.Regenerate()
				_, _, _, _ = org.Stats(), org.Secrets(), org.RevokeAll(), app.Staged()
				org.ClearFaults()
			}
		})
	}
	wg.Wait()
	if got := org.Stats().Calls[sfoauthtest.Token]; got != 40 {
		t.Errorf("%d calls, want 40", got)
	}
}

func start(t *testing.T, config sfoauthtest.Config) (*sfoauthtest.Server, *sfoauthtest.Org) {
	t.Helper()
	org := sfoauthtest.New(config)
	server, err := org.Start("127.0.0.1:0")
	must(t, err)
	t.Cleanup(server.Close)
	return server, org
}
