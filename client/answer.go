package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
)

// maxAnswer bounds what is read of an answer, in bytes. A key's metadata is in it,
// which keytail passes on unread; a key with more is ErrUnavailable here.
const maxAnswer = 1 << 20

// Why an answer is none. None of them quotes it.
var (
	errNoJSON        = errors.New("answers what is not one JSON object")
	errTwice         = errors.New("says one thing twice in its answer")
	errWrongType     = errors.New("answers with a field of a wrong type")
	errTwoWords      = errors.New("says neither clearly yes nor no")
	errNobody        = errors.New("says yes, and not to whom")
	errOtherQuestion = errors.New("says yes to something else than what was asked")
	errNoAge         = errors.New("says yes, and not how old that is")
	errTooEarly      = errors.New("gives an answer from before the revision that was asked for")
)

// answer is the body of 200, as far as it is known here. What is absent, or null, is
// nil.
type answer struct {
	valid                          *bool
	code                           *string
	keyID, userID                  *string
	orgID, projectID, name, source *string
	scopes                         *[]string
	expiresAt, asOf                *time.Time
	stalenessMS                    *int64
	revision                       *string
	metadata                       json.RawMessage
}

// field is where the value of a field goes, nil for one that is not known.
func (a *answer) field(name string) any {
	switch name {
	case "valid":
		return &a.valid
	case "code":
		return &a.code
	case "key_id":
		return &a.keyID
	case "user_id":
		return &a.userID
	case "org_id":
		return &a.orgID
	case "project_id":
		return &a.projectID
	case "name":
		return &a.name
	case "source":
		return &a.source
	case "scopes":
		return &a.scopes
	case "expires_at":
		return &a.expiresAt
	case "as_of":
		return &a.asOf
	case "staleness_ms":
		return &a.stalenessMS
	case "revision":
		return &a.revision
	case "metadata":
		return &a.metadata
	}
	return nil
}

// parseAnswer reads the one JSON object that a body must be. Names count as they are
// written, and no field may be there twice: encoding/json would take "VALID" for
// "valid", and the last of two, where whoever stands between may have taken the first.
func parseAnswer(body []byte) (*answer, error) {
	if !utf8.Valid(body) {
		return nil, errNoJSON
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errNoJSON
	}
	var a answer
	seen := make(map[string]bool, 16)
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, errNoJSON
		}
		if seen[name] {
			return nil, errTwice
		}
		seen[name] = true
		if err := decodeField(decoder, a.field(name)); err != nil {
			return nil, err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errNoJSON
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoJSON
	}
	return &a, nil
}

func decodeField(decoder *json.Decoder, into any) error {
	if into == nil {
		into = new(json.RawMessage) // newer than this program
	}
	err := decoder.Decode(into)
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errNoJSON
	}
	return errWrongType
}

// verdict is what the answer means for this request. The error is why it means
// nothing.
func (a *answer) verdict(r *auth.Request) (auth.Verdict, error) {
	if a.valid == nil || a.code == nil {
		return auth.Verdict{}, errTwoWords
	}
	v := auth.Verdict{Code: auth.Code(*a.code)}
	switch {
	case *a.valid != (v.Code == auth.Valid), !codeText.MatchString(*a.code):
		return auth.Verdict{}, errTwoWords
	case v.Code == auth.Unavailable, v.Code == auth.Missing:
		// These have a status of their own.
		return auth.Verdict{}, errTwoWords
	}
	if err := a.age(&v, r); err != nil {
		return auth.Verdict{}, err
	}
	if !isObject(a.metadata) {
		return auth.Verdict{}, errWrongType
	}
	v.Key = a.key(v.Code)
	if v.Code == auth.Valid {
		if err := a.refuted(&v, r); err != nil {
			return auth.Verdict{}, err
		}
	}
	return v, nil
}

// codeText is what a code looks like, also one that is not known: it may go into a
// header.
var codeText = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

// maxStalenessMS keeps a staleness a Duration, in milliseconds: a century.
const maxStalenessMS = 100 * 365 * 24 * 60 * 60 * 1000

// age reads how old the answer is, and what it has seen.
func (a *answer) age(v *auth.Verdict, r *auth.Request) error {
	if a.asOf != nil && a.stalenessMS != nil {
		if *a.stalenessMS < 0 || *a.stalenessMS > maxStalenessMS {
			return errWrongType
		}
		v.AsOf, v.Staleness = *a.asOf, time.Duration(*a.stalenessMS)*time.Millisecond
	}
	if a.source != nil && sourceText.MatchString(*a.source) {
		v.Source = auth.Source(*a.source)
	}
	if a.revision != nil {
		revision, err := auth.ParseRevision(*a.revision)
		if err != nil {
			return errWrongType
		}
		v.Revision = revision
	}
	// What is no key needs no truth.
	if v.Revision < r.MinRevision && v.Code != auth.Malformed {
		return errTooEarly
	}
	return nil
}

var sourceText = regexp.MustCompile(`^[a-z_]{1,32}$`)

// key is what the answer says about the key, nil if that is nobody's to know. All of
// it is told from Disabled on, but for Forbidden.
func (a *answer) key(code auth.Code) *auth.Key {
	if a.keyID == nil || *a.keyID == "" || code == auth.Malformed || code == auth.NotFound {
		return nil
	}
	k := &auth.Key{
		KeyID: *a.keyID, UserID: text(a.userID), OrgID: text(a.orgID), ProjectID: text(a.projectID), Name: text(a.name),
		Metadata: a.metadata, Active: code != auth.Disabled,
	}
	if a.scopes != nil {
		k.Scopes = *a.scopes
	}
	if a.expiresAt != nil {
		k.ExpiresAt = *a.expiresAt
	}
	return k
}

// isObject: of JSON.
func isObject(raw json.RawMessage) bool { return len(raw) == 0 || raw[0] == '{' }

func text(field *string) string {
	if field == nil {
		return ""
	}
	return *field
}

// refuted is why a yes cannot be one, by what else it says: it may be the answer to
// another question, from somebody between who mixed them up.
func (a *answer) refuted(v *auth.Verdict, r *auth.Request) error {
	k := v.Key
	switch {
	case k == nil || k.UserID == "" || a.scopes == nil || slices.Contains(k.Scopes, ""):
		return errNobody
	case v.AsOf.IsZero():
		return errNoAge
	}
	// What the record cannot say here, or says by another clock, is left out.
	record := apikey.Record{UserID: k.UserID, OrgID: k.OrgID, ProjectID: k.ProjectID, Scopes: k.Scopes, Active: true}
	asked := apikey.Request{Scopes: r.Scopes, OrgID: r.OrgID, ProjectID: r.ProjectID}
	if apikey.Decide(&record, &asked, time.Time{}) != apikey.Valid {
		return errOtherQuestion
	}
	return nil
}
