package managedkey

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// A record over 16 KiB is held by no cache (DESIGN.md section 3), so that each use
// of its key would read the database. These bounds add up to less.
const (
	// MaxScopes and MaxScopesLen, in bytes of all of them, are for one key.
	MaxScopes    = 256
	MaxScopesLen = 4 << 10
	// MaxNetworks is for one allow-list.
	MaxNetworks = 100
	// MaxMetadata is for the text of metadata, in bytes.
	MaxMetadata = 8 << 10
)

// MaxOverlap bounds how long two keys of a rotation are valid: past a month it is
// no rotation, but a second key.
const MaxOverlap = 30 * 24 * time.Hour

// Fields are what somebody says of a key. A nil one is not said: a new key does
// without it, and a change leaves it alone. A pointer to the zero value takes it
// away, except that an empty list of scopes holds nothing, and ClearScopes takes
// the list away.
type Fields struct {
	UserID, OrgID, ProjectID, Name *string
	Scopes                         *[]string
	ClearScopes                    bool
	AllowedIPs                     *[]netip.Prefix
	ExpiresAt                      *time.Time
	// Metadata is a JSON object. A pointer to nil takes it away.
	Metadata *json.RawMessage
}

// CheckNew says all that is wrong with a new key, as ErrInput.
func (f *Fields) CheckNew(now time.Time) error {
	var user error
	if f.UserID == nil || *f.UserID == "" {
		user = Refuse("user_id is missing")
	}
	return errors.Join(user, f.check(now))
}

// CheckChange says all that is wrong with a change, as ErrInput.
func (f *Fields) CheckChange(now time.Time) error {
	if f.UserID != nil || f.OrgID != nil || f.ProjectID != nil {
		return Refuse("user_id, org_id and project_id are for the life of a key: make another key")
	}
	return f.check(now)
}

func (f *Fields) check(now time.Time) error {
	return errors.Join(
		checkID("user_id", f.UserID), checkID("org_id", f.OrgID), checkID("project_id", f.ProjectID),
		f.checkName(), f.checkScopes(), f.checkNetworks(), f.checkExpiry(now), f.checkMetadata(),
	)
}

func checkID(name string, id *string) error {
	if id == nil || *id == "" {
		return nil
	}
	if err := apikey.ValidID(*id); err != nil {
		return Refuse(name + " cannot be taken: " + err.Error())
	}
	return nil
}

func (f *Fields) checkName() error {
	if f.Name == nil {
		return nil
	}
	if err := apikey.ValidName(*f.Name); err != nil {
		return Refuse("name cannot be taken: " + err.Error())
	}
	return nil
}

func (f *Fields) checkScopes() error {
	if f.Scopes == nil {
		return nil
	}
	if len(*f.Scopes) > MaxScopes {
		return Refuse(fmt.Sprintf("scopes has more than %d", MaxScopes))
	}
	total := 0
	for i, scope := range *f.Scopes {
		if err := apikey.ValidScope(scope); err != nil {
			return Refuse(fmt.Sprintf("scopes[%d] cannot be taken: %v", i, err))
		}
		total += len(scope)
	}
	if total > MaxScopesLen {
		return Refuse(fmt.Sprintf("scopes has more than %d bytes in all", MaxScopesLen))
	}
	return nil
}

func (f *Fields) checkNetworks() error {
	if f.AllowedIPs != nil && len(*f.AllowedIPs) > MaxNetworks {
		return Refuse(fmt.Sprintf("allowed_ips has more than %d", MaxNetworks))
	}
	return nil
}

func (f *Fields) checkExpiry(now time.Time) error {
	if f.ExpiresAt != nil && !f.ExpiresAt.IsZero() && !f.ExpiresAt.After(now) {
		return Refuse("expires_at is in the past: revoke a key to end it now")
	}
	return nil
}

func (f *Fields) checkMetadata() error {
	if f.Metadata != nil && len(*f.Metadata) > MaxMetadata {
		return Refuse(fmt.Sprintf("metadata has more than %d bytes", MaxMetadata))
	}
	return nil
}

// CheckOverlap says whether a rotation may take this long, as ErrInput.
func CheckOverlap(overlap time.Duration) error {
	if overlap < 0 || overlap > MaxOverlap {
		return Refuse(fmt.Sprintf("overlap_seconds must be between 0 and %d", int(MaxOverlap.Seconds())))
	}
	return nil
}
