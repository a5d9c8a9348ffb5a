package managedkey

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func TestAllMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	f := Fields{
		OrgID: ptr("\x00leak"), Name: ptr("\x00leak"), Scopes: ptr([]string{"a leak"}), ExpiresAt: ptr(now),
		AllowedIPs: ptr(make([]netip.Prefix, MaxNetworks+1)), Metadata: ptr(json.RawMessage(strings.Repeat(" ", MaxMetadata+1))),
	}
	err := f.CheckNew(now)
	if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "leak") {
		t.Fatal(err)
	}
	for _, words := range []string{"user_id is missing", "org_id", "name", "scopes[0]", "expires_at", "allowed_ips", "metadata"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("nothing of %s in: %v", words, err)
		}
	}
}

func TestTheLargestValidFields(t *testing.T) {
	t.Parallel()
	f := Fields{
		UserID: ptr(strings.Repeat("u", 256)), Name: ptr(strings.Repeat("n", 1024)), ExpiresAt: ptr(now.Add(time.Millisecond)),
		AllowedIPs: ptr(make([]netip.Prefix, MaxNetworks)), Metadata: ptr(json.RawMessage(strings.Repeat(" ", MaxMetadata))),
	}
	scopes := make([]string, MaxScopes)
	for i := range scopes {
		scopes[i] = strings.Repeat("s", MaxScopesLen/MaxScopes)
	}
	f.Scopes = &scopes
	if err := f.CheckNew(now); err != nil {
		t.Error(err)
	}
	// A removed field has no bounds.
	nothing := Fields{Name: ptr(""), Scopes: ptr([]string{}), ExpiresAt: &time.Time{}, AllowedIPs: ptr([]netip.Prefix{}), Metadata: ptr(json.RawMessage(nil))}
	if err := nothing.CheckChange(now); err != nil {
		t.Error(err)
	}
}

func TestTheUserOfAKeyCannotChange(t *testing.T) {
	t.Parallel()
	for _, f := range []Fields{{UserID: ptr("u")}, {OrgID: ptr("")}, {ProjectID: ptr("p")}} {
		if err := f.CheckChange(now); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestAnUnknownOutcomeKeepsItsCause(t *testing.T) {
	t.Parallel()
	err := error(&UnknownError{KeyID: "k", Cause: ErrRefused})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "the key k") || strings.Contains(err.Error(), ErrRefused.Error()) {
		t.Error(err)
	}
}
