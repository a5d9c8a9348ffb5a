package coreauth

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
)

func TestPublicVerdictHasTheNameOfEachCode(t *testing.T) {
	want := map[apikey.Code]auth.Code{
		apikey.Unavailable: auth.Unavailable, apikey.Missing: auth.Missing, apikey.Malformed: auth.Malformed,
		apikey.NotFound: auth.NotFound, apikey.Disabled: auth.Disabled, apikey.Expired: auth.Expired,
		apikey.Forbidden: auth.Forbidden, apikey.InsufficientPermissions: auth.InsufficientPermissions, apikey.Valid: auth.Valid,
	}
	if len(want) != apikey.CodeCount {
		t.Errorf("this test has %d codes, package apikey has %d", len(want), apikey.CodeCount)
	}
	for code, name := range want {
		v, err := publicVerdict(&apikey.Verdict{Code: code})
		if v.Code != name || errors.Is(err, auth.ErrUnavailable) != (code == apikey.Unavailable) || v.Valid() {
			t.Errorf("%v: %+v, %v", code, v, err)
		}
	}
}

func TestPublicVerdictHasTheNameOfEachSource(t *testing.T) {
	for source, name := range map[apikey.Source]auth.Source{
		apikey.SourceNone: auth.SourceNone, apikey.SourceCache: auth.SourceCache, apikey.SourceFill: auth.SourceFill,
		apikey.SourceDirect: auth.SourceDirect, apikey.SourceLinearizable: auth.SourceLinearizable,
	} {
		if v, _ := publicVerdict(&apikey.Verdict{Source: source}); v.Source != name {
			t.Errorf("%v: %q, want %q", source, v.Source, name)
		}
	}
}

func TestPublicVerdictHasAllFields(t *testing.T) {
	now := time.Now()
	record := &apikey.Record{KeyID: "k", UserID: "u", Scopes: []string{"a"}, Active: true}
	v, err := publicVerdict(&apikey.Verdict{Code: apikey.Valid, Source: apikey.SourceFill, Reason: apikey.Reason{Kind: apikey.ReasonScope, Name: "b"}, Record: record, AsOf: now, Staleness: time.Second, Revision: 7})
	want := auth.Verdict{Code: auth.Valid, Key: &auth.Key{KeyID: "k", UserID: "u", Scopes: []string{"a"}, Active: true}, Source: auth.SourceFill, Reason: "scope:b", AsOf: now, Staleness: time.Second, Revision: 7}
	if diff := cmp.Diff(want, v); err != nil || diff != "" || !v.Valid() {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := publicVerdict(&apikey.Verdict{Problem: apikey.RevisionAhead}); !errors.Is(err, auth.ErrRevisionAhead) {
		t.Errorf("RevisionAhead: %v", err)
	}
}

func TestInternalRequestHasAllFields(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.1")
	got := internalRequest(&auth.Request{Scopes: []string{"a"}, OrgID: "o", ProjectID: "p", RequireOrg: true, RequireProject: true, IP: ip, MinRevision: 9})
	want := apikey.Request{Scopes: []string{"a"}, OrgID: "o", ProjectID: "p", RequireOrg: true, RequireProject: true, IP: ip, MinRevision: 9}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}
