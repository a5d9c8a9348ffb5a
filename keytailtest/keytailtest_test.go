package keytailtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/revocation"
	"github.com/keytail/keytail/keytailtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// codeOf asks about a key with no more need than scopes.
func codeOf(t *testing.T, v *keytailtest.Validator, key string, scopes ...string) auth.Code {
	t.Helper()
	verdict, err := v.Validate(t.Context(), key, auth.Request{Scopes: scopes})
	if (err != nil) != (verdict.Code == auth.Unavailable) {
		t.Fatalf("%s with the error %v", verdict.Code, err)
	}
	return verdict.Code
}

func TestAKeyLives(t *testing.T) {
	v := keytailtest.New(t)
	key := v.Key("orders:read", "orders:write")
	for _, step := range []struct {
		name string
		do   func()
		want auth.Code
	}{
		{"new", func() {}, auth.Valid},
		{"revoked", func() { v.Revoke(key) }, auth.Disabled},
		{"on again", func() { v.Change(key, func(k *auth.Key) { k.Active = true }) }, auth.Valid},
		{"with less", func() { v.SetScopes(key, "orders:write") }, auth.InsufficientPermissions},
		{"with more", func() { v.SetScopes(key, "orders:*") }, auth.Valid},
		{"unknown for a while", v.Outage, auth.Unavailable},
		{"known again", v.Recover, auth.Valid},
		{"old", func() { v.Age(keytailtest.MaxStale) }, auth.Valid},
		{"too old", func() { v.Age(keytailtest.MaxStale + 1) }, auth.Unavailable},
		{"young again", v.Recover, auth.Valid},
		{"bound", func() { v.Change(key, func(k *auth.Key) { k.OrgID = "acme" }) }, auth.Forbidden},
		{"expired", func() { v.Expire(key) }, auth.Expired},
		{"deleted", func() { v.Delete(key) }, auth.NotFound},
	} {
		step.do()
		if got := codeOf(t, v, key, "orders:read"); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
}

func TestAKeySaysWhatItWasMadeWith(t *testing.T) {
	v := keytailtest.New(t)
	made := auth.Key{
		UserID: "ada", OrgID: "acme", ProjectID: "rockets", Name: "ci", Scopes: []string{"a", "b"},
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")},
		ExpiresAt:  time.Date(2100, 1, 2, 3, 4, 5, 6_999_999, time.UTC), Metadata: json.RawMessage(`{"plan":"gold"}`),
	}
	key := v.Add(made)
	verdict, err := v.Validate(t.Context(), key, auth.Request{OrgID: "acme", ProjectID: "rockets", IP: netip.MustParseAddr("192.0.2.9")})
	if err != nil || !verdict.Valid() {
		t.Fatal(verdict, err)
	}
	want := made
	want.KeyID, want.Active = "key-1", true
	want.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	want.ExpiresAt = time.Date(2100, 1, 2, 3, 4, 5, 6e6, time.UTC)
	if diff := cmp.Diff(want, *verdict.Key, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	// What belongs to the caller is not what was stored, nor what a verdict has.
	made.Scopes[0] = "spoiled"
	v.Change(key, func(k *auth.Key) { k.Scopes[1] = "spoiled" })
	if diff := cmp.Diff([]string{"a", "b"}, verdict.Key.Scopes); diff != "" {
		t.Error(diff)
	}
	if second := v.Key(); second == key || codeOf(t, v, second) != auth.Valid {
		t.Error("a second key is none of its own")
	}
}

// TestEachChangeHasARevision: an answer after a write can be told from one before.
func TestEachChangeHasARevision(t *testing.T) {
	v := keytailtest.New(t)
	last := revisionOf(t, v)
	var key string
	for name, write := range []func(){
		func() { key = v.Key() },
		func() { v.SetScopes(key, "a") },
		func() { v.Expire(key) },
		func() { v.Revoke(key) },
		func() { v.Delete(key) },
	} {
		write()
		next := revisionOf(t, v)
		if next <= last {
			t.Errorf("write %d: %v after %v", name, next, last)
		}
		last = next
	}
}

// failures is a test that takes note of what fails in it.
type failures struct {
	*testing.T
	mutex sync.Mutex
	texts []string
}

func (f *failures) Errorf(format string, args ...any) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.texts = append(f.texts, fmt.Sprintf(format, args...))
}

// TestMistakesFailTheTest of whoever makes them.
func TestMistakesFailTheTest(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(v *keytailtest.Validator)
		want string
	}{
		"revoke a key of nobody": {func(v *keytailtest.Validator) { v.Revoke("kt_secret_of_mine") }, "this is no key of this Validator"},
		"delete it twice":        {func(v *keytailtest.Validator) { k := v.Key(); v.Delete(k); v.Delete(k) }, "or it was deleted"},
		"a scope with a space":   {func(v *keytailtest.Validator) { v.Key("a", "b c") }, "Scopes[1]: a scope has no white space"},
		"an empty scope later":   {func(v *keytailtest.Validator) { v.SetScopes(v.Key(), "") }, "Scopes[0]: the scope is empty"},
		"a bad user":             {func(v *keytailtest.Validator) { v.Add(auth.Key{UserID: "a\nb"}) }, "UserID: the id has a control character"},
		"no user":                {func(v *keytailtest.Validator) { v.Change(v.Key(), func(k *auth.Key) { k.UserID = "" }) }, "UserID: the id is empty"},
		"no id":                  {func(v *keytailtest.Validator) { v.Change(v.Key(), func(k *auth.Key) { k.KeyID = "" }) }, "KeyID: the id is empty"},
		"a bad org":              {func(v *keytailtest.Validator) { v.Add(auth.Key{OrgID: "\xff"}) }, "OrgID: the id is not valid UTF-8"},
		"a bad project":          {func(v *keytailtest.Validator) { v.Add(auth.Key{ProjectID: strings.Repeat("x", 257)}) }, "ProjectID: the id is longer than 256 bytes"},
		"a bad name":             {func(v *keytailtest.Validator) { v.Add(auth.Key{Name: "\x00"}) }, "Name: the name has a control character"},
		"a bad network":          {func(v *keytailtest.Validator) { v.Add(auth.Key{AllowedIPs: make([]netip.Prefix, 1)}) }, "AllowedIPs[0]: an IP address or a network"},
		"metadata of a list":     {func(v *keytailtest.Validator) { v.Add(auth.Key{Metadata: json.RawMessage(`[1]`)}) }, "Metadata: this is no JSON object"},
		"metadata cut off":       {func(v *keytailtest.Validator) { v.Add(auth.Key{Metadata: json.RawMessage(`{"a":`)}) }, "Metadata: this is no JSON object"},
		"two of an id":           {func(v *keytailtest.Validator) { v.Add(auth.Key{KeyID: "k"}); v.Add(auth.Key{KeyID: "k"}) }, "KeyID: another key has it"},
	} {
		f := &failures{T: t}
		test.do(keytailtest.New(f))
		if len(f.texts) != 1 || !strings.Contains(f.texts[0], test.want) || strings.Contains(f.texts[0], "secret_of_mine") {
			t.Errorf("%s: %q, want %q", name, f.texts, test.want)
		}
	}
	f := &failures{T: t}
	v := keytailtest.New(f)
	if code := codeOf(t, v, v.Key("b c"), "b"); code != auth.Disabled {
		t.Errorf("a key that could not be read is %s", code)
	}
}

