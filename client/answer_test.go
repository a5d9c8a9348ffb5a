package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/auth"
)

// read is what a body means for a request.
func read(body string, r auth.Request) (auth.Verdict, error) {
	a, err := parseAnswer([]byte(body))
	if err != nil {
		return auth.Verdict{}, err
	}
	return a.verdict(&r)
}

func TestAYesIsReadWhole(t *testing.T) {
	got, err := read(yes, auth.Request{Scopes: []string{"a", "b:c"}, MinRevision: 0x6923a1c000000003})
	want := auth.Verdict{
		Code: auth.Valid,
		Key: &auth.Key{
			KeyID: "k", UserID: "u", Name: "n", Scopes: []string{"a", "b:*"}, Active: true, Metadata: json.RawMessage(`{"x":[1]}`),
			ExpiresAt: time.Date(2027, 1, 2, 3, 4, 5, 6e8, time.UTC),
		},
		Source: auth.SourceCache, AsOf: time.Date(2026, 11, 23, 20, 0, 0, 120e6, time.UTC), Staleness: 412 * time.Millisecond,
		Revision: 0x6923a1c000000003,
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" || !got.Valid() {
		t.Errorf("%v %s", err, diff)
	}
}

// with is yes with one thing replaced.
func with(old, replacement string) string {
	if !strings.Contains(yes, old) {
		panic(old)
	}
	return strings.Replace(yes, old, replacement, 1)
}

func manyFields() string {
	var all strings.Builder
	for i := range maxFields {
		fmt.Fprintf(&all, `"f%d":0,`, i)
	}
	return all.String()
}

