package forwardauth

import (
	"errors"
	"strings"

	"github.com/keytail/keytail/internal/apikey"
)

// DefaultRealm is the realm in WWW-Authenticate if none is configured.
const DefaultRealm = "keytail"

// Challenge is the value of WWW-Authenticate for a realm, as in RFC 6750, section
// 3: `Bearer realm="..."`.
type Challenge string

// NewChallenge makes the challenge of a realm of printable ASCII. "":
// DefaultRealm.
func NewChallenge(realm string) (Challenge, error) {
	if realm == "" {
		realm = DefaultRealm
	}
	for i := range len(realm) {
		if realm[i] < 0x20 || realm[i] > 0x7e {
			return "", errors.New("the realm may have printable ASCII characters only")
		}
	}
	// A quoted-string of RFC 9110, section 5.6.4.
	return Challenge(`Bearer realm="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm) + `"`), nil
}

// InvalidToken is the challenge for a token or key that is not valid.
func (c Challenge) InvalidToken() string { return string(c) + `, error="invalid_token"` }

// For is the challenge of a refusal: without an error if no key was sent, and
// empty if another key or scope would not help.
func (c Challenge) For(code apikey.Code, needed []string) string {
	switch code {
	case apikey.Missing:
		return string(c)
	case apikey.Malformed, apikey.NotFound, apikey.Disabled, apikey.Expired:
		return c.InvalidToken()
	case apikey.InsufficientPermissions:
		return string(c) + `, error="insufficient_scope", scope="` + joinScopes(needed) + `"`
	case apikey.Unavailable, apikey.Forbidden, apikey.Valid:
	}
	return ""
}