func TestAskedIsWhatWasAsked(t *testing.T) {
	v := keytailtest.New(t)
	key := v.Key("a")
	scopes := []string{"a"}
	if _, err := v.Validate(t.Context(), key, auth.Request{Scopes: scopes, OrgID: "acme"}); err != nil {
		t.Fatal(err)
	}
	scopes[0] = "spoiled"
	codeOf(t, v, keytailtest.UnknownKey())
	codeOf(t, v, "")
	v.Outage()
	codeOf(t, v, key)
	want := []keytailtest.Question{
		{KeyID: "key-1", Request: auth.Request{Scopes: []string{"a"}, OrgID: "acme"}, Code: auth.Valid},
		{Code: auth.NotFound},
		{Code: auth.Missing},
		{KeyID: "key-1", Code: auth.Unavailable},
	}
	same := cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	if diff := cmp.Diff(want, v.Asked(), same); diff != "" {
		t.Error(diff)
	}
	v.Asked()[0].KeyID = "spoiled"
	if text := fmt.Sprintf("%+v", v.Asked()); strings.Contains(text, key) || strings.Contains(text, "spoiled") {
		t.Error(text)
	}
}

// TestWatchersHearOfEverything that can happen to a key, and of nothing else.
func TestWatchersHearOfEverything(t *testing.T) {
	errOver := errors.New("over")
	for name, test := range map[string]struct {
		do   func(v *keytailtest.Validator, key string)
		cut  bool
		want error // nil: it goes on
	}{
		"revoked":            {func(v *keytailtest.Validator, key string) { v.Revoke(key) }, false, errOver},
		"expired":            {func(v *keytailtest.Validator, key string) { v.Expire(key) }, false, errOver},
		"deleted":            {func(v *keytailtest.Validator, key string) { v.Delete(key) }, false, errOver},
		"with less":          {func(v *keytailtest.Validator, key string) { v.SetScopes(key, "b") }, false, errOver},
		"renamed":            {func(v *keytailtest.Validator, key string) { v.Change(key, func(k *auth.Key) { k.Name = "x" }) }, false, nil},
		"with more":          {func(v *keytailtest.Validator, key string) { v.SetScopes(key, "*") }, false, nil},
		"another":            {func(v *keytailtest.Validator, _ string) { v.Revoke(v.Key()) }, false, nil},
		"an outage":          {func(v *keytailtest.Validator, _ string) { v.Outage() }, false, nil},
		"an outage, cut":     {func(v *keytailtest.Validator, _ string) { v.Outage() }, true, revocation.ErrStalenessExceeded},
		"old, cut":           {func(v *keytailtest.Validator, _ string) { v.Age(keytailtest.MaxStale) }, true, nil},
		"too old, cut":       {func(v *keytailtest.Validator, _ string) { v.Age(keytailtest.MaxStale + 1) }, true, revocation.ErrStalenessExceeded},
		"revoked in between": {func(v *keytailtest.Validator, key string) { v.Outage(); v.Revoke(key); v.Recover() }, false, errOver},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := keytailtest.New(t)
				key := v.Key("a")
				w := v.Watches().Add(revocation.Entry{
					KeyID: "key-1", Mark: v.Watches().Begin(), CancelOnOutage: test.cut,
					Recheck: func(ctx context.Context, revision uint64) (time.Time, error) {
						verdict, err := v.Validate(ctx, key, auth.Request{Scopes: []string{"a"}, MinRevision: auth.Revision(revision)})
						if errors.Is(err, auth.ErrUnavailable) {
							return time.Time{}, revocation.ErrUnknown
						}
						if err != nil {
							t.Error(err)
						}
						if !verdict.Valid() {
							return time.Time{}, errOver
						}
						return verdict.Key.ExpiresAt, nil
					},
				})
				defer w.Stop()
				test.do(v, key)
				synctest.Wait()
				if w.Err() == nil {
					// One that did not know in an outage asks again.
					time.Sleep(time.Minute)
				}
				if err := w.Err(); !errors.Is(err, test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
			})
		})
	}
}