// TestWhatIsNoYes: an answer that contradicts itself, or says less than it must.
func TestWhatIsNoYes(t *testing.T) {
	for name, test := range map[string]struct {
		body    string
		request auth.Request
		want    error
	}{
		"empty":                {``, auth.Request{}, errNoJSON},
		"null":                 {`null`, auth.Request{}, errNoJSON},
		"an array":             {`[` + yes + `]`, auth.Request{}, errNoJSON},
		"a string":             {`"VALID"`, auth.Request{}, errNoJSON},
		"nothing said":         {`{}`, auth.Request{}, errTwoWords},
		"cut":                  {yes[:len(yes)-1], auth.Request{}, errNoJSON},
		"cut in a value":       {yes[:len(yes)-5], auth.Request{}, errNoJSON},
		"more behind":          {yes + `{}`, auth.Request{}, errNoJSON},
		"noise behind":         {yes + `x`, auth.Request{}, errNoJSON},
		"no UTF-8":             {with(`"n"`, "\"\xff\""), auth.Request{}, errNoJSON},
		"no object":            {with(`"valid":true`, `"valid"`), auth.Request{}, errNoJSON},
		"too many":             {with(`"valid"`, manyFields()+`"valid"`), auth.Request{}, errTwice},
		"twice, escaped":       {with(`"valid":true`, `"valid":true,"\u0076alid":true`), auth.Request{}, errTwice},
		"valid is false":       {with(`"valid":true`, `"valid":false`), auth.Request{}, errTwoWords},
		"valid is null":        {with(`"valid":true`, `"valid":null`), auth.Request{}, errTwoWords},
		"valid is absent":      {with(`"valid":true,`, ``), auth.Request{}, errTwoWords},
		"valid is a string":    {with(`"valid":true`, `"valid":"true"`), auth.Request{}, errWrongType},
		"valid is a number":    {with(`"valid":true`, `"valid":1`), auth.Request{}, errWrongType},
		"VALID in other case":  {with(`"valid"`, `"Valid"`), auth.Request{}, errTwoWords},
		"twice":                {with(`"valid":true`, `"valid":true,"valid":true`), auth.Request{}, errTwice},
		"twice, another":       {with(`"name"`, `"key_id":"l","name"`), auth.Request{}, errTwice},
		"code is null":         {with(`"VALID"`, `null`), auth.Request{}, errTwoWords},
		"code is another":      {with(`"VALID"`, `"DISABLED"`), auth.Request{}, errTwoWords},
		"code in other case":   {with(`"VALID"`, `"valid"`), auth.Request{}, errTwoWords},
		"code is unavailable":  {`{"valid":false,"code":"UNAVAILABLE"}`, auth.Request{}, errTwoWords},
		"code is missing":      {`{"valid":false,"code":"MISSING"}`, auth.Request{}, errTwoWords},
		"code is no code":      {`{"valid":false,"code":"NO\r\nX-Forged: 1"}`, auth.Request{}, errTwoWords},
		"a yes but no code":    {`{"valid":true,"code":"PROBABLY","key_id":"k"}`, auth.Request{}, errTwoWords},
		"nobody":               {with(`"key_id":"k"`, `"key_id":null`), auth.Request{}, errNobody},
		"an empty id":          {with(`"key_id":"k"`, `"key_id":""`), auth.Request{}, errNobody},
		"no user":              {with(`"user_id":"u",`, ``), auth.Request{}, errNobody},
		"no scopes":            {with(`"scopes":["a","b:*"]`, `"scopes":null`), auth.Request{}, errNobody},
		"a null scope":         {with(`["a",`, `[null,`), auth.Request{}, errNobody},
		"scopes are a string":  {with(`["a","b:*"]`, `"a b"`), auth.Request{}, errWrongType},
		"no age":               {with(`"staleness_ms":412`, `"staleness_ms":null`), auth.Request{}, errNoAge},
		"no time":              {with(`"as_of":"2026-11-23T20:00:00.120Z",`, ``), auth.Request{}, errNoAge},
		"a negative age":       {with(`412`, `-1`), auth.Request{}, errWrongType},
		"an endless age":       {with(`412`, `9223372036854775807`), auth.Request{}, errWrongType},
		"an age in words":      {with(`412`, `"412"`), auth.Request{}, errWrongType},
		"a time in words":      {with(`"2026-11-23T20:00:00.120Z"`, `"now"`), auth.Request{}, errWrongType},
		"a revision in words":  {with(`"6923a1c000000003"`, `"newest"`), auth.Request{}, errWrongType},
		"metadata in words":    {with(`{"x":[1]}`, `"x"`), auth.Request{}, errWrongType},
		"a scope is not held":  {yes, auth.Request{Scopes: []string{"a", "c"}}, errOtherQuestion},
		"another org":          {with(`"org_id":null`, `"org_id":"o"`), auth.Request{OrgID: "p"}, errOtherQuestion},
		"an org, unasked":      {with(`"org_id":null`, `"org_id":"o"`), auth.Request{}, errOtherQuestion},
		"another project":      {with(`"project_id":null`, `"project_id":"o"`), auth.Request{ProjectID: "p"}, errOtherQuestion},
		"an earlier revision":  {yes, auth.Request{MinRevision: 0x6923a1c000000004}, errTooEarly},
		"no revision":          {with(`"6923a1c000000003"`, `null`), auth.Request{MinRevision: 1}, errTooEarly},
		"a no without one":     {`{"valid":false,"code":"NOT_FOUND"}`, auth.Request{MinRevision: 1}, errTooEarly},
		"a new no without one": {`{"valid":false,"code":"PAUSED"}`, auth.Request{MinRevision: 1}, errTooEarly},
	} {
		got, err := read(test.body, test.request)
		if !errors.Is(err, test.want) || got.Valid() || got.Code != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestRefusalsAndWhatIsNewer(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want auth.Verdict
	}{
		"malformed":      {`{"valid":false,"code":"MALFORMED"}`, auth.Verdict{Code: auth.Malformed}},
		"not found":      {`{"valid":false,"code":"NOT_FOUND","source":"fill","as_of":"2026-11-23T20:00:00Z","staleness_ms":0,"revision":"0000000000000007"}`, auth.Verdict{Code: auth.NotFound, Source: "fill", AsOf: time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC), Revision: 7}},
		"nobody's":       {`{"valid":false,"code":"NOT_FOUND","key_id":"k"}`, auth.Verdict{Code: auth.NotFound}},
		"disabled":       {`{"valid":false,"code":"DISABLED","key_id":"k","user_id":"u"}`, auth.Verdict{Code: auth.Disabled, Key: &auth.Key{KeyID: "k", UserID: "u"}}},
		"expired":        {`{"valid":false,"code":"EXPIRED","key_id":"k","scopes":["a"]}`, auth.Verdict{Code: auth.Expired, Key: &auth.Key{KeyID: "k", Scopes: []string{"a"}, Active: true}}},
		"forbidden":      {`{"valid":false,"code":"FORBIDDEN","key_id":"k"}`, auth.Verdict{Code: auth.Forbidden, Key: &auth.Key{KeyID: "k", Active: true}}},
		"a new code":     {`{"valid":false,"code":"PAUSED_2","key_id":"k"}`, auth.Verdict{Code: "PAUSED_2", Key: &auth.Key{KeyID: "k", Active: true}}},
		"a new field":    {`{"Valid":true,"newer":{"valid":[true]},"valid":false,"code":"NOT_FOUND"}`, auth.Verdict{Code: auth.NotFound}},
		"a new source":   {`{"valid":false,"code":"NOT_FOUND","source":"oracle"}`, auth.Verdict{Code: auth.NotFound, Source: "oracle"}},
		"no such source": {`{"valid":false,"code":"NOT_FOUND","source":"a b"}`, auth.Verdict{Code: auth.NotFound}},
	} {
		got, err := read(test.body, auth.Request{})
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	got, err := read(with(`"valid":true`, `"newer":[{"a":null}],"valid":true`), auth.Request{})
	if err != nil || !got.Valid() {
		t.Errorf("a yes with a new field: %+v, %v", got, err)
	}
}

// FuzzAnswer holds the reader against a plain one: whatever comes, a yes is one in
// each of its words, and nothing of what comes is in an error.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		yes, `{"valid":false,"code":"NOT_FOUND"}`, `{}`, ` { } `, `null`, `{"valid":true,"valid":false}`, `{"a":"\\\"}{","code":"NOT_FOUND" , "valid" : false }`, `{"a":{"valid":true}}`, yes + yes,
		with(`"valid":true`, `"Valid":true,"valid":true`), with(`412`, `4e2`), with(`["a","b:*"]`, `["*"]`), `{"valid":false,"code":"UNKNOWN_ONE"}`,
	} {
		f.Add([]byte(body), "a", "", uint64(0))
	}
	f.Fuzz(func(t *testing.T, body []byte, scope, org string, revision uint64) {
		r := auth.Request{OrgID: org, MinRevision: auth.Revision(revision)}
		if scope != "" {
			r.Scopes = []string{scope}
		}
		v, err := read(string(body), r)
		if err != nil {
			if v.Code != "" || v.Key != nil {
				t.Fatalf("%v, and %+v", err, v)
			}
			return
		}
		var plain map[string]json.RawMessage
		if !utf8.Valid(body) || json.Unmarshal(body, &plain) != nil {
			t.Fatal("it is no object")
		}
		if v.Code == "" || (string(plain["valid"]) == "true") != v.Valid() || v.Valid() != (v.Code == auth.Valid) {
			t.Fatalf("%+v of %s", v, body)
		}
		if !v.Valid() {
			return
		}
		if v.Key.KeyID == "" || v.Key.UserID == "" || v.AsOf.IsZero() || v.Staleness < 0 || v.Revision < r.MinRevision {
			t.Fatalf("%+v of %s", v, body)
		}
		for name, value := range map[string]any{"key_id": v.Key.KeyID, "user_id": v.Key.UserID, "scopes": v.Key.Scopes, "staleness_ms": v.Staleness.Milliseconds()} {
			mine, _ := json.Marshal(value)
			var theirs any
			if json.Unmarshal(plain[name], &theirs) != nil {
				t.Fatal(name)
			}
			if again, _ := json.Marshal(theirs); string(again) != string(mine) && name != "staleness_ms" {
				t.Fatalf("%s is %s, and %s was read", name, again, mine)
			}
		}
		if v.Key.OrgID != "" && v.Key.OrgID != org {
			t.Fatalf("org %q for %q", v.Key.OrgID, org)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	body := []byte(yes)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseAnswer(body); err != nil {
			b.Fatal(err)
		}
	}
}
