package appsecret

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Principals is a list of the IAM principals that may get an app's tokens. A nil list allows every principal that IAM
// allows; an empty one allows none.
type Principals struct {
	patterns []pattern
}

// pattern is one entry. An empty resource matches everything in the account.
type pattern struct {
	partition, account, resource string
	entry                        string // as stored
}

// parsePrincipals reads the list. An entry that cannot match what its author intended is an error.
func parsePrincipals(raw json.RawMessage) (*Principals, error) {
	var entries []string
	if err := json.Unmarshal(raw, &entries); err != nil || entries == nil {
		return nil, errors.New(`want a list, like ["222222222222", "arn:aws:iam::222222222222:role/billing"]`)
	}
	p := &Principals{}
	for i, entry := range entries {
		one, err := parsePattern(strings.TrimSpace(entry))
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		one.entry = entry
		p.patterns = append(p.patterns, one)
	}
	return p, nil
}

func parsePattern(entry string) (pattern, error) {
	if isAccount(entry) {
		return pattern{partition: "*", account: entry}, nil
	}
	if strings.Trim(entry, "0123456789") == "" {
		return pattern{}, errors.New("an account id has 12 digits")
	}
	// arn:partition:iam::account:resource
	parts := strings.SplitN(entry, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || !strings.HasPrefix(parts[1], "aws") ||
		parts[2] != "iam" || parts[3] != "" || !isAccount(parts[4]) {
		return pattern{}, errPrincipal
	}
	p := pattern{partition: parts[1], account: parts[4]}
	kind, name, _ := strings.Cut(parts[5], "/")
	base := name[strings.LastIndex(name, "/")+1:]
	switch {
	case parts[5] == "root" || parts[5] == "*": // as in an IAM policy, root stands for the account
		return p, nil
	case kind != "role" && kind != "user" || base == "" || strings.Trim(name, nameLetters+"/*") != "":
		return pattern{}, errPrincipal
	case kind == "user":
		p.resource = "user/" + name
		return p, nil
	}
	// The ARN of a session does not have its role's path. Role names are unique in an account regardless of paths, so a
	// complete name is sufficient. A pattern after a path would match more than its author intended.
	if base != name && strings.Contains(base, "*") {
		return pattern{}, errors.New("the ARN of a session lacks its role's path, so a path followed by * cannot be " +
			"checked: leave the path out")
	}
	p.resource = "role/" + base
	return p, nil
}

var errPrincipal = errors.New(
	"want an account id, or the ARN of an IAM role or user (for a session, the ARN of its role)")

// nameLetters may occur in the name of a role or user. Source: CreateRole in the IAM API Reference.
const nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-"

// isAccount reports whether text is an account id, or a pattern of one.
func isAccount(text string) bool {
	wild := strings.Contains(text, "*")
	return strings.Trim(text, "0123456789*") == "" && (len(text) == 12 || wild && len(text) < 12)
}

// Allows reports whether the principal with this ARN, which is API Gateway's requestContext.identity.userArn, is in the
// list.
func (p *Principals) Allows(arn string) bool {
	_, ok := p.Match(arn)
	return ok
}

// Match is like Allows, and also returns the first entry that allows the principal, as stored. The entry is empty if
// the list is nil.
func (p *Principals) Match(arn string) (entry string, ok bool) {
	if p == nil {
		return "", true
	}
	// arn:partition:service:region:account:resource
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || len(parts[4]) != 12 {
		return "", false
	}
	resource := parts[5]
	switch parts[2] {
	case "iam":
		if name, ok := strings.CutPrefix(resource, "role/"); ok {
			resource = "role/" + name[strings.LastIndex(name, "/")+1:]
		}
	case "sts":
		// assumed-role/<role>/<session>: the caller chooses the session's name, so it is ignored.
		if rest, ok := strings.CutPrefix(resource, "assumed-role/"); ok {
			role, _, _ := strings.Cut(rest, "/")
			resource = "role/" + role
		}
	default:
		return "", false
	}
	at := p.index(pattern{partition: parts[1], account: parts[4], resource: resource})
	if at < 0 {
		return "", false
	}
	return p.patterns[at].entry, true
}

// index returns the index of the first entry that matches everything that other does; -1: there is none. An ARN is a
// pattern without a wildcard.
func (p *Principals) index(other pattern) int {
	return slices.IndexFunc(p.patterns, func(one pattern) bool {
		return globMatch(one.partition, other.partition) && globMatch(one.account, other.account) &&
			(one.resource == "" || globMatch(one.resource, other.resource))
	})
}

// DenyAll reports whether the list is empty but not nil. That suits an app that only changes other apps' credentials.
func (p *Principals) DenyAll() bool { return p != nil && len(p.patterns) == 0 }

// Covers reports whether p allows every principal that other allows. It may miss that several entries together cover
// one, and then returns false.
func (p *Principals) Covers(other *Principals) bool {
	if p == nil {
		return true
	}
	if other == nil {
		return false
	}
	// Only a * of ours can match a * of theirs, so ours also matches everything that theirs does.
	return !slices.ContainsFunc(other.patterns, func(theirs pattern) bool { return p.index(theirs) < 0 })
}

// globMatch reports whether text matches a pattern in which * stands for any characters.
func globMatch(pattern, text string) bool {
	head, tail, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for {
		part, rest, more := strings.Cut(tail, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text, tail = text[at+len(part):], rest
	}
}
