// Package agent serves the sftoken API to programs on the same host, so that they need neither AWS credentials nor
// signatures. It caches the tokens of each app in memory, refreshes them before they expire, and passes the API's
// errors on. How requests reach the API is left to pkg/sftoken.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/time/rate"

	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// Config configures an Agent.
type Config struct {
	// APIURL and AWS are as for sftoken.NewTokenSource.
	APIURL string
	AWS    aws.Config
	// HTTPClient sends the requests to the API. Nil: http.DefaultClient.
	HTTPClient *http.Client
	// Apps are the apps that are served. Empty: all that the API's IAM policies allow.
	Apps []string
	// Token is what clients must send. Zero: every client is served, which suits a Unix socket that only one user can
	// open.
	Token sfoauth.Secret
	// Log receives one line for each request to the API, and for refused requests. Nil: none.
	Log *slog.Logger
	// Version is for the User-Agent and the metrics.
	Version string
}

const (
	// maxApps bounds how many apps are kept in memory, since clients choose the names.
	maxApps = 100
	// fetchTimeout bounds a request that has to wait for the API, retries included. Clients wait for 30 seconds or longer.
	fetchTimeout = 20 * time.Second
	// shutdownTimeout is how long requests in progress may take after the agent was ended: longer than fetchTimeout, and
	// shorter than the 30 seconds after which Kubernetes and ECS kill a container.
	shutdownTimeout = 25 * time.Second
	// maxForm bounds the body of a POST, in bytes.
	maxForm = 8 << 10
)

// Agent serves an app's tokens over HTTP. It is safe for concurrent use.
type Agent struct {
	config  Config
	log     *slog.Logger
	metrics *metrics
	refusal *rate.Limiter // of log lines

	mu   sync.Mutex      // guards apps
	apps map[string]*app // by name; at most maxApps

	closing context.Context // ends when the agent shuts down
	close   context.CancelFunc
}

// New returns an agent. Close ends what it does in the background.
func New(c Config) *Agent {
	if c.HTTPClient == nil {
		c.HTTPClient = http.DefaultClient
	}
	a := &Agent{
		config: c, log: c.Log, metrics: newMetrics(c.Version), apps: map[string]*app{},
		refusal: rate.NewLimiter(1, 10),
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.closing, a.close = context.WithCancel(context.Background())
	return a
}

// Close ends what the agent does in the background.
func (a *Agent) Close() { a.close() }

// Serve serves requests until ctx ends. It then waits for those in progress, closes the listener and the agent, and
// returns nil.
func (a *Agent) Serve(ctx context.Context, listener net.Listener) error {
	defer a.Close()
	server := &http.Server{
		Handler: a.Handler(listener.Addr()), ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: fetchTimeout + 10*time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		timeout, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(timeout) != nil {
			_ = server.Close() // those left have had their time
		}
	})
	err := server.Serve(listener)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Prefetch fetches the tokens of the configured apps, so that their first requests do not wait. Failures are logged.
func (a *Agent) Prefetch(ctx context.Context) {
	for _, name := range a.config.Apps {
		_, _, _ = a.app(name).token(ctx, "")
	}
}

// serves reports whether the agent serves the app.
func (a *Agent) serves(name string) bool {
	return len(a.config.Apps) == 0 || slices.Contains(a.config.Apps, name)
}

// app returns the app's state, and makes room for it.
func (a *Agent) app(name string) *app {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.apps[name]
	if !ok {
		if len(a.apps) >= maxApps {
			a.evict()
		}
		found = a.newApp(name)
		a.apps[name] = found
	}
	found.usedAt = time.Now()
	return found
}

// evict drops an app without a token, or else the one that was unused for the longest time. a.mu is held.
func (a *Agent) evict() {
	victim := slices.MinFunc(slices.Collect(maps.Values(a.apps)), func(one, other *app) int {
		switch has, otherHas := one.latest.Load() != nil, other.latest.Load() != nil; {
		case !has && otherHas:
			return -1
		case has && !otherHas:
			return 1
		}
		return one.usedAt.Compare(other.usedAt)
	})
	delete(a.apps, victim.name)
	a.metrics.expiry.DeleteLabelValues(victim.name)
}

func (a *Agent) newApp(name string) *app {
	one := &app{name: name, agent: a}
	client := *a.config.HTTPClient
	client.Transport = &apiObserver{app: one, base: client.Transport}
	one.source = sftoken.NewTokenSource(a.config.AWS, a.config.APIURL, name,
		sftoken.WithHTTPClient(&client), sftoken.WithUserAgent("sftoken-agent/"+a.config.Version))
	return one
}
