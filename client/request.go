package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
)

const (
	// maxRequestBody and maxScopes are the daemon's limits.
	maxRequestBody = 16 << 10
	maxScopes      = 100
)

// checkKey returns the code of a text that cannot be a key, "" for any other text. The
// daemon returns the same code without a lookup.
//
// So the keys that are sent are printable ASCII of at most 512 bytes, which JSON
// encodes without loss.
func checkKey(key string) auth.Code {
	switch _, err := apikey.Parse("", key); {
	case err == nil:
		return ""
	case errors.Is(err, apikey.ErrMissing):
		return auth.Missing
	}
	return auth.Malformed
}

// encodeRequest returns the body of a request. The error is ErrBadRequest.
func encodeRequest(key string, r *auth.Request) ([]byte, error) {
	if err := checkScopes(r.Scopes); err != nil {
		return nil, err
	}
	request := api.VerifyRequest{Key: key, Scopes: r.Scopes}
	request.OrgID, request.RequireOrg = binding(r.OrgID, r.RequireOrg)
	request.ProjectID, request.RequireProject = binding(r.ProjectID, r.RequireProject)
	// No allow-list contains an address with a zone (apikey.Decide), so it is sent as
	// unknown.
	if r.IP.IsValid() && r.IP.Zone() == "" {
		request.IP = r.IP.Unmap().String()
	}
	if r.MinRevision != 0 {
		request.MinRevision = r.MinRevision.String()
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // an & would take six bytes
	if err := encoder.Encode(&request); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if body.Len() > maxRequestBody {
		return nil, fmt.Errorf("%w: it has more than 16 KiB, require fewer or shorter scopes", ErrBadRequest)
	}
	return body.Bytes(), nil
}

// binding returns the fields for an id. An invalid one can come from a client's path, and
// the daemon would not accept it. No key is bound to it, so naming it has the result of
// naming none where one is required: keys that are bound are refused.
func binding(named string, required bool) (id string, require bool) {
	if named != "" && (apikey.ValidID(named) != nil || hasReplacementCharacter(named)) {
		return "", true
	}
	return named, required
}

func checkScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return fmt.Errorf("%w: at most %d scopes can be required", ErrBadRequest, maxScopes)
	}
	for _, scope := range scopes {
		if err := apikey.ValidScope(scope); err != nil {
			return fmt.Errorf("%w: invalid scope (each scope is one element): %w", ErrBadRequest, err)
		}
		if hasReplacementCharacter(scope) {
			return fmt.Errorf("%w: a scope contains the replacement character", ErrBadRequest)
		}
	}
	return nil
}

// hasReplacementCharacter reports whether a text contains U+FFFD. The daemon takes it
// for half of a surrogate pair and refuses the request.
func hasReplacementCharacter(text string) bool { return strings.ContainsRune(text, '\uFFFD') }
