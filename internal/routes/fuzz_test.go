package routes

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// checkFuzzed checks the response to a random request.
func checkFuzzed(t *testing.T, got reply, keys ...string) {
	t.Helper()
	checkAlways(t, got, keys...)
	if got.StatusCode >= 500 && !(got.StatusCode == http.StatusServiceUnavailable && problemCodeOf(t, got.body) == "UNAVAILABLE") {
		t.Errorf("status %d: %s", got.StatusCode, got.body)
	}
	if strings.HasPrefix(got.Header.Get("Content-Type"), "application/problem+json") != (got.StatusCode >= 400) {
		t.Errorf("status %d as %s", got.StatusCode, got.Header.Get("Content-Type"))
	}
}

func FuzzVerify(f *testing.F) {
	var cases []goldenCase
	loadGolden(f, "verify.json", &cases)
	for _, c := range cases {
		if c.Send != nil {
			f.Add("application/json", *c.Send)
		}
	}
	f.Add("application/json; charset", `{"key":"key-of-root"}`)
	handler := newPublic(f, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(f)}})
	f.Fuzz(func(t *testing.T, contentType, body string) {
		r := httptest.NewRequest(http.MethodPost, api.PathVerify, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		got := answerOf(handler, r)
		// The secrets that the validator knows are in no answer, nor is a body.
		checkFuzzed(t, got, "key-of-root", "key-of-alice", "key-of-nobody")
		if len(body) > 40 && strings.Contains(got.body, body) {
			t.Errorf("the answer repeats the body: %s", got.body)
		}
		if got.StatusCode == http.StatusOK && !strings.Contains(contentType, "/") {
			t.Errorf("content type %q was accepted", contentType)
		}
	})
}

// FuzzWalkObjectAgreesWithEncodingJSON: the fields of a JSON object are those
// that encoding/json finds, in the same order and with the same values.
func FuzzWalkObjectAgreesWithEncodingJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":"b","c":["d"],"e":null}`, ` { "k\u0065y" : "\ud83d\ude00\n" , "n" : -1.5e3 } `, `{}`, `[]`, `"{}"`,
		`{"":{"":[{}]}}`, `{"a":"\ud800","b":1}`, `{"a":"\ud800\u0041"}`, `{"a":1,"\u0061":2}`, `{"a":"\"}","b":"{"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if !json.Valid([]byte(body)) || !utf8.ValidString(body) {
			t.Skip("is refused before")
		}
		want, twice, isObject := standardFields(body)
		// Half of a surrogate pair is the replacement character to both, but not always
		// with the same character after it; a name that has one is never known.
		if strings.Contains(strings.Join(want, ""), "\ufffd") {
			t.Skip("no name of ours")
		}
		var got []string
		problem := walkObject([]byte(body), func(name string, value gjson.Result) *callerError {
			if got = append(got, name, value.Raw); value.Type == gjson.String {
				var text string
				if err := json.Unmarshal([]byte(value.Raw), &text); err != nil || text != value.Str && !strings.Contains(text, "\ufffd") {
					t.Errorf("%s is %q, want %q: %v", value.Raw, value.Str, text, err)
				}
			}
			return nil
		})
		if (problem != nil) != (twice || !isObject) || problem == nil && !slices.Equal(got, want) {
			t.Errorf("%s: %q and %v, want %q, twice %v, object %v", body, got, problem, want, twice, isObject)
		}
	})
}

// standardFields are the names and the raw values of an object, by encoding/json.
func standardFields(body string) (fields []string, twice, isObject bool) {
	tokens := json.NewDecoder(strings.NewReader(body))
	if next(tokens) != json.Delim('{') {
		return nil, false, false
	}
	seen := map[string]bool{}
	for tokens.More() {
		name, _ := next(tokens).(string)
		var value json.RawMessage
		_ = tokens.Decode(&value)
		twice = twice || seen[name]
		seen[name] = true
		fields = append(fields, name, string(value))
	}
	return fields, twice, true
}

func FuzzAuth(f *testing.F) {
	f.Add("GET", "scope=orders:refund&org_id=acme", "Bearer key-of-alice", "key-of-alice", "203.0.113.7, 10.0.0.1", "sid=key-of-root", "req-1")
	f.Add("PURGE", "api_key=key-of-root", "", "", "", "", "key-of-root")
	f.Add("OPTIONS", "scope=%zz", "Basic eA==", "key-unavailable-1", "unknown", "a", "\x00")
	sources, err := forwardauth.ParseKeySources([]string{"bearer", "x-api-key", "query:api_key", "cookie:sid"})
	if err != nil {
		f.Fatal(err)
	}
	proxies, err := forwardauth.ParseTrustedProxies([]string{"192.0.2.0/24", "10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	handler := newPublic(f, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(f), KeySources: sources, TrustedProxies: proxies}})
	f.Fuzz(func(t *testing.T, method, query, authorization, apiKey, forwarded, cookie, id string) {
		r := httptest.NewRequest(http.MethodGet, api.PathAuth, nil)
		r.Method, r.URL.RawQuery = method, query
		r.Header = http.Header{
			"Authorization": {authorization}, "X-Api-Key": {apiKey}, "X-Forwarded-For": {forwarded},
			"Cookie": {cookie}, "X-Request-Id": {id},
		}
		got := answerOf(handler, r)
		checkFuzzed(t, got)
		if got.StatusCode == http.StatusOK && (got.body != "" || got.Header.Get(forwardauth.HeaderUserID) == "") {
			t.Errorf("a yes with the body %q about %q", got.body, got.Header.Get(forwardauth.HeaderUserID))
		}
		if got.StatusCode != http.StatusOK && got.Header.Get(forwardauth.HeaderUserID) != "" {
			t.Errorf("status %d about %q", got.StatusCode, got.Header.Get(forwardauth.HeaderUserID))
		}
		// The same with a key that no answer holds by chance. (A scope that is
		// asked for is answered, and is not the client's to choose.)
		if strings.Contains(query, marker) {
			return
		}
		r.Header.Set("X-Api-Key", marker+apiKey)
		r.Header.Set("X-Request-Id", id+marker+apiKey)
		checkFuzzed(t, answerOf(handler, r), marker)
	})
}

// marker begins keys that are looked for in answers.
const marker = "Kq7-secret-Zx3"
