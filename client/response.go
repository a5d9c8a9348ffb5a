package client

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/strictjson"
)

// maxResponse bounds the body of a response, in bytes. It contains the metadata of a key,
// which keytail passes on without a limit; a key with more is auth.ErrUnavailable here.
const maxResponse = 1 << 20

// Why a response is rejected. No message quotes the response.
var (
	errNotObject      = errors.New("sent a body that is not one JSON object")
	errDuplicateField = errors.New("sent a field twice, or too many fields")
	errFieldType      = errors.New("sent a field with a wrong type")
	errInconsistent   = errors.New("sent an inconsistent verdict")
	errNoIdentity     = errors.New("sent VALID without the key's identity")
	errOtherRequest   = errors.New("sent VALID for another request")
	errNoStaleness    = errors.New("sent VALID without its staleness")
	errOldRevision    = errors.New("sent an answer from before the requested revision")
)

// verifyResponse has the known fields of a response with status 200. An absent field,
// and a null, is nil.
type verifyResponse struct {
	valid                          *bool
	code                           *string
	keyID, userID                  *string
	orgID, projectID, name, source *string
	reason                         *string
	scopes                         *[]string
	expiresAt, asOf                *time.Time
	stalenessMS                    *int64
	revision                       *string
	metadata                       json.RawMessage
}

// set decodes the value of one field. Unknown fields are ignored.
func (v *verifyResponse) set(name string, value gjson.Result) error {
	if value.Type == gjson.Null {
		return nil
	}
	switch name {
	case "valid":
		return decode(value, &v.valid)
	case "code":
		return decodeString(value, &v.code)
	case "reason":
		return decodeString(value, &v.reason)
	case "key_id":
		return decodeString(value, &v.keyID)
	case "user_id":
		return decodeString(value, &v.userID)
	case "org_id":
		return decodeString(value, &v.orgID)
	case "project_id":
		return decodeString(value, &v.projectID)
	case "name":
		return decodeString(value, &v.name)
	case "source":
		return decodeString(value, &v.source)
	case "scopes":
		return decode(value, &v.scopes)
	case "expires_at":
		return decode(value, &v.expiresAt)
	case "as_of":
		return decode(value, &v.asOf)
	case "staleness_ms":
		return decode(value, &v.stalenessMS)
	case "revision":
		return decodeString(value, &v.revision)
	case "metadata":
		if !value.IsObject() {
			return errFieldType
		}
		v.metadata = json.RawMessage(value.Raw)
	}
	return nil
}

func decode(value gjson.Result, into any) error {
	if json.Unmarshal([]byte(value.Raw), into) != nil {
		return errFieldType
	}
	return nil
}

