package appsecret

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Principals says which IAM principals may have an app's tokens.
type Principals struct {
	patterns []pattern
}

// pattern is one entry. An empty resource stands for everything in the account.
type pattern struct {
	partition, account, resource string
}

// parsePrincipals reads the list. An entry that could not match what its author meant is an error.
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
	if len(parts) != 6 || parts[0] != "arn" || !strings.HasPrefix(parts[1], "aws") || parts[2] != "iam" || parts[3] != "" || !isAccount(parts[4]) {
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
	// A session's ARN has lost its role's path. Role names are unique in an account whatever their paths, so a whole name
	// says enough without; a pattern behind a path would match more than its author meant.
	if base != name && strings.Contains(base, "*") {
		return pattern{}, errors.New("a session does not show its role's path, so a path with * behind it cannot be checked: leave the path out")
	}
	p.resource = "role/" + base
	return p, nil
}

var errPrincipal = errors.New("want an account id, or the ARN of an IAM role or user (for a session, the ARN of its role)")

// nameLetters are those of a role's or user's name. Source: CreateRole in the IAM API Reference.
const nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-"

// isAccount says whether text is an account id, or a pattern of one.
func isAccount(text string) bool {
	wild := strings.Contains(text, "*")
	return strings.Trim(text, "0123456789*") == "" && (len(text) == 12 || wild && len(text) < 12)
}

// Allows says whether the principal with this ARN, as API Gateway's requestContext.identity.userArn gives it, is in the
// list. A nil list allows everybody whom IAM has let in.
func (p *Principals) Allows(arn string) bool {
	if p == nil {
		return true
	}
	// arn:partition:service:region:account:resource
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || len(parts[4]) != 12 {
		return false
	}
	resource := parts[5]
	switch parts[2] {
	case "iam":
		if name, ok := strings.CutPrefix(resource, "role/"); ok {
			resource = "role/" + name[strings.LastIndex(name, "/")+1:]
		}
	case "sts":
		// assumed-role/<role>/<session>: the caller chooses the session's name, so it decides nothing.
		if rest, ok := strings.CutPrefix(resource, "assumed-role/"); ok {
			role, _, _ := strings.Cut(rest, "/")
			resource = "role/" + role
		}
	default:
		return false
	}
	for _, one := range p.patterns {
		if globMatch(one.partition, parts[1]) && globMatch(one.account, parts[4]) && (one.resource == "" || globMatch(one.resource, resource)) {
			return true
		}
	}
	return false
}

// DenyAll says whether the list is there and empty, as that of an app whose login only changes the pairs of others.
func (p *Principals) DenyAll() bool { return p != nil && len(p.patterns) == 0 }

// Covers reports whether everyone whom other allows is allowed by p too. Either may be nil, which allows everyone. It may miss that
// several entries together cover one, and then reports false.
func (p *Principals) Covers(other *Principals) bool {
	if p == nil {
		return true
	}
	if other == nil {
		return false
	}
	for _, theirs := range other.patterns {
		// A * in their pattern can be matched by a * in ours alone, so what theirs stands for is matched as well.
		if !slices.ContainsFunc(p.patterns, func(ours pattern) bool {
			return globMatch(ours.partition, theirs.partition) && globMatch(ours.account, theirs.account) &&
				(ours.resource == "" || theirs.resource != "" && globMatch(ours.resource, theirs.resource))
		}) {
			return false
		}
	}
	return true
}

// globMatch matches text against a pattern in which * stands for any characters.
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
