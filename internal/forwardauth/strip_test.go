package forwardauth

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestStripRemovesOnlyTheKey(t *testing.T) {
	t.Parallel()
	sources, err := ParseKeySources([]string{"bearer", "header:x-session", "query:api_key", "cookie:sid"})
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{
		Header: http.Header{
			"Authorization": {"Bearer k", "Basic dTpw", "bearer k2", "BEARER"},
			"X-Session":     {"k", "k"},
			"X-Api-Key":     {"kept"},
			"Cookie":        {"a=1; sid=k; b=2", "sid=k", " sid =k;c=3"},
		},
		URL: &url.URL{Path: "/a", RawQuery: "x=%2F&api_key=k&api%5Fkey=k&api_key&y=&=&api_keys=1"},
	}
	Strip(sources, r)
	want := http.Header{"Authorization": {"Basic dTpw"}, "X-Api-Key": {"kept"}, "Cookie": {"a=1; b=2", "c=3"}}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Error(diff)
	}
	if r.URL.RawQuery != "x=%2F&y=&=&api_keys=1" {
		t.Errorf("the query is %q", r.URL.RawQuery)
	}
}

// TestStripLeavesNoKey: after Strip no source finds anything.
func TestStripLeavesNoKey(t *testing.T) {
	t.Parallel()
	sources, err := ParseKeySources([]string{"bearer", "x-api-key", "query:k", "cookie:sid"})
	if err != nil {
		t.Fatal(err)
	}
	texts := rapid.SliceOfN(rapid.StringMatching(`[a-zA-Z0-9=;& %+.,"-]{0,16}`), 0, 3)
	word := rapid.SampledFrom([]string{"", "Bearer x", "bearer  x", "sid=x", "sid=x;sid=y", "a=b;sid=x", "sid", "k=x", "k=1&k=2", "%6b=x"})
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) []string {
			return append(texts.Draw(t, name), word.Draw(t, name), word.Draw(t, name))
		}
		r := &http.Request{Header: http.Header{"Authorization": draw("authorization"), "X-Api-Key": draw("key"), "Cookie": draw("cookie")}, URL: &url.URL{}}
		for _, part := range draw("query") {
			r.URL.RawQuery += part + "&"
		}
		Strip(sources, r)
		// What cannot be read of a query is left out, as where a key is looked for.
		query, _ := url.ParseQuery(r.URL.RawQuery)
		if text, _ := FindKey(sources, r, query); text != "" {
			t.Fatalf("%q is left in %v and %q", text, r.Header, r.URL.RawQuery)
		}
	})
}
