package forwardauth

import (
	"net/http"
	"strconv"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// The headers of forward-auth's answers.
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

// setIdentity says who the key speaks for. All five headers are always set, so
// that whatever a client sent under these names is overwritten.
func setIdentity(header http.Header, r *apikey.Record) {
	header.Set(HeaderKeyID, escape(r.KeyID))
	header.Set(HeaderUserID, escape(r.UserID))
	header.Set(HeaderOrgID, escape(r.OrgID))
	header.Set(HeaderProjectID, escape(r.ProjectID))
	header.Set(HeaderScopes, joinScopes(r.Scopes))
}

// stalenessText is a staleness in whole milliseconds.
func stalenessText(staleness time.Duration) string {
	return strconv.FormatInt(StalenessMS(staleness), 10)
}

// StalenessMS rounds up: an answer is never said to be fresher than it is.
func StalenessMS(staleness time.Duration) int64 {
	return int64((max(staleness, 0) + time.Millisecond - 1) / time.Millisecond)
}
