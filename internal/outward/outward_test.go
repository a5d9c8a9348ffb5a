package outward_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/outward"
)

func TestEveryCodeHasItsName(t *testing.T) {
	want := map[apikey.Code]auth.Code{
		apikey.Unavailable: auth.Unavailable, apikey.Missing: auth.Missing, apikey.Malformed: auth.Malformed,
		apikey.NotFound: auth.NotFound, apikey.Disabled: auth.Disabled, apikey.Expired: auth.Expired,
		apikey.Forbidden: auth.Forbidden, apikey.InsufficientPermissions: auth.InsufficientPermissions, apikey.Valid: auth.Valid,
	}
	if len(want) != apikey.CodeCount {
		t.Errorf("%d codes are looked at, there are %d", len(want), apikey.CodeCount)
	}
	for code, name := range want {
		v, err := outward.Verdict(&apikey.Verdict{Code: code})
		if v.Code != name || errors.Is(err, auth.ErrUnavailable) != (code == apikey.Unavailable) || v.Valid() {
			t.Errorf("%v: %+v, %v", code, v, err)
		}
	}
}

func TestNothingOfAVerdictIsLost(t *testing.T) {
	now := time.Now()
	record := &apikey.Record{KeyID: "k", UserID: "u", Scopes: []string{"a"}, Active: true}
	v, err := outward.Verdict(&apikey.Verdict{Code: apikey.Valid, Source: apikey.SourceFill, Record: record, AsOf: now, Staleness: time.Second, Revision: 7})
	want := auth.Verdict{Code: auth.Valid, Key: &auth.Key{KeyID: "k", UserID: "u", Scopes: []string{"a"}, Active: true}, Source: auth.SourceFill, AsOf: now, Staleness: time.Second, Revision: 7}
	if diff := cmp.Diff(want, v); err != nil || diff != "" || !v.Valid() {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := outward.Verdict(&apikey.Verdict{Problem: apikey.RevisionAhead}); !errors.Is(err, auth.ErrRevisionAhead) {
		t.Errorf("a revision ahead: %v", err)
	}
}

func TestNothingOfARequestIsLost(t *testing.T) {
	asked := auth.Request{Scopes: []string{"a"}, OrgID: "o", ProjectID: "p", MinRevision: 9}
	want := apikey.Request{Scopes: []string{"a"}, OrgID: "o", ProjectID: "p", MinRevision: 9}
	if diff := cmp.Diff(want, outward.Request(&asked), cmp.Comparer(func(a, b apikey.Request) bool {
		return cmp.Equal(a.Scopes, b.Scopes) && a.OrgID == b.OrgID && a.ProjectID == b.ProjectID && a.IP == b.IP && a.MinRevision == b.MinRevision
	})); diff != "" {
		t.Error(diff)
	}
}