// decodeString decodes most strings, which have no escapes, without the decoder.
func decodeString(value gjson.Result, into **string) error {
	if value.Type != gjson.String || strings.Contains(value.Raw, `\`) {
		return decode(value, into)
	}
	text := value.Str
	*into = &text
	return nil
}

// parseResponse parses a body, which must be one JSON object without duplicate fields.
func parseResponse(body []byte) (*verifyResponse, error) {
	var v verifyResponse
	err := strictjson.Fields(body, v.set)
	switch {
	case err == nil:
		return &v, nil
	case errors.Is(err, strictjson.ErrNotObject):
		return nil, errNotObject
	case errors.Is(err, strictjson.ErrDuplicateField), errors.Is(err, strictjson.ErrTooManyFields):
		return nil, errDuplicateField
	}
	return nil, err
}

// verdict returns what the response means for a request, or why it is rejected.
func (v *verifyResponse) verdict(r *auth.Request) (auth.Verdict, error) {
	if v.valid == nil || v.code == nil {
		return auth.Verdict{}, errInconsistent
	}
	verdict := auth.Verdict{Code: auth.Code(*v.code)}
	switch {
	case *v.valid != (verdict.Code == auth.Valid), !codePattern.MatchString(*v.code):
		return auth.Verdict{}, errInconsistent
	case verdict.Code == auth.Unavailable, verdict.Code == auth.Missing:
		// These two have another HTTP status than 200.
		return auth.Verdict{}, errInconsistent
	}
	if err := v.setFreshness(&verdict, r); err != nil {
		return auth.Verdict{}, err
	}
	verdict.Key = v.key(verdict.Code)
	if verdict.Key != nil && verdict.Code != auth.Valid && v.reason != nil && reasonPattern.MatchString(*v.reason) {
		verdict.Reason = *v.reason
	}
	if verdict.Code == auth.Valid {
		if err := v.checkValid(&verdict, r); err != nil {
			return auth.Verdict{}, err
		}
	}
	return verdict, nil
}

// codePattern is the form of all codes, also of unknown ones: a code may be written
// into a header.
var codePattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

// maxStalenessMS is a century in milliseconds. It keeps the staleness within a
// time.Duration.
const maxStalenessMS = 100 * 365 * 24 * 60 * 60 * 1000

// setFreshness sets AsOf, Staleness, Source and Revision.
func (v *verifyResponse) setFreshness(verdict *auth.Verdict, r *auth.Request) error {
	if v.asOf != nil && v.stalenessMS != nil {
		if *v.stalenessMS < 0 || *v.stalenessMS > maxStalenessMS {
			return errFieldType
		}
		verdict.AsOf, verdict.Staleness = *v.asOf, time.Duration(*v.stalenessMS)*time.Millisecond
	}
	if v.source != nil && sourcePattern.MatchString(*v.source) {
		verdict.Source = auth.Source(*v.source)
	}
	if v.revision != nil {
		revision, err := auth.ParseRevision(*v.revision)
		if err != nil {
			return errFieldType
		}
		verdict.Revision = revision
	}
	// Malformed is decided without data.
	if verdict.Revision < r.MinRevision && verdict.Code != auth.Malformed {
		return errOldRevision
	}
	return nil
}

// reasonPattern is the form of all reasons, also of unknown ones: a reason may be written
// into a log.
var reasonPattern = regexp.MustCompile(`^[a-z_]{1,32}(:[^[:cntrl:]]{1,512})?$`)

var sourcePattern = regexp.MustCompile(`^[a-z_]{1,32}$`)

// key returns the fields of the key, nil for codes that have none. The daemon sends all
// of them for Disabled and later codes, except for Forbidden.
func (v *verifyResponse) key(code auth.Code) *auth.Key {
	if v.keyID == nil || *v.keyID == "" || code == auth.Malformed || code == auth.NotFound {
		return nil
	}
	k := &auth.Key{
		KeyID: *v.keyID, UserID: text(v.userID), OrgID: text(v.orgID), ProjectID: text(v.projectID), Name: text(v.name),
		Metadata: v.metadata, Active: code != auth.Disabled,
	}
	if string(v.metadata) == "{}" {
		k.Metadata = nil // as in a Service
	}
	if v.scopes != nil {
		k.Scopes = *v.scopes
	}
	if v.expiresAt != nil {
		k.ExpiresAt = *v.expiresAt
	}
	return k
}

func text(field *string) string {
	if field == nil {
		return ""
	}
	return *field
}

// checkValid returns why a VALID is rejected. Its other fields can show that it answers
// another request, which an intermediary has mixed up.
func (v *verifyResponse) checkValid(verdict *auth.Verdict, r *auth.Request) error {
	k := verdict.Key
	switch {
	case k == nil || k.UserID == "" || v.scopes == nil || slices.Contains(k.Scopes, ""):
		return errNoIdentity
	case verdict.AsOf.IsZero():
		return errNoStaleness
	}
	// The allow-list is not sent, and the expiry depends on the daemon's clock.
	record := apikey.Record{UserID: k.UserID, OrgID: k.OrgID, ProjectID: k.ProjectID, Scopes: k.Scopes, Active: true}
	request := apikey.Request{
		Scopes: r.Scopes, OrgID: r.OrgID, ProjectID: r.ProjectID, RequireOrg: r.RequireOrg, RequireProject: r.RequireProject,
	}
	if apikey.Decide(&record, &request, time.Time{}) != apikey.Valid {
		return errOtherRequest
	}
	return nil
}
