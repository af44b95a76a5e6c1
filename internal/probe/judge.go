package probe

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// judge returns what a call showed that got token or err. succeeded is the status of a response that was no error, or
// zero if there was none. What a response says is passed on only in the forms below, which no Salesforce token has.
func judge(check Check, succeeded int, token *sftoken.Token, err error) Result {
	result := Result{Check: check, Status: succeeded}
	failed, _ := errors.AsType[*sftoken.Error](err)
	if failed != nil && succeeded == 0 {
		result.Status = failed.Status
		result.Code, result.RequestID = ifMatches(errorCode, failed.Code), ifMatches(requestID, failed.RequestID)
	}
	result.Observed = strings.TrimSpace(fmt.Sprintf("HTTP %d %s", result.Status, result.Code))
	switch {
	case check != Allowed:
		result.Outcome, result.Observed = judgeRefused(result, failed, err)
	case err == nil:
		result.Outcome, result.Observed = OK, "a token"
		result.TokenID, result.Cache = ifMatches(tokenID, token.ID), ifMatches(cacheStatus, token.Cache)
	default:
		result.Outcome, result.Err = Failed, err
		if failed == nil {
			result.Observed = errorText(err)
		} else if isDeniedByIAM(failed) {
			result.Observed += deniedByIAM
		}
	}
	return result
}

var (
	errorCode   = regexp.MustCompile(`^[a-z_]{1,40}$`)
	requestID   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	tokenID     = regexp.MustCompile(`^[0-9a-f]{16}$`)
	cacheStatus = regexp.MustCompile(`^(hit|miss|confirmed|stale)$`)
)

func ifMatches(form *regexp.Regexp, text string) string {
	if !form.MatchString(text) {
		return ""
	}
	return text
}

// judgeRefused judges a call that must be refused. API Gateway passes no request on that it refuses, so every response
// of the token function shows that a request was let through. The exception is the app's own allowedPrincipals.
func judgeRefused(result Result, failed *sftoken.Error, err error) (outcome Outcome, observed string) {
	observed = result.Observed
	switch {
	case result.Status/100 == 2: // whatever came after it
		return NotRefused, observed
	case failed == nil:
		return Unchecked, errorText(err)
	case failed.Code != "" && failed.RequestID != "" && failed.Status != http.StatusUnauthorized: // the agent has 401
		if result.Check == Denied && failed.Code == "access_denied" {
			return OK, observed + ": allowedPrincipals refuses it"
		}
		return NotRefused, observed + ": the request reached the token function"
	case failed.Status != http.StatusForbidden:
		return Unchecked, observed
	case failed.Code != "" || failed.RequestID == "":
		return Unchecked, observed + ": neither API Gateway's nor the token function's response"
	case result.Check == Unsigned:
		return OK, observed + ": API Gateway refuses it"
	case isDeniedByIAM(failed):
		return OK, observed + deniedByIAM
	}
	return Unchecked, observed + ": API Gateway refuses it for another reason than the app"
}

const deniedByIAM = ": IAM refuses it"

// isDeniedByIAM reports whether IAM or the API's resource policy denied a request whose signature is right. Source of
// the message: AWS re:Post, "How do I troubleshoot HTTP 403 errors from API Gateway?".
func isDeniedByIAM(failed *sftoken.Error) bool {
	return failed.Status == http.StatusForbidden && failed.Code == "" &&
		strings.Contains(failed.Description, "not authorized to perform")
}

// maxText bounds the text of an error, in bytes.
const maxText = 300

// errorText returns the error of a call without an error response on one line. It has no text of a response.
func errorText(err error) string {
	text := strings.ReplaceAll(printable.Line(err.Error()), "sftoken: ", "")
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}
