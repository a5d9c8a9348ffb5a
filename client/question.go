package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
)

const (
	// maxQuestion and maxScopes are the daemon's bounds.
	maxQuestion = 16 << 10
	maxScopes   = 100
)

// question is the body of a call.
type question struct {
	Key         string   `json:"key"`
	Scopes      []string `json:"scopes,omitempty"`
	OrgID       string   `json:"org_id,omitempty"`
	ProjectID   string   `json:"project_id,omitempty"`
	IP          string   `json:"ip,omitempty"`
	MinRevision string   `json:"min_revision,omitempty"`
}

// without is the verdict on a text that is no key, which the daemon gives without
// looking for it too. "": there is none.
//
// So the text of a key that is asked about is printable ASCII of at most 512 bytes,
// and JSON holds it as it is.
func without(key string) auth.Code {
	switch _, err := apikey.Parse("", key); {
	case err == nil:
		return ""
	case errors.Is(err, apikey.ErrMissing):
		return auth.Missing
	}
	return auth.Malformed
}

// questionOf is the body for a request. The error is ErrBadRequest.
func questionOf(key string, r *auth.Request) ([]byte, error) {
	q := question{Key: key, Scopes: r.Scopes, OrgID: idOf(r.OrgID), ProjectID: idOf(r.ProjectID)}
	if err := checkScopes(r.Scopes); err != nil {
		return nil, err
	}
	// No allow-list holds an address with a zone (apikey.Decide), nor one that is not
	// known.
	if r.IP.IsValid() && r.IP.Zone() == "" {
		q.IP = r.IP.Unmap().String()
	}
	if r.MinRevision != 0 {
		q.MinRevision = r.MinRevision.String()
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // an & would take six bytes
	if err := encoder.Encode(&q); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if body.Len() > maxQuestion {
		return nil, fmt.Errorf("%w: with all its scopes it has more than 16 KiB", ErrBadRequest)
	}
	return body.Bytes(), nil
}

// idOf leaves out what is no id: a request may have it from its client's path. No
// key is bound to such a text, so that to name it and to name nothing is the same.
func idOf(id string) string {
	if apikey.ValidID(id) != nil || replaced(id) {
		return ""
	}
	return id
}

func checkScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return fmt.Errorf("%w: at most 100 scopes can be asked for at once", ErrBadRequest)
	}
	for _, scope := range scopes {
		if err := apikey.ValidScope(scope); err != nil {
			return fmt.Errorf("%w: a scope cannot be read (each is given by itself): %w", ErrBadRequest, err)
		}
		if replaced(scope) {
			return fmt.Errorf("%w: a scope has the replacement character", ErrBadRequest)
		}
	}
	return nil
}

// replaced: the daemon takes U+FFFD for half of a surrogate pair, and refuses it.
func replaced(text string) bool { return strings.ContainsRune(text, '\uFFFD') }
