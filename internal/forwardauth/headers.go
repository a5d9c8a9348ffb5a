package forwardauth

import (
	"net/http"
	"strconv"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// The headers of forward-auth's responses.
const (
	HeaderResult     = "X-Auth-Result"
	HeaderStaleness  = "X-Auth-Staleness-Ms"
	HeaderChallenge  = "WWW-Authenticate"
	HeaderRetryAfter = "Retry-After"
	HeaderKeyID      = "X-Auth-Key-Id"
	HeaderUserID     = "X-Auth-User-Id"
	HeaderOrgID      = "X-Auth-Org-Id"
	HeaderProjectID  = "X-Auth-Project-Id"
	HeaderScopes     = "X-Auth-Scopes"
)

// values are the header values of a response in one block: http.Header.Set would
// allocate a slice for each. Names must be canonical.
type values struct {
	block [2 + len(identityNames)]string // the result, the staleness, and for whom the key acts
	used  int
}

func (v *values) set(header http.Header, name, value string) {
	v.block[v.used] = value
	// Its capacity is one, so that a later Add copies it.
	header[name] = v.block[v.used : v.used+1 : v.used+1]
	v.used++
}

// stalenessText is a staleness in whole milliseconds.
func stalenessText(staleness time.Duration) string {
	return strconv.FormatInt(apikey.StalenessMS(staleness), 10)
}
