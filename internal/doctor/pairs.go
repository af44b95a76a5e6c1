package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

var pairChecks = []check{
	{"rotation", "automatic", []string{"value"}, (*visit).automatic},
	{"rotation", "admin", []string{"automatic", "my-domain"}, (*visit).admin},
	{"rotation", "permissions", []string{"admin"}, (*visit).permissions},
	{"rotation", "main-pair", []string{"permissions"}, (*visit).mainPair},
	{"rotation", "pairs", []string{"permissions"}, (*visit).beside},
}

// place is what Salesforce holds of the app's pairs, and the login that may look.
type place struct {
	*sfoauth.StagedCredentialsClient
	who  string // whose login it is, for a person
	main sfoauth.ConsumerCredentials
	slot []sfoauth.StagedCredentials
}

func (v *visit) automatic(context.Context) finding {
	if v.version.CanSelfRotate() {
		return ok("the secret has appId and consumerId: Salesforce can make the next pair")
	}
	// Nothing that follows can be looked at, so that this is not a warning that others build on.
	return finding{status: Skipped, found: "the secret has no appId and consumerId: a person makes each new pair",
		fix: "for automatic rotation add both; else make a pair in Setup when one is due, and `sftoken secret stage " + v.App + "`"}
}

// admin finds the login that changes the app's pair, and uses it.
func (v *visit) admin(ctx context.Context) finding {
	if v.AdminApp == "" || v.AdminApp == v.App {
		return v.itself("the app itself")
	}
	version, err := appsecret.Reader{Client: v.secrets(), Prefix: v.Prefix}.Read(ctx, v.AdminApp, appsecret.Current)
	switch {
	case appsecret.IsKind(err, appsecret.Denied):
		return skipped("you may not read the secret of " + v.AdminApp)
	case err != nil:
		return failed("the secret of "+v.AdminApp+": "+because(err), "store it: `sftoken secret put "+v.AdminApp+"`, or correct --admin-app")
	case version.BaseURI != v.version.BaseURI:
		return v.itself(v.AdminApp + " is in another org, so the app itself")
	}
	if version.ConsumerKey == v.version.ConsumerKey {
		return failed("the secrets of "+v.AdminApp+" and "+v.App+" hold the same Salesforce app: each rotation of one would end the other", "give each an app of its own in Salesforce")
	}
	client := version.Client(v.Hosts, v.HTTPClient)
	v.logins++
	token, err := client.Token(ctx)
	if err != nil {
		refused, _ := errors.AsType[*sfoauth.Error](err)
		return failed(v.AdminApp+": "+salesforceSays(refused), mend(refused)+"; `sftoken doctor "+v.AdminApp+"` says more")
	}
	v.at = &place{StagedCredentialsClient: client.StagedCredentials(token, v.version.AppID, v.version.ConsumerID), who: v.AdminApp}
	return ok(v.AdminApp + " logs in, as user " + token.UserID)
}

// itself uses the app's own login for its own pair.
func (v *visit) itself(who string) finding {
	token := v.own
	if token == nil {
		token = v.token()
	}
	if token == nil {
		return lacking("login")
	}
	v.at = &place{StagedCredentialsClient: v.client.StagedCredentials(token, v.version.AppID, v.version.ConsumerID), who: "the app"}
	return ok(who + " changes its pair; another that does is named by --admin-app")
}

// The settings that let a login read and change pairs. Source: Salesforce Help, "Stage, Rotate, and Delete OAuth
// Credentials for an External Client App".
const (
	developer = "External Client App Developer"
	viewer    = "View Client Secret"
	toggle    = "Allow access to External Client App consumer secrets via REST API"
)

// permissions makes the calls that a rotation begins with. Salesforce does not say what is missing; the order of the
// calls does.
func (v *visit) permissions(ctx context.Context) finding {
	apps, err := v.at.Apps(ctx)
	if err != nil {
		return v.forbidden(err, developer)
	}
	if v.at.main, err = v.at.Primary(ctx); err != nil {
		return v.notTheirs(ctx, apps, err)
	}
	if v.at.slot, err = v.at.ListStaged(ctx); err != nil {
		return v.forbidden(err, viewer)
	}
	return ok("the login may read the app's pairs")
}

// forbidden names the permission that is likely to be missing.
func (v *visit) forbidden(err error, permission string) finding {
	refused, _ := errors.AsType[*sfoauth.Error](err)
	found := salesforceSays(refused)
	switch {
	case refused.Status == http.StatusForbidden && refused.Kind != sfoauth.RateLimited:
		return failed(found, fmt.Sprintf("give the user of %s the permission %s; if another app changes the pairs, name it: --admin-app", v.at.who, permission))
	case refused.Status == http.StatusNotFound:
		return failed(found, fmt.Sprintf("the org has no API %s, or its user of %s lacks the permission %s", sfoauth.APIVersion, v.at.who, permission))
	case refused.Code == "INVALID_SESSION_ID":
		return failed(found, "the REST API refuses the login of "+v.at.who+": see rest-api")
	}
	return failed(found, mend(refused))
}

