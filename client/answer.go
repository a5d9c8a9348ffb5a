package client

import (
	"bytes"
	"encoding/json"
	"errors"
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
	errTwice         = errors.New("says one thing twice in its answer, or too many")
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

// read takes the value of a field. One that is not known is left alone.
func (a *answer) read(name string, value []byte) error {
	if string(value) == "null" {
		return nil
	}
	switch name {
	case "valid":
		return decode(value, &a.valid)
	case "code":
		return decodeString(value, &a.code)
	case "key_id":
		return decodeString(value, &a.keyID)
	case "user_id":
		return decodeString(value, &a.userID)
	case "org_id":
		return decodeString(value, &a.orgID)
	case "project_id":
		return decodeString(value, &a.projectID)
	case "name":
		return decodeString(value, &a.name)
	case "source":
		return decodeString(value, &a.source)
	case "scopes":
		return decode(value, &a.scopes)
	case "expires_at":
		return decodeTime(value, &a.expiresAt)
	case "as_of":
		return decodeTime(value, &a.asOf)
	case "staleness_ms":
		return decode(value, &a.stalenessMS)
	case "revision":
		return decodeString(value, &a.revision)
	case "metadata":
		if value[0] != '{' {
			return errWrongType
		}
		a.metadata = value
	}
	return nil
}

func decode(value []byte, into any) error {
	if json.Unmarshal(value, into) != nil {
		return errWrongType
	}
	return nil
}

// decodeString spares the usual string, which has no escapes, the decoder.
func decodeString(value []byte, into **string) error {
	if value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 {
		return decode(value, into)
	}
	text := string(value[1 : len(value)-1])
	*into = &text
	return nil
}

func decodeTime(value []byte, into **time.Time) error {
	at := new(time.Time)
	if at.UnmarshalJSON(value) != nil {
		return errWrongType
	}
	*into = at
	return nil
}

// parseAnswer reads the one JSON object that a body must be. Names count as they are
// written, and no field may be there twice: encoding/json would take "VALID" for
// "valid", and the last of two, where whoever stands between may have taken the first.
func parseAnswer(body []byte) (*answer, error) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, errNoJSON
	}
	rest := scanner(body)
	if rest.next() != '{' {
		return nil, errNoJSON
	}
	var a answer
	names := make([]string, 0, 16)
	for rest.next() == '"' {
		var name *string
		if err := decodeString(rest.value(), &name); err != nil {
			return nil, err
		}
		if len(names) == maxFields || slices.Contains(names, *name) {
			return nil, errTwice
		}
		names = append(names, *name)
		if err := a.read(*name, rest.value()); err != nil {
			return nil, err
		}
	}
	return &a, nil
}

// maxFields bounds the work of comparing names; fourteen are known.
const maxFields = 256

// scanner walks over one object of valid JSON.
type scanner []byte

// next steps over an opening brace and what stands between fields, and returns the
// next sign.
func (s *scanner) next() byte {
	for i, sign := range *s {
		switch sign {
		case ' ', '\t', '\r', '\n', ',', ':':
			continue
		case '{':
			*s = (*s)[i+1:]
			return sign
		}
		*s = (*s)[i:]
		return sign
	}
	return 0
}

// value is the next string, or value of any kind, and steps over it.
func (s *scanner) value() []byte {
	for len(*s) > 0 && bytes.IndexByte([]byte(" \t\r\n:"), (*s)[0]) >= 0 {
		*s = (*s)[1:]
	}
	end := s.end()
	value := (*s)[:end:end]
	*s = (*s)[end:]
	return value
}

// end is where the value ends that the rest begins with.
func (s *scanner) end() int {
	depth, quoted := 0, false
	for i := 0; i < len(*s); i++ {
		switch sign := (*s)[i]; {
		case quoted && sign == '\\':
			i++
		case sign == '"':
			quoted = !quoted
			if !quoted && depth == 0 {
				return i + 1
			}
		case quoted:
		case sign == '{' || sign == '[':
			depth++
		case sign == '}' || sign == ']':
			if depth == 0 {
				return i // of the object itself
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case depth == 0 && (sign == ',' || sign <= ' '):
			return i
		}
	}
	return len(*s)
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
	if string(a.metadata) == "{}" {
		k.Metadata = nil // as a Service has it
	}
	if a.scopes != nil {
		k.Scopes = *a.scopes
	}
	if a.expiresAt != nil {
		k.ExpiresAt = *a.expiresAt
	}
	return k
}

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