// TestTimeIsThatOfTheBubble: a handler is told of its key's end by sleeping.
func TestTimeIsThatOfTheBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := keytailtest.New(t)
		key := v.Add(auth.Key{ExpiresAt: time.Now().Add(time.Hour)})
		began := time.Now()
		service := v.Middleware()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-auth.FromContext(r.Context()).Done()
		}))
		request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		request.Header.Set("X-Api-Key", key)
		service.ServeHTTP(httptest.NewRecorder(), request)
		if lived := time.Since(began); lived != time.Hour {
			t.Errorf("it ended after %v", lived)
		}
		if code := codeOf(t, v, key); code != auth.Expired {
			t.Errorf("it is %s", code)
		}
	})
}

// TestTheEndOfATestWaits for a question that is under way, so that none is asked in
// the next test.
func TestTheEndOfATestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := startT()
		v := keytailtest.New(end)
		key := v.Key()
		var over atomic.Bool
		v.Watches().Add(revocation.Entry{KeyID: "key-1", Recheck: func(ctx context.Context, _ uint64) (time.Time, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			over.Store(true)
			return time.Time{}, ctx.Err()
		}})
		v.Revoke(key)
		synctest.Wait()
		end.end()
		if !over.Load() {
			t.Error("the test has ended, and a question is under way")
		}
	})
}

// TestAllAtOnce is for the race detector.
func TestAllAtOnce(t *testing.T) {
	v := keytailtest.New(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				key := v.Key("a")
				w := v.Watches().Add(revocation.Entry{KeyID: "key-1", Recheck: func(ctx context.Context, _ uint64) (time.Time, error) {
					_, err := v.Validate(ctx, key, auth.Request{})
					return time.Time{}, err
				}})
				verdict, _ := v.Validate(t.Context(), key, auth.Request{Scopes: []string{"a"}})
				v.SetScopes(key, "b")
				v.Age(time.Second)
				v.Outage()
				v.Recover()
				v.Revoke(key)
				v.Delete(key)
				v.Asked()
				if verdict.Key != nil && !verdict.Key.Active {
					t.Error("a verdict changes after it was given")
				}
				w.Stop()
			}
		})
	}
	group.Wait()
}
