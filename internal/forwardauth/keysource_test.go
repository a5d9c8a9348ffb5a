package forwardauth

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestParseKeySources(t *testing.T) {
	t.Parallel()
	sources, err := ParseKeySources([]string{
		"query:api_key", "bearer", "x-api-key", "header:X-API-KEY", "header:x-session", "cookie:sid", "bearer",
	})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, source := range sources {
		texts = append(texts, source.String())
	}
	want := []string{"query:api_key", "bearer", "x-api-key", "header:X-Session", "cookie:sid"}
	if !slices.Equal(texts, want) {
		t.Errorf("%q, want %q", texts, want)
	}
	again, err := ParseKeySources(texts)
	if err != nil || !slices.Equal(again, sources) {
		t.Errorf("String is not read back: %v, %v", again, err)
	}
}

func TestDefaultKeySources(t *testing.T) {
	t.Parallel()
	sources, err := ParseKeySources(nil)
	if err != nil || len(sources) != 2 || sources[0].String() != "bearer" || sources[1].String() != "x-api-key" {
		t.Errorf("%v, %v", sources, err)
	}
}

func TestParseKeySourcesNamesEachMistake(t *testing.T) {
	t.Parallel()
	mistakes := []string{
		"", "Bearer", "basic", "header", "header:", "header:a b", "header:a:b", "query:", "query:ä", "cookie:a;b",
		"header:authorization", "header:cookie", "header:x-request-id", "header:host", "header:x-forwarded-for", "header:x-auth-user-id", "header:X-AUTH-SCOPES", "header:x-auth-result",
		"query:scope", "query:org_id", "query:project_id", "query:require_org", "query:require_project", " bearer", "bearer,x-api-key",
	}
	_, err := ParseKeySources(append(mistakes, "bearer"))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(mistakes) {
		t.Errorf("%d mistakes, %d lines:\n%v", len(mistakes), len(lines), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, `key source "`+mistakes[i]) {
			t.Errorf("%q is reported as %s", mistakes[i], line)
		}
	}
}

func TestParseTrustedProxiesNamesEachMistake(t *testing.T) {
	t.Parallel()
	networks, err := ParseTrustedProxies([]string{"10.0.0.0/8", "x", "::1", "10.0.0.0/33"})
	if len(networks) != 2 || err == nil || strings.Count(err.Error(), "\n") != 1 ||
		!strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), `"10.0.0.0/33"`) {
		t.Errorf("%v, %v", networks, err)
	}
}

func TestBearerToken(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", "BEARER    abc": "abc", "Bearer a b": "a b",
		"Bearer": "", "Bearer ": "", "": "", "abc": "", "Basic abc": "", "Bearerabc": "", "Bearer\tabc": "", " Bearer abc": "",
	} {
		if got := BearerToken(value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// TestContainsKeyInJoinedHeaders: a proxy may have joined headers, and a key is found in each of the parts.
func TestContainsKeyInJoinedHeaders(t *testing.T) {
	t.Parallel()
	const key = "key-of-root"
	sources, err := ParseKeySources([]string{"bearer", "x-api-key", "cookie:sid"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, value, text string
		want              bool
	}{
		{"X-Api-Key", key + ",b", key, true},
		{"X-Api-Key", "b, " + key + " ,c", "id-" + key, true},
		{"Authorization", "Bearer b,bearer " + key, key, true},
		{"Authorization", "Basic b,Bearer " + key, key, true},
		{"Cookie", "a=b,sid=" + key, key, true},
		{"Authorization", "Digest a=b," + key, key, false},
		{"Cookie", "sid=b,other=" + key, key, false},
		{"Accept", "a," + key, key, false},
		{"X-Api-Key", "a,b,", "an-id-with-a-and-b", false}, // too short to be keys
	} {
		r := &http.Request{Header: http.Header{test.name: {test.value}}}
		if got := ContainsKey(test.text, r, sources); got != test.want {
			t.Errorf("%s: %s, %s: got %v", test.name, test.value, test.text, got)
		}
	}
}
