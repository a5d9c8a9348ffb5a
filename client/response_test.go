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
	"github.com/keytail/keytail/internal/strictjson"
)

// parse returns the verdict that a body has for a request.
func parse(body string, r auth.Request) (auth.Verdict, error) {
	response, err := parseResponse([]byte(body))
	if err != nil {
		return auth.Verdict{}, err
	}
	return response.verdict(&r)
}

func TestParseAllFields(t *testing.T) {
	got, err := parse(validBody, auth.Request{Scopes: []string{"a", "b:c"}, MinRevision: 0x6923a1c000000003})
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

// with returns the valid body with one part replaced.
func with(old, replacement string) string {
	if !strings.Contains(validBody, old) {
		panic(old)
	}
	return strings.Replace(validBody, old, replacement, 1)
}

func manyFields() string {
	var all strings.Builder
	for i := range strictjson.MaxFields {
		fmt.Fprintf(&all, `"f%d":0,`, i)
	}
	return all.String()
}

// Inconsistent and incomplete responses are rejected.
func TestRejectedResponses(t *testing.T) {
	for name, test := range map[string]struct {
		body    string
		request auth.Request
		want    error
	}{
		"empty":                         {``, auth.Request{}, errNotObject},
		"null":                          {`null`, auth.Request{}, errNotObject},
		"array":                         {`[` + validBody + `]`, auth.Request{}, errNotObject},
		"string":                        {`"VALID"`, auth.Request{}, errNotObject},
		"empty object":                  {`{}`, auth.Request{}, errInconsistent},
		"truncated":                     {validBody[:len(validBody)-1], auth.Request{}, errNotObject},
		"truncated in a value":          {validBody[:len(validBody)-5], auth.Request{}, errNotObject},
		"two objects":                   {validBody + `{}`, auth.Request{}, errNotObject},
		"trailing bytes":                {validBody + `x`, auth.Request{}, errNotObject},
		"invalid UTF-8":                 {with(`"n"`, "\"\xff\""), auth.Request{}, errNotObject},
		"name without value":            {with(`"valid":true`, `"valid"`), auth.Request{}, errNotObject},
		"too many fields":               {with(`"valid"`, manyFields()+`"valid"`), auth.Request{}, errDuplicateField},
		"escaped duplicate":             {with(`"valid":true`, `"valid":true,"\u0076alid":true`), auth.Request{}, errDuplicateField},
		"valid is false":                {with(`"valid":true`, `"valid":false`), auth.Request{}, errInconsistent},
		"valid is null":                 {with(`"valid":true`, `"valid":null`), auth.Request{}, errInconsistent},
		"valid is absent":               {with(`"valid":true,`, ``), auth.Request{}, errInconsistent},
		"valid is a string":             {with(`"valid":true`, `"valid":"true"`), auth.Request{}, errFieldType},
		"valid is a number":             {with(`"valid":true`, `"valid":1`), auth.Request{}, errFieldType},
		"VALID in other case":           {with(`"valid"`, `"Valid"`), auth.Request{}, errInconsistent},
		"duplicate":                     {with(`"valid":true`, `"valid":true,"valid":true`), auth.Request{}, errDuplicateField},
		"duplicate of another field":    {with(`"name"`, `"key_id":"l","name"`), auth.Request{}, errDuplicateField},
		"code is null":                  {with(`"VALID"`, `null`), auth.Request{}, errInconsistent},
		"code contradicts valid":        {with(`"VALID"`, `"DISABLED"`), auth.Request{}, errInconsistent},
		"code in other case":            {with(`"VALID"`, `"valid"`), auth.Request{}, errInconsistent},
		"code is unavailable":           {`{"valid":false,"code":"UNAVAILABLE"}`, auth.Request{}, errInconsistent},
		"code is missing":               {`{"valid":false,"code":"MISSING"}`, auth.Request{}, errInconsistent},
		"invalid code":                  {`{"valid":false,"code":"NO\r\nX-Forged: 1"}`, auth.Request{}, errInconsistent},
		"valid with unknown code":       {`{"valid":true,"code":"PROBABLY","key_id":"k"}`, auth.Request{}, errInconsistent},
		"key_id is null":                {with(`"key_id":"k"`, `"key_id":null`), auth.Request{}, errNoIdentity},
		"key_id is empty":               {with(`"key_id":"k"`, `"key_id":""`), auth.Request{}, errNoIdentity},
		"no user_id":                    {with(`"user_id":"u",`, ``), auth.Request{}, errNoIdentity},
		"scopes is null":                {with(`"scopes":["a","b:*"]`, `"scopes":null`), auth.Request{}, errNoIdentity},
		"scope is null":                 {with(`["a",`, `[null,`), auth.Request{}, errNoIdentity},
		"scopes is a string":            {with(`["a","b:*"]`, `"a b"`), auth.Request{}, errFieldType},
		"staleness_ms is null":          {with(`"staleness_ms":412`, `"staleness_ms":null`), auth.Request{}, errNoStaleness},
		"no as_of":                      {with(`"as_of":"2026-11-23T20:00:00.120Z",`, ``), auth.Request{}, errNoStaleness},
		"negative staleness":            {with(`412`, `-1`), auth.Request{}, errFieldType},
		"huge staleness":                {with(`412`, `9223372036854775807`), auth.Request{}, errFieldType},
		"staleness is a string":         {with(`412`, `"412"`), auth.Request{}, errFieldType},
		"as_of is not a time":           {with(`"2026-11-23T20:00:00.120Z"`, `"now"`), auth.Request{}, errFieldType},
		"invalid revision":              {with(`"6923a1c000000003"`, `"newest"`), auth.Request{}, errFieldType},
		"metadata is a string":          {with(`{"x":[1]}`, `"x"`), auth.Request{}, errFieldType},
		"required scope missing":        {validBody, auth.Request{Scopes: []string{"a", "c"}}, errOtherRequest},
		"another org":                   {with(`"org_id":null`, `"org_id":"o"`), auth.Request{OrgID: "p"}, errOtherRequest},
		"org required":                  {with(`"org_id":null`, `"org_id":"o"`), auth.Request{RequireOrg: true}, errOtherRequest},
		"project required":              {with(`"project_id":null`, `"project_id":"p"`), auth.Request{RequireProject: true}, errOtherRequest},
		"another project":               {with(`"project_id":null`, `"project_id":"o"`), auth.Request{ProjectID: "p"}, errOtherRequest},
		"older revision":                {validBody, auth.Request{MinRevision: 0x6923a1c000000004}, errOldRevision},
		"no revision":                   {with(`"6923a1c000000003"`, `null`), auth.Request{MinRevision: 1}, errOldRevision},
		"NOT_FOUND without revision":    {`{"valid":false,"code":"NOT_FOUND"}`, auth.Request{MinRevision: 1}, errOldRevision},
		"unknown code without revision": {`{"valid":false,"code":"PAUSED"}`, auth.Request{MinRevision: 1}, errOldRevision},
	} {
		got, err := parse(test.body, test.request)
		if !errors.Is(err, test.want) || got.Valid() || got.Code != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestRefusalsAndUnknownValues(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want auth.Verdict
	}{
		"malformed":             {`{"valid":false,"code":"MALFORMED"}`, auth.Verdict{Code: auth.Malformed}},
		"not found":             {`{"valid":false,"code":"NOT_FOUND","source":"fill","as_of":"2026-11-23T20:00:00Z","staleness_ms":0,"revision":"0000000000000007"}`, auth.Verdict{Code: auth.NotFound, Source: "fill", AsOf: time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC), Revision: 7}},
		"not found with key_id": {`{"valid":false,"code":"NOT_FOUND","key_id":"k"}`, auth.Verdict{Code: auth.NotFound}},
		"disabled":              {`{"valid":false,"code":"DISABLED","key_id":"k","user_id":"u"}`, auth.Verdict{Code: auth.Disabled, Key: &auth.Key{KeyID: "k", UserID: "u"}}},
		"expired":               {`{"valid":false,"code":"EXPIRED","key_id":"k","scopes":["a"]}`, auth.Verdict{Code: auth.Expired, Key: &auth.Key{KeyID: "k", Scopes: []string{"a"}, Active: true}}},
		"forbidden":             {`{"valid":false,"code":"FORBIDDEN","key_id":"k"}`, auth.Verdict{Code: auth.Forbidden, Key: &auth.Key{KeyID: "k", Active: true}}},
		"reason":                {`{"valid":false,"code":"FORBIDDEN","key_id":"k","reason":"ip"}`, auth.Verdict{Code: auth.Forbidden, Reason: "ip", Key: &auth.Key{KeyID: "k", Active: true}}},
		"reason with a name":    {`{"valid":false,"code":"EXPIRED","key_id":"k","reason":"newer_one:a b:ü"}`, auth.Verdict{Code: auth.Expired, Reason: "newer_one:a b:ü", Key: &auth.Key{KeyID: "k", Active: true}}},
		"reason with a line":    {`{"valid":false,"code":"FORBIDDEN","key_id":"k","reason":"scope:a\nb"}`, auth.Verdict{Code: auth.Forbidden, Key: &auth.Key{KeyID: "k", Active: true}}},
		"reason without a key":  {`{"valid":false,"code":"NOT_FOUND","reason":"ip"}`, auth.Verdict{Code: auth.NotFound}},
		"unknown code":          {`{"valid":false,"code":"PAUSED_2","key_id":"k"}`, auth.Verdict{Code: "PAUSED_2", Key: &auth.Key{KeyID: "k", Active: true}}},
		"unknown field":         {`{"Valid":true,"newer":{"valid":[true]},"valid":false,"code":"NOT_FOUND"}`, auth.Verdict{Code: auth.NotFound}},
		"unknown source":        {`{"valid":false,"code":"NOT_FOUND","source":"oracle"}`, auth.Verdict{Code: auth.NotFound, Source: "oracle"}},
		"invalid source":        {`{"valid":false,"code":"NOT_FOUND","source":"a b"}`, auth.Verdict{Code: auth.NotFound}},
	} {
		got, err := parse(test.body, auth.Request{})
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if got, err := parse(with(`"valid":true`, `"reason":"ip","valid":true`), auth.Request{}); err != nil || got.Reason != "" {
		t.Errorf("VALID with a reason: %+v, %v", got, err)
	}
	got, err := parse(with(`"valid":true`, `"newer":[{"a":null}],"valid":true`), auth.Request{})
	if err != nil || !got.Valid() {
		t.Errorf("VALID with an unknown field: %+v, %v", got, err)
	}
}

// FuzzResponse compares parseResponse with json.Unmarshal: a VALID must be one in every
// field.
func FuzzResponse(f *testing.F) {
	for _, body := range []string{
		validBody, `{"valid":false,"code":"NOT_FOUND"}`, `{}`, ` { } `, `null`, `{"valid":true,"valid":false}`, `{"a":"\\\"}{","code":"NOT_FOUND" , "valid" : false }`, `{"a":{"valid":true}}`, validBody + validBody,
		with(`"valid":true`, `"Valid":true,"valid":true`), with(`412`, `4e2`), with(`["a","b:*"]`, `["*"]`), `{"valid":false,"code":"UNKNOWN_ONE"}`,
	} {
		f.Add([]byte(body), "a", "", false, uint64(0))
	}
	f.Fuzz(func(t *testing.T, body []byte, scope, org string, requireOrg bool, revision uint64) {
		r := auth.Request{OrgID: org, RequireOrg: requireOrg, MinRevision: auth.Revision(revision)}
		if scope != "" {
			r.Scopes = []string{scope}
		}
		v, err := parse(string(body), r)
		if err != nil {
			if v.Code != "" || v.Key != nil {
				t.Fatalf("%v, and %+v", err, v)
			}
			return
		}
		var plain map[string]json.RawMessage
		if !utf8.Valid(body) || json.Unmarshal(body, &plain) != nil {
			t.Fatal("accepted, but it is not an object")
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
			parsed, _ := json.Marshal(value)
			var want any
			if json.Unmarshal(plain[name], &want) != nil {
				t.Fatal(name)
			}
			if sent, _ := json.Marshal(want); string(sent) != string(parsed) && name != "staleness_ms" {
				t.Fatalf("%s is %s, parsed as %s", name, sent, parsed)
			}
		}
		if v.Key.OrgID != "" && v.Key.OrgID != org && (org != "" || requireOrg) {
			t.Fatalf("org %q for %q, required %v", v.Key.OrgID, org, requireOrg)
		}
	})
}

func BenchmarkParseResponse(b *testing.B) {
	body := []byte(validBody)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseResponse(body); err != nil {
			b.Fatal(err)
		}
	}
}
