package forwardauth

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

// everyone is a Validator that returns VALID for every key.
type everyone struct{}

func (everyone) Validate(context.Context, string, *apikey.Request) apikey.Verdict {
	return apikey.Verdict{Code: apikey.Valid, Record: &apikey.Record{KeyID: "k", UserID: "u", Scopes: []string{"a", "b"}}}
}
func (everyone) Refuse(code apikey.Code) apikey.Verdict { return apikey.Verdict{Code: code} }

func newAuthority(t *testing.T, sources ...string) *Authority {
	t.Helper()
	parsed, err := ParseKeySources(sources)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Validator: everyone{}, KeySources: parsed})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (q *questionCache) len() (n int) {
	q.byQuery.Range(func(any, any) bool { n++; return true })
	return n
}

func TestAQueryIsParsedOnce(t *testing.T) {
	a := newAuthority(t)
	for range 2 {
		q, mistake := a.ByQuery("scope=a&scope=b&org_id=acme")
		if mistake != nil || len(q.need.Scopes) != 2 || q.need.OrgID != "acme" {
			t.Errorf("%+v, %v", q, mistake)
		}
	}
	if n := a.cache.len(); n != 1 {
		t.Errorf("%d are remembered", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = a.ByQuery("scope=a&scope=b&org_id=acme") }); n > 1 {
		t.Errorf("%v allocations for one that is known", n)
	}
}

// TestQuestionCacheIsBounded: further queries are parsed each time.
func TestQuestionCacheIsBounded(t *testing.T) {
	a := newAuthority(t)
	for i := range 3 * maxQuestions {
		if q, mistake := a.ByQuery(fmt.Sprintf("scope=s%d", i)); mistake != nil || q.need.Scopes[0] != fmt.Sprintf("s%d", i) {
			t.Fatalf("%+v, %v", q, mistake)
		}
	}
	if n := a.cache.len(); n != maxQuestions {
		t.Errorf("%d are remembered, %d may be", n, maxQuestions)
	}
}

// TestQuestionCacheHasNoKey: neither if a query may contain one, nor by mistake.
func TestQuestionCacheHasNoKey(t *testing.T) {
	a := newAuthority(t, "query:api_key")
	if _, mistake := a.ByQuery("api_key=secret-secret&scope=a"); mistake != nil {
		t.Fatal(mistake)
	}
	b := newAuthority(t)
	if _, mistake := b.ByQuery("api_key=secret-secret"); mistake == nil {
		t.Error("something that is no requirement is taken")
	}
	if a.cache.len()+b.cache.len() != 0 {
		t.Error("a query with a key is remembered")
	}
}

// TestSharedHeaderValuesDoNotChange when something is added to a response.
func TestSharedHeaderValuesDoNotChange(t *testing.T) {
	a := newAuthority(t)
	for range 2 {
		header := http.Header{}
		SetUnavailable(header)
		if header.Get(HeaderResult) != "UNAVAILABLE" || header.Get(HeaderStaleness) != "" {
			t.Errorf("%v", header)
		}
		header.Add(HeaderResult, "x")
		header.Add(HeaderStaleness, "x")
		status, _ := a.Answer(&http.Request{Header: http.Header{"X-Api-Key": {"some-key-text"}}, RemoteAddr: "192.0.2.1:1"}, &Question{}, header)
		header.Add(HeaderKeyID, "x")
		if status != http.StatusOK || header.Get(HeaderResult) != "VALID" || header.Get(HeaderUserID) != "u" || header.Get(HeaderScopes) != "a b" || len(header[HeaderUserID]) != 1 {
			t.Errorf("%d %v", status, header)
		}
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := RequestID(&http.Request{Header: http.Header{}}, nil)
		if len(id) != 26 || !SafeRequestID(id) || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
}
