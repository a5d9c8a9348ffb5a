package forwardauth

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/internal/apikey"
)

// allows is a Validator to which every key is valid, and is this record.
type allows apikey.Record

func (a *allows) Validate(context.Context, string, *apikey.Request) apikey.Verdict {
	return apikey.Verdict{Code: apikey.Valid, Record: (*apikey.Record)(a)}
}
func (*allows) Refuse(code apikey.Code) apikey.Verdict { return apikey.Verdict{Code: code} }

func mustIdentity(t *testing.T, names ...string) Identity {
	t.Helper()
	identity, err := ParseIdentity(names)
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// identityOf is what an answer says about for whom the key acts.
func identityOf(t *testing.T, config Config, asked http.Header) map[string]string {
	t.Helper()
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	if status, _ := a.Answer(&http.Request{Header: asked}, &Question{}, header); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	delete(header, HeaderResult)
	got := map[string]string{}
	for name, values := range header {
		got[name] = strings.Join(values, "|")
	}
	return got
}

// TestIdentityHeadersOfAnAnswer: a header without a value is there if it was chosen, or if
// the proxy needs it to overwrite the client's. Envoy is told to remove all that have none.
func TestIdentityHeadersOfAnAnswer(t *testing.T) {
	ordinary := &allows{KeyID: "k", UserID: "u", Scopes: []string{"a", "b"}}
	bound := &allows{KeyID: "k", UserID: "u", OrgID: "o", ProjectID: "p", Scopes: []string{"a"}}
	const remove = HeaderEnvoyRemove
	for name, test := range map[string]struct {
		config Config
		asked  http.Header
		want   map[string]string
	}{
		"those with a value": {
			Config{Validator: ordinary},
			nil,
			map[string]string{HeaderKeyID: "k", HeaderUserID: "u", HeaderScopes: "a b", remove: "x-auth-org-id,x-auth-project-id"},
		},
		"all have a value": {
			Config{Validator: bound},
			http.Header{HeaderOrgID: {"forged"}},
			map[string]string{HeaderKeyID: "k", HeaderUserID: "u", HeaderOrgID: "o", HeaderProjectID: "p", HeaderScopes: "a"},
		},
		"one is forged": {
			Config{Validator: ordinary},
			http.Header{HeaderOrgID: {""}},
			map[string]string{HeaderKeyID: "k", HeaderUserID: "u", HeaderOrgID: "", HeaderScopes: "a b", remove: "x-auth-org-id,x-auth-project-id"},
		},
		"a proxy that copies by name": {
			Config{Validator: ordinary},
			http.Header{"X-Forwarded-Uri": {"/"}},
			map[string]string{HeaderKeyID: "k", HeaderUserID: "u", HeaderOrgID: "", HeaderProjectID: "", HeaderScopes: "a b", remove: "x-auth-org-id,x-auth-project-id"},
		},
		"chosen": {
			Config{Validator: ordinary, Identity: mustIdentity(t, "x-auth-USER-id", HeaderOrgID, HeaderOrgID)},
			nil,
			map[string]string{HeaderUserID: "u", HeaderOrgID: "", remove: "x-auth-key-id,x-auth-project-id,x-auth-scopes"},
		},
		"not chosen, and forged": {
			Config{Validator: bound, Identity: mustIdentity(t, HeaderUserID)},
			http.Header{HeaderScopes: {"*"}},
			map[string]string{HeaderUserID: "u", HeaderScopes: "", remove: "x-auth-key-id,x-auth-org-id,x-auth-project-id,x-auth-scopes"},
		},
		"all chosen": {
			Config{Validator: ordinary, Identity: mustIdentity(t, IdentityHeaders()...)},
			nil,
			map[string]string{HeaderKeyID: "k", HeaderUserID: "u", HeaderOrgID: "", HeaderProjectID: "", HeaderScopes: "a b"},
		},
		"the transport removes": {
			Config{Validator: ordinary, RemovesAbsent: true},
			http.Header{HeaderOrgID: {"forged"}, "X-Forwarded-Uri": {"/"}},
			map[string]string{HeaderKeyID: "k", HeaderUserID: "u", HeaderScopes: "a b"},
		},
	} {
		if diff := cmp.Diff(test.want, identityOf(t, test.config, test.asked)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestIdentityHeadersAreNamed(t *testing.T) {
	_, err := ParseIdentity([]string{"X-Auth-User-Id", "User-Id", "X-Auth-Result"})
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, want := range []string{`"User-Id"`, `"X-Auth-Result"`, "X-Auth-Key-Id, X-Auth-User-Id, X-Auth-Org-Id, X-Auth-Project-Id, X-Auth-Scopes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not contain %s: %v", want, err)
		}
	}
}

// TestAnswersShareNoValues: the shared values of an answer cannot be changed through it.
func TestAnswersShareNoValues(t *testing.T) {
	a, err := New(Config{Validator: &allows{KeyID: "k", UserID: "u"}})
	if err != nil {
		t.Fatal(err)
	}
	answer := func() http.Header {
		header := http.Header{}
		a.Answer(&http.Request{}, &Question{}, header)
		return header
	}
	answer().Add(HeaderEnvoyRemove, "more")
	if got := answer()[HeaderEnvoyRemove]; len(got) != 1 || got[0] != "x-auth-org-id,x-auth-project-id,x-auth-scopes" {
		t.Errorf("%s is %q", HeaderEnvoyRemove, got)
	}
}