// notTheirs tells a wrong id, a missing permission and the org's switch apart, as far as Salesforce lets it.
func (v *visit) notTheirs(ctx context.Context, apps []sfoauth.ExternalClientApp, err error) finding {
	refused, _ := errors.AsType[*sfoauth.Error](err)
	found := salesforceSays(refused)
	if refused.Status == http.StatusForbidden {
		return v.forbidden(err, viewer)
	}
	if refused.Status != http.StatusNotFound {
		return failed(found, mend(refused))
	}
	if !slices.ContainsFunc(apps, func(a sfoauth.ExternalClientApp) bool { return sfoauth.EqualIDs(a.ID, v.version.AppID) }) {
		return failed(found, "appId "+v.version.AppID+" is not among the org's apps: correct it in the secret")
	}
	consumers, err := v.at.Consumers(ctx)
	if err == nil && !slices.ContainsFunc(consumers, func(c sfoauth.Consumer) bool { return sfoauth.EqualIDs(c.ID, v.version.ConsumerID) }) {
		var ids []string
		for _, c := range consumers {
			ids = append(ids, c.ID)
		}
		return failed(found, "consumerId "+v.version.ConsumerID+" is not the app's, which is "+strings.Join(ids, ", ")+": correct it in the secret")
	}
	return failed(found, "switch on \""+toggle+"\" (External Client App Settings in Setup)")
}

// mainPair compares the pair that is current here with the one that is at Salesforce. A rotation takes over what
// Salesforce holds only where a version of this secret has, complete, what Salesforce holds for this consumer;
// otherwise a person must store it.
func (v *visit) mainPair(ctx context.Context) finding {
	current := v.version.Credentials()
	rotate, store := "`sftoken rotate "+v.App+" --wait`", "`sftoken secret stage "+v.App+" --wait`"
	if v.at.main.Equal(current) {
		return ok("the current pair is the main one at Salesforce")
	}
	for _, p := range v.at.slot {
		old := p.State == sfoauth.Rotated && p.ConsumerKey == current.ConsumerKey
		switch {
		case old && !p.ConsumerCredentials.Equal(current):
			return failed("Salesforce has rotated, and the current consumer secret is not that of the old pair", "store the pair that Setup shows: "+store)
		case old && p.Expiration.IsZero():
			return failed("Salesforce has rotated, and the current pair is the old one", rotate+" takes over the main one")
		case old:
			return failed("Salesforce has rotated, and the current pair is the old one, which works until "+date(p.Expiration), rotate+" takes over the main one")
		case p.State == sfoauth.Active && p.ConsumerCredentials.Equal(current):
			return warning("the current pair is only staged at Salesforce", rotate+" makes it the main one")
		}
	}
	if v.at.main.ConsumerKey == current.ConsumerKey {
		return failed("the consumer secret at Salesforce is another than the current one", "a wrong one was stored, or a new one was made in Setup: store what Setup shows with "+store)
	}
	for _, label := range append([]string{appsecret.Rejected}, appsecret.FallbackLabels...) {
		if other := v.labelled(ctx, label); other != nil && other.Credentials().Equal(v.at.main) {
			return failed("the main pair at Salesforce is the one labelled "+label, rotate+" takes it over")
		}
	}
	return failed("the main pair at Salesforce is another than the current one", "a new one was made in Setup, and no rotation takes it over: store it with "+store)
}

// beside looks at the pair in the slot beside the main one.
func (v *visit) beside(ctx context.Context) finding {
	var found []string
	for _, p := range v.at.slot {
		until := ""
		if !p.Expiration.IsZero() {
			until = " until " + date(p.Expiration)
		}
		leaked := v.labelled(ctx, appsecret.Compromised)
		pending := v.labelled(ctx, appsecret.Pending)
		switch {
		case leaked != nil && leaked.ConsumerKey == p.ConsumerKey:
			return failed("the leaked pair still works at Salesforce"+until, "`sftoken rotate "+v.App+" --compromised` deletes it")
		case p.State == sfoauth.Rotated:
			found = append(found, "the pair before works"+until)
		case p.State == sfoauth.Expired:
			found = append(found, "a staged pair has expired in the slot; the next rotation deletes it")
		case pending != nil && pending.ConsumerKey == p.ConsumerKey:
			found = append(found, "the pending pair is staged"+until)
		case p.ConsumerKey == v.version.ConsumerKey:
			found = append(found, "the current pair is staged"+until)
		default:
			return warning("a pair is staged"+until+" that is in no version of the secret",
				"an interrupted rotation has left it, and the next one takes it; if somebody uses it elsewhere, tell them")
		}
	}
	if len(found) == 0 {
		return ok("none beside the main one")
	}
	return ok(strings.Join(found, "; "))
}
