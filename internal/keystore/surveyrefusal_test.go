package keystore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

// keysWith are n valid documents with these changes.
func keysWith(t *testing.T, n int, changes ...bson.E) []bson.Raw {
	t.Helper()
	docs := make([]bson.Raw, n)
	for i := range docs {
		id := fmt.Sprint("key ", i)
		if len(changes) > 0 {
			id = fmt.Sprint(changes[0].Key, " ", i)
		}
		docs[i] = keyOf(t, id, changes...)
	}
	return docs
}

func off() bson.E     { return bson.E{Key: "is_active", Value: false} }
func expired() bson.E { return bson.E{Key: "expires_at", Value: time.Now().Add(-time.Hour)} }
func unreadable() bson.E {
	return bson.E{Key: "user_id", Value: absent}
}

func joined(lists ...[]bson.Raw) []bson.Raw {
	var all []bson.Raw
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func TestStartIsRefusedWithoutAUsableKey(t *testing.T) {
	t.Parallel()
	given := func(s *Schema) { s.ActiveForm, s.ExpiresForm = ActiveBoolean, ExpiresDate }
	for name, test := range map[string]struct {
		change func(*Schema)
		docs   []bson.Raw
		kind   error // nil: starts
		want   string
	}{
		"empty":                {nil, nil, nil, ""},
		"one usable":           {nil, joined(keysWith(t, 3, off()), keysWith(t, 1), keysWith(t, 3, unreadable())), nil, ""},
		"one revoked":          {nil, keysWith(t, 1, off()), ErrUnusable, "1 disabled (is_active, --map-active-form=boolean). If that is wrong, set --map-active-form=negated if true means off in is_active, or another field with --map-active; if it is right, start with --map-active-form=boolean"},
		"one expired":          {nil, keysWith(t, 1, expired()), ErrUnusable, "1 expired (expires_at, --map-expires-form=date). If that is wrong, set another field than expires_at with --map-expires-at; if it is right, start with --map-expires-form=date"},
		"of all kinds":         {nil, joined(keysWith(t, 3, off()), keysWith(t, 2, expired()), keysWith(t, 1, unreadable())), ErrUnusable, "3 disabled (is_active, --map-active-form=boolean), 2 expired (expires_at, --map-expires-form=date), 1 unreadable: user_id is missing (1: "},
		"both must be said":    {nil, joined(keysWith(t, 3, off()), keysWith(t, 2, expired())), ErrUnusable, "start with --map-active-form=boolean and --map-expires-form=date"},
		"only one was said":    {func(s *Schema) { s.ActiveForm = ActiveBoolean }, joined(keysWith(t, 3, off()), keysWith(t, 2, expired())), ErrUnusable, "if it is right, start with --map-expires-form=date"},
		"both were said":       {given, joined(keysWith(t, 3, off()), keysWith(t, 2, expired()), keysWith(t, 1, unreadable())), nil, ""},
		"one, and it was said": {given, keysWith(t, 1, off()), nil, ""},
		"none is readable":     {nil, keysWith(t, 3, unreadable()), ErrNoKeys, "has a field user_id"},
		"none is readable, for different reasons": {
			given, joined(keysWith(t, 2, unreadable()), keysWith(t, 1, bson.E{Key: "scopes", Value: "leak"})), ErrNoKeys,
			"none of the 3 documents read from shop.api_keys can be read as a key: user_id is missing (2: ",
		},
	} {
		if test.change == nil {
			test.change = func(*Schema) {}
		}
		found := surveyed(t, in(test.change), test.docs...)
		err := found.StartError()
		if test.kind == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantSentence(t, err, test.kind, test.want)
		wantNoLeak(t, found, err.Error())
	}
}

func TestKeysThatAreMostlyOffAreAWarning(t *testing.T) {
	t.Parallel()
	said := in(func(s *Schema) { s.ActiveForm, s.ExpiresForm = ActiveBoolean, ExpiresDate })
	for name, test := range map[string]struct {
		docs []bson.Raw
		want string // empty: none
	}{
		"half":          {joined(keysWith(t, 2, off()), keysWith(t, 2)), ""},
		"most":          {joined(keysWith(t, 3, off()), keysWith(t, 2), keysWith(t, 9, unreadable())), "most keys are off: 3 of 5 in the 14 documents"},
		"most, expired": {joined(keysWith(t, 3, expired()), keysWith(t, 2)), ""},
		"all, as said":  {keysWith(t, 3, off()), "none of the 3 documents read from shop.api_keys can be used now: 3 disabled (is_active, --map-active-form=boolean)"},
		"all, expired":  {keysWith(t, 3, expired()), "none of the 3 documents read from shop.api_keys can be used now: 3 expired"},
	} {
		got := surveyed(t, said, test.docs...).usableWarning()
		if (got == "") != (test.want == "") || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestInvertedSwitchIsRefusedByItsName needs no document.
func TestInvertedSwitchIsRefusedByItsName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		form ActiveForm
		err  string // empty: none
		warn string // empty: none
	}{
		{"revoked", "", `is called "revoked", which says that true switches a key off`, ""},
		{"isDisabled", "", "set --map-active-form=negated, or no-date if it holds the time of revocation (or boolean, if true really means that the key may be used)", ""},
		{"revoked_at", "", "no-date", ""},
		{"revoked", ActiveBoolean, "", `is called "revoked", and --map-active-form=boolean was given, so a key is on while the field is true`},
		{"revoked", ActiveNegated, "", ""},
		{"revoked_at", ActiveNoDate, "", ""},
		{"not_revoked", "", "", ""},
		{"state", "", "", ""},
		{"enabled", "", "", ""},
		{"enabled", ActiveBoolean, "", ""},
		{"enabled", ActiveNegated, "", "off while the field is true"},
		{"activatedAt", ActiveNoDate, "", "off as soon as the field holds a date"},
	} {
		s := in(func(s *Schema) { s.Active, s.ActiveForm = test.name, test.form })
		err := fmt.Sprint(s.Validate())
		if (err == "<nil>") != (test.err == "") || !strings.Contains(err, test.err) && test.err != "" {
			t.Errorf("%s, %q: %v, want %q", test.name, test.form, err, test.err)
		}
		if got := strings.Join(s.Warnings(), "|"); (got == "") != (test.warn == "") || !strings.Contains(got, test.warn) {
			t.Errorf("%s, %q: warned %q, want %q", test.name, test.form, got, test.warn)
		}
	}
}

// TestInvertedMappingsOfTheTrial: the collection has a switch "revoked", and its
// expiry in seconds.
func TestInvertedMappingsOfTheTrial(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		var docs []any
		for i := range 120 {
			docs = append(docs, keyOf(t, fmt.Sprintf("k%03d", i), bson.E{Key: "is_active", Value: absent},
				bson.E{Key: "revoked", Value: i%10 == 0}, bson.E{Key: "expires_at", Value: time.Now().AddDate(1, 0, 0).Unix()}))
		}
		p, logs := storeOf(t, s, docs...)
		p.index(t, onHash, options.Index().SetUnique(true))
		for name, test := range map[string]struct {
			switchForm ActiveForm
			expires    ExpiresForm
			want       string // empty: starts
		}{
			"as it is":     {ActiveNegated, ExpiresUnix, ""},
			"milliseconds": {ActiveNegated, ExpiresUnixMilli, "and 120 are as unix: set --map-expires-form=unix"},
			"dates":        {ActiveNegated, "", "and 120 are as unix: set --map-expires-form=unix"},
			"inverted":     {ActiveBoolean, ExpiresUnix, ""},
		} {
			p.schema = in(func(s *Schema) {
				s.Active, s.ActiveForm, s.ExpiresForm = "revoked", test.switchForm, test.expires
			})
			logs.TakeAll()
			err := p.Prepare(testContext(t), false)
			if test.want != "" {
				wantSentence(t, err, ErrUnusable, test.want)
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if said := logs.FilterMessageSnippet("the name says the opposite").Len(); said != map[ActiveForm]int{ActiveBoolean: 1}[test.switchForm] {
				t.Errorf("%s: that the form contradicts the name was logged %d times", name, said)
			}
			if said := logs.FilterMessageSnippet("most keys are off: 90 of 100").Len(); said != map[ActiveForm]int{ActiveBoolean: 1}[test.switchForm] {
				t.Errorf("%s: that most keys are off was logged %d times", name, said)
			}
		}
	})
}

