package managedkey

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// The cache does not store a record over 16 KiB (internal/keycache/DESIGN.md), so
// each use of such a key would read the database. These bounds add up to less.
const (
	// MaxScopes, and MaxScopesLen in bytes of all of them, are for one key.
	MaxScopes    = 256
	MaxScopesLen = 4 << 10
	// MaxNetworks is for one allow-list.
	MaxNetworks = 100
	// MaxMetadata is for the text of metadata, in bytes.
	MaxMetadata = 8 << 10
)

// MaxOverlap bounds how long both keys of a rotation are valid: longer than a
// month is not a rotation, but a second key.
const MaxOverlap = 30 * 24 * time.Hour

// Fields of a key to write. Nil: a new key does not have the field, and a change
// does not touch it. A pointer to the zero value removes the field, except that
// an empty list of scopes grants nothing and ClearScopes removes the list.
type Fields struct {
	UserID, OrgID, ProjectID, Name *string
	Scopes                         *[]string
	ClearScopes                    bool
	AllowedIPs                     *[]netip.Prefix
	ExpiresAt                      *time.Time
	// Metadata is a JSON object. A pointer to nil removes it.
	Metadata *json.RawMessage
}

// CheckNew reports everything that is wrong with a new key, as ErrInvalid.
func (f *Fields) CheckNew(now time.Time) error {
	var user error
	if f.UserID == nil || *f.UserID == "" {
		user = Invalid("user_id is missing")
	}
	return errors.Join(user, f.check(now))
}

// CheckChange reports everything that is wrong with a change, as ErrInvalid.
func (f *Fields) CheckChange(now time.Time) error {
	if f.UserID != nil || f.OrgID != nil || f.ProjectID != nil {
		return Invalid("user_id, org_id and project_id of a key cannot change: create another key")
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
		return Invalid(name + " is not valid: " + err.Error())
	}
	return checkNoKey(name, *id)
}

// checkNoKey refuses a key in the place of a text that the collection and the audit keep.
func checkNoKey(name, text string) error {
	if apikey.IsGenerated(text) {
		return Invalid(name + apikey.GeneratedAdvice)
	}
	return nil
}

func (f *Fields) checkName() error {
	if f.Name == nil {
		return nil
	}
	if err := apikey.ValidName(*f.Name); err != nil {
		return Invalid("name is not valid: " + err.Error())
	}
	return checkNoKey("name", *f.Name)
}

func (f *Fields) checkScopes() error {
	if f.Scopes == nil {
		return nil
	}
	if len(*f.Scopes) > MaxScopes {
		return Invalid(fmt.Sprintf("scopes has more than %d", MaxScopes))
	}
	total := 0
	for i, scope := range *f.Scopes {
		if err := apikey.ValidScope(scope); err != nil {
			return Invalid(fmt.Sprintf("scopes[%d] is not valid: %v", i, err))
		}
		if err := checkNoKey(fmt.Sprintf("scopes[%d]", i), scope); err != nil {
			return err
		}
		total += len(scope)
	}
	if total > MaxScopesLen {
		return Invalid(fmt.Sprintf("scopes has more than %d bytes in all", MaxScopesLen))
	}
	return nil
}

func (f *Fields) checkNetworks() error {
	if f.AllowedIPs != nil && len(*f.AllowedIPs) > MaxNetworks {
		return Invalid(fmt.Sprintf("allowed_ips has more than %d", MaxNetworks))
	}
	return nil
}

func (f *Fields) checkExpiry(now time.Time) error {
	if f.ExpiresAt != nil && !f.ExpiresAt.IsZero() && !f.ExpiresAt.After(now) {
		return Invalid("expires_at is in the past: revoke the key to end it now")
	}
	return nil
}

func (f *Fields) checkMetadata() error {
	if f.Metadata != nil && len(*f.Metadata) > MaxMetadata {
		return Invalid(fmt.Sprintf("metadata has more than %d bytes", MaxMetadata))
	}
	return nil
}

// CheckOverlap checks the overlap of a rotation. The error is ErrInvalid.
func CheckOverlap(overlap time.Duration) error {
	if overlap < 0 || overlap > MaxOverlap {
		return Invalid(fmt.Sprintf("overlap_seconds must be between 0 and %d", int(MaxOverlap.Seconds())))
	}
	return nil
}
