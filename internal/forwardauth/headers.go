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
	block [7]string
	used  int
}

func (v *values) set(header http.Header, name, value string) {
	v.block[v.used] = value
	// Its capacity is one, so that a later Add copies it.
	header[name] = v.block[v.used : v.used+1 : v.used+1]
	v.used++
}

// setIdentity sets the headers that name for whom the key acts. It always sets
// all five, so that they overwrite what a client sent.
func (v *values) setIdentity(header http.Header, r *apikey.Record) {
	v.set(header, HeaderKeyID, escape(r.KeyID))
	v.set(header, HeaderUserID, escape(r.UserID))
	v.set(header, HeaderOrgID, escape(r.OrgID))
	v.set(header, HeaderProjectID, escape(r.ProjectID))
	v.set(header, HeaderScopes, joinScopes(r.Scopes))
}

// stalenessText is a staleness in whole milliseconds.
func stalenessText(staleness time.Duration) string {
	return strconv.FormatInt(apikey.StalenessMS(staleness), 10)
}