// TestStartLooksFurtherBeforeItRefuses: the oldest and the newest keys may all
// have expired while others are in use.
func TestStartLooksFurtherBeforeItRefuses(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		var docs []any
		for i := range 180 {
			doc := keyOf(t, fmt.Sprintf("k%03d", i), expired())
			if i == 90 {
				doc = keyOf(t, "k090")
			}
			docs = append(docs, doc)
		}
		p, _ := storeOf(t, s, docs...)
		p.index(t, onHash, options.Index().SetUnique(true))
		if err := p.Prepare(testContext(t), false); err != nil {
			t.Error(err)
		}
		if _, err := p.db.Collection("api_keys").DeleteOne(testContext(t), bson.D{{Key: "_id", Value: "k090"}}); err != nil {
			t.Fatal(err)
		}
		wantSentence(t, p.Prepare(testContext(t), false), ErrUnusable, "none of the 179 documents read from ")
	})
}

func TestImplausibleDates(t *testing.T) {
	t.Parallel()
	now := time.Now().AddDate(1, 0, 0)
	const (
		field = "expires_at"
		never = 253402300799 // the end of the year 9999
	)
	key := func(name string, values ...any) []bson.Raw {
		var docs []bson.Raw
		for i, value := range values {
			docs = append(docs, keyOf(t, fmt.Sprint(name, i), bson.E{Key: name, Value: value}))
		}
		return docs
	}
	for name, test := range map[string]struct {
		form ExpiresForm
		docs []bson.Raw
		err  string // empty: none
		warn string // empty: none
	}{
		"plausible":                        {ExpiresUnix, key(field, now.Unix(), int32(now.Unix()), nil, absent), "", ""},
		"seconds as milliseconds":          {ExpiresUnixMilli, key(field, now.Unix(), nil), "the only value of expires_at (the expiry) in the 2 documents read from shop.api_keys is not a plausible date as --map-expires-form=unix-ms (before the year 2000 in 1: expires_at0), and it is as unix: set --map-expires-form=unix", "1 of the 1 values are plausible as --map-expires-form=unix, and 0 as unix-ms"},
		"milliseconds as seconds":          {ExpiresUnix, key(field, now.UnixMilli(), nil), "(unreadable in 1: expires_at0), and it is as unix-ms", "cannot be read as "},
		"old milliseconds as seconds":      {ExpiresUnix, key(field, int64(200e9), int64(3e11)), "", "is after the year 2200 in 1 of the 2 documents read from shop.api_keys (expires_at0): these keys practically never expire"},
		"a number as a date":               {"", key(field, now.Unix(), now.Unix(), nil), "and 2 are as unix: set --map-expires-form=unix", "cannot be read as "},
		"milliseconds as a date":           {"", key(field, now.UnixMilli()), "set --map-expires-form=unix-ms", "cannot be read as "},
		"a date as a number":               {ExpiresUnix, key(field, now), "set --map-expires-form=date", "cannot be read as "},
		"some in seconds":                  {ExpiresUnixMilli, key(field, now.Unix(), now.UnixMilli()), "", "before the year 2000 in 1 of the 2 documents read from shop.api_keys (expires_at0): these keys are EXPIRED; 1 of the 2 values are plausible as --map-expires-form=unix, and 1 as unix-ms, but all documents must have one form"},
		"seconds and milliseconds":         {ExpiresUnix, key(field, now.Unix(), now.UnixMilli()), "", "the expiry in expires_at cannot be read as unix in 1 of the 2 documents read from shop.api_keys (expires_at1): 1 of the 2 values are plausible as --map-expires-form=unix-ms, and 1 as unix"},
		"one wrong of ten":                 {ExpiresUnixMilli, joined(key(field, now.Unix()), keysWith(t, 9)), "set --map-expires-form=unix", "EXPIRED"},
		"one wrong of eleven":              {ExpiresUnixMilli, joined(key(field, now.Unix()), keysWith(t, 10)), "", "EXPIRED"},
		"text as a date":                   {"", append(key(field, "leak"), keyOf(t, 1)), "", ""},
		"seconds, and some never":          {ExpiresUnixMilli, key(field, now.Unix(), now.Unix(), 0), "and 2 are as unix", "EXPIRED"},
		"zero means never":                 {ExpiresUnix, key(field, 0, 0, now.Unix()), "", `0 is a time in 1970 and not "never"`},
		"only zeros":                       {ExpiresUnix, append(key(field, 0, -1), keyOf(t, 1)), "", `0 is a time in 1970 and not "never"`},
		"the year 9999":                    {"", key(field, time.Unix(never, 0)), "", "if that is what the date means, nothing is wrong"},
		"the year 9999 in seconds":         {ExpiresUnix, key(field, never), "", "if that is what the date means, nothing is wrong"},
		"the year 9999 in ms":              {ExpiresUnixMilli, key(field, int64(never)*1000), "", "if that is what the date means, nothing is wrong"},
		"31 December 1999":                 {"", append(key(field, time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)), keyOf(t, 1)), "", "before the year 2000 in 1"},
		"1 January 2000 and 2200":          {"", key(field, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2200, 12, 31, 0, 0, 0, 0, time.UTC)), "", ""},
		"1 January 2201":                   {"", key(field, latestPlausible), "", "after the year 2200 in the only document"},
		"seconds as a creation date":       {"", key("created_at", time.UnixMilli(now.Unix())), "", "the creation time in created_at is before the year 2000 in the only document read from shop.api_keys (created_at0): probably seconds"},
		"a number as a creation date":      {"", key("created_at", now.Unix()), "", ""},
		"a date of last use in the future": {"", key("last_used", time.Unix(now.UnixMilli(), 0)), "", "the last use in last_used is after the year 2200"},
	} {
		found := surveyed(t, in(func(s *Schema) { s.ExpiresForm = test.form }), test.docs...)
		err := found.datesError()
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: error %v, want %q", name, err, test.err)
		}
		if got := strings.Join(found.dateWarnings(), "|"); (got == "") != (test.warn == "") || !strings.Contains(got, test.warn) {
			t.Errorf("%s: warned %q, want %q", name, got, test.warn)
		}
	}
	revoked := in(func(s *Schema) { s.Active, s.ActiveForm = "revoked_at", ActiveNoDate })
	if got := surveyed(t, revoked, key("revoked_at", bson.DateTime(5))...).dateWarnings(); len(got) != 1 || !strings.Contains(got[0], "the time of revocation in revoked_at is before the year 2000") {
		t.Errorf("a date of revocation in 1970: %q", got)
	}
}

// TestSurveyOfTwoGenerations: half of the documents have the schema of before,
// which the report must show with both shares.
func TestSurveyOfTwoGenerations(t *testing.T) {
	t.Parallel()
	before := keysWith(t, 5, bson.E{Key: "is_active", Value: absent}, bson.E{Key: "enabled", Value: true}, bson.E{Key: "key_hash", Value: HashBase64.stored(apikey.HashOf("x"))})
	found := surveyed(t, DefaultSchema(), joined(before, keysWith(t, 5))...)
	if err := found.StartError(); err != nil {
		t.Error(err)
	}
	got := strings.Join(found.Warnings(), "|")
	for _, want := range []string{"5 of the 10 documents", "is_active is missing", "key_hash holds base64 in 5, hex in 5"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not contain %q", got, want)
		}
	}
}
