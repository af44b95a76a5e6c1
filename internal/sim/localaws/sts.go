package localaws

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

// STS is an http.Handler for AWS STS's GetCallerIdentity, which needs a signature and no permission. It is safe for
// concurrent use. Its fields must not change once it serves.
//
// Source: AWS Security Token Service API Reference, "GetCallerIdentity" and "Common Error Types".
type STS struct {
	Keys   *Keys
	Region string
	// Now returns the time. Nil: time.Now.
	Now func() time.Time
}

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

type callerIdentity struct {
	XMLName xml.Name `xml:"GetCallerIdentityResponse"`
	XMLNS   string   `xml:"xmlns,attr"`
	Result  struct {
		Arn, UserId, Account string
	} `xml:"GetCallerIdentityResult"`
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

type stsError struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	XMLNS     string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// ServeHTTP implements http.Handler.
func (s *STS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	w.Header().Set("Date", now().UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "text/xml")
	id := newUUID()
	w.Header().Set("X-Amzn-Requestid", id)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		writeSTSError(w, http.StatusRequestEntityTooLarge, "InvalidParameterValue", "the request is too long", id)
		return
	}
	p, err := s.Keys.Verify(r, body, "sts", s.Region, now())
	if err != nil {
		failed, _ := errors.AsType[*AuthError](err)
		writeSTSError(w, http.StatusForbidden, stsCode(failed), failed.Message, id)
		return
	}
	form, _ := url.ParseQuery(string(body)) // a malformed body names no action
	if form.Get("Action") != "GetCallerIdentity" {
		writeSTSError(w, http.StatusBadRequest, "InvalidAction",
			"Could not find operation "+form.Get("Action")+" for version "+form.Get("Version"), id)
		return
	}
	response := callerIdentity{XMLNS: stsNamespace, RequestID: id}
	response.Result.Arn, response.Result.UserId, response.Result.Account = p.ARN, p.UserID, p.Account
	_ = xml.NewEncoder(w).Encode(response)
}

// stsCode returns STS's code for the error, which may differ from API Gateway's.
func stsCode(failed *AuthError) string {
	switch failed.Type {
	case "UnrecognizedClient":
		return "InvalidClientTokenId"
	case "InvalidSignature":
		return "SignatureDoesNotMatch"
	default:
		return failed.Type
	}
}

func writeSTSError(w http.ResponseWriter, status int, code, message, id string) {
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(stsError{XMLNS: stsNamespace, Type: "Sender", Code: code, Message: message,
		RequestID: id})
}
