package sfoauthtest

import (
	"net/http"
	"strings"
	"time"
)

// The part of the Connect REST API that rotates an app's credentials.
//
// Sources: Salesforce Help, "Stage, Rotate, and Delete OAuth Credentials for an External Client App"; Connect REST API
// Developer Guide. Choices, where they say nothing: expired staged credentials block staging until they are deleted;
// expired rotated credentials disappear; credentials keep their id when they are promoted and rotated out; only Active
// credentials can be promoted; the error codes of staging and promoting; 404 if the org's setting is off.

// The states of credentials that are not the primary ones.
const (
	stateActive  = "Active"
	stateExpired = "Expired"
	stateRotated = "Rotated"
)

const (
	firstStagedVersion = 65
	stagedLifetime     = 30 * 24 * time.Hour
)

// StagedCredentials are credentials that are not the primary ones.
type StagedCredentials struct {
	ID      string
	Key     string
	Secret  string
	State   string // Active, Expired or Rotated
	Created time.Time
	Expires time.Time
}

// Staged returns the credentials that are not the primary ones: at most one unless Config.StageAlongsideRotated is set.
func (a *App) Staged() []StagedCredentials {
	a.org.mu.Lock()
	defer a.org.mu.Unlock()
	a.expireStaged()
	var list []StagedCredentials
	for _, p := range a.staged {
		list = append(list, StagedCredentials{p.id, p.key, p.secret, p.state, p.created, p.expires})
	}
	return list
}

// connect serves the endpoints from Usage to Delete.
func (o *Org) connect(r *request) *response {
	s, failed := o.restSession(r)
	if failed != nil {
		return failed
	}
	user := s.user.options
	switch {
	case o.version(r) < firstStagedVersion:
		return notFound()
	case !user.ExternalClientAppDeveloper || r.endpoint != Usage && !user.ViewClientSecret:
		return restError(http.StatusForbidden, "INSUFFICIENT_ACCESS",
			"You do not have the level of access necessary to perform the operation you requested.")
	case r.endpoint == Usage:
		return o.usage(r)
	case o.config.RESTSecretsDisabled:
		return notFound()
	}
	app := o.findApp(r.ids["app"])
	if app == nil || r.endpoint != Consumers && !equalIDs(app.ConsumerID, r.ids["consumer"]) {
		return notFound()
	}
	app.expireStaged()
	switch r.endpoint {
	case Consumers:
		return o.consumers(r, app)
	case PrimaryCredentials:
		return primaryCredentials(r, app)
	case ListStaged:
		if len(app.staged) == 0 && o.config.EmptyStagedNotFound {
			return notFound()
		}
		return o.stagedResponse(r, app, http.StatusOK, app.staged...)
	case Stage:
		return o.stage(r, app, s.user)
	case Promote:
		return o.promote(r, app)
	default:
		return o.deleteStaged(r, app)
	}
}

func (o *Org) usage(r *request) *response {
	apps := []map[string]any{}
	for _, app := range o.apps {
		apps = append(apps, map[string]any{
			"identifier": app.ID, "name": app.options.Name, "type": "ExternalClientApplication",
		})
	}
	return ok200(map[string]any{"apps": apps, "currentPageUrl": r.URL.Path, "nextPageUrl": nil})
}

func (o *Org) consumers(r *request, app *App) *response {
	list := []any{consumer(r, app)}
	return ok200(map[string]any{"consumers": list, "currentPageUrl": r.URL.Path, "nextPageUrl": nil})
}

func consumer(r *request, app *App) map[string]any {
	url := app.url(r)
	return map[string]any{
		"id": app.ConsumerID, "key": app.primary.key, "name": app.options.Name, "url": url,
		"stagedCredentialsUrl": url + "/staged",
	}
}

// url returns the path of the app's consumer.
func (a *App) url(r *request) string {
	return strings.NewReplacer("{version}", r.ids["version"], "{app}", a.ID).Replace(credentialsPath) + "/" + a.ConsumerID
}

func primaryCredentials(r *request, app *App) *response {
	fields := consumer(r, app)
	switch strings.ToLower(r.URL.Query().Get("part")) {
	case "":
	case "keyandsecret":
		fields["secret"] = app.primary.secret
	default:
		return restError(http.StatusBadRequest, "ILLEGAL_QUERY_PARAMETER_VALUE", "part must be keyandsecret")
	}
	return ok200(fields)
}

// stagedResponse lists credentials in the form that the org has.
func (o *Org) stagedResponse(r *request, app *App, status int, list ...*credentials) *response {
	url := app.url(r) + "/staged"
	all := []any{}
	for _, p := range list {
		fields := map[string]any{
			"id": p.id, "key": p.key, "secret": p.secret, "state": p.state, "url": url + "/" + p.id,
			"createdDate": stamp(p.created), "expirationDate": stamp(p.expires), "createdBy": p.createdBy,
		}
		if o.config.FlatStaged {
			return &response{status: status, fields: fields}
		}
		all = append(all, fields)
	}
	if o.config.FlatStaged {
		return &response{status: status, fields: map[string]any{}}
	}
	return &response{status: status, fields: map[string]any{"stagedCredentials": all, "url": url}}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (o *Org) stage(r *request, app *App, by *User) *response {
	if _, failed := r.json(); failed != nil && r.body != "" {
		return failed
	}
	for _, p := range app.staged {
		if p.state != stateRotated || !o.config.StageAlongsideRotated {
			return restError(http.StatusBadRequest, "INVALID_INPUT", "The consumer already has staged credentials.")
		}
	}
	p := o.newCredentials(o.config.PropagationDelay)
	p.state, p.expires, p.createdBy = stateActive, p.created.Add(stagedLifetime), by.ID
	app.staged = append(app.staged, p)
	return o.stagedResponse(r, app, http.StatusCreated, p)
}

func (o *Org) promote(r *request, app *App) *response {
	body, failed := r.json()
	if failed != nil {
		return failed
	}
	p := app.findStaged(r.ids["staged"])
	switch {
	case p == nil:
		return notFound()
	case body["command"] != "rotate":
		return restError(http.StatusBadRequest, "INVALID_INPUT", "The command must be rotate.")
	case p.state != stateActive:
		return restError(http.StatusBadRequest, "INVALID_INPUT", "Only active staged credentials can be rotated.")
	}
	old := app.primary
	old.state, old.expires = stateRotated, o.config.Now().Add(stagedLifetime)
	p.state, p.expires = "", time.Time{}
	app.primary = p
	app.staged = []*credentials{old} // earlier rotated credentials are dropped
	return o.stagedResponse(r, app, http.StatusOK, old)
}

func (o *Org) deleteStaged(r *request, app *App) *response {
	p := app.findStaged(r.ids["staged"])
	if p == nil {
		return notFound()
	}
	app.removeStaged(p)
	return &response{status: http.StatusNoContent}
}
