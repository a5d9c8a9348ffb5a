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
	"github.com/keytail/keytail/keytailtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// codeOf validates a key for scopes.
func codeOf(t *testing.T, v *keytailtest.Validator, key string, scopes ...string) auth.Code {
	t.Helper()
	verdict, err := v.Validate(t.Context(), key, auth.Request{Scopes: scopes})
	if (err != nil) != (verdict.Code == auth.Unavailable) {
		t.Fatalf("code %s with error %v", verdict.Code, err)
	}
	return verdict.Code
}

func TestLifeOfAKey(t *testing.T) {
	v := keytailtest.New(t)
	key := v.Key("orders:read", "orders:write")
	for _, step := range []struct {
		name string
		do   func()
		want auth.Code
	}{
		{"new", func() {}, auth.Valid},
		{"revoked", func() { v.Revoke(key) }, auth.Disabled},
		{"enabled again", func() { v.Change(key, func(k *auth.Key) { k.Active = true }) }, auth.Valid},
		{"fewer scopes", func() { v.SetScopes(key, "orders:write") }, auth.InsufficientPermissions},
		{"more scopes", func() { v.SetScopes(key, "orders:*") }, auth.Valid},
		{"outage", v.Outage, auth.Unavailable},
		{"recovered", v.Recover, auth.Valid},
		{"stale", func() { v.SetStaleness(keytailtest.MaxStale) }, auth.Valid},
		{"too stale", func() { v.SetStaleness(keytailtest.MaxStale + 1) }, auth.Unavailable},
		{"recovered again", v.Recover, auth.Valid},
		{"bound to an organisation", func() { v.Change(key, func(k *auth.Key) { k.OrgID = "acme" }) }, auth.Valid},
		{"which must be named", v.RequireBinding, auth.Forbidden},
		{"expired", func() { v.Expire(key) }, auth.Expired},
		{"deleted", func() { v.Delete(key) }, auth.NotFound},
	} {
		step.do()
		if got := codeOf(t, v, key, "orders:read"); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
}

func TestAddKeepsAllFields(t *testing.T) {
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
	// Neither the caller's slices nor those of Change are the verdict's.
	made.Scopes[0] = "overwritten"
	v.Change(key, func(k *auth.Key) { k.Scopes[1] = "overwritten" })
	if diff := cmp.Diff([]string{"a", "b"}, verdict.Key.Scopes); diff != "" {
		t.Error(diff)
	}
	if second := v.Key(); second == key || codeOf(t, v, second) != auth.Valid {
		t.Error("the second key is the first one or not valid")
	}
}

func TestEachChangeHasANewRevision(t *testing.T) {
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

// failures is a T that records its errors.
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

func TestMistakesFailTheTest(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(v *keytailtest.Validator)
		want string
	}{
		"revoke an unknown key":    {func(v *keytailtest.Validator) { v.Revoke("kt_secret_of_mine") }, "this Validator has no such key"},
		"delete a key twice":       {func(v *keytailtest.Validator) { k := v.Key(); v.Delete(k); v.Delete(k) }, "or it was deleted"},
		"a scope with a space":     {func(v *keytailtest.Validator) { v.Key("a", "b c") }, "Scopes[1]: a scope has no white space"},
		"change to an empty scope": {func(v *keytailtest.Validator) { v.SetScopes(v.Key(), "") }, "Scopes[0]: the scope is empty"},
		"invalid user":             {func(v *keytailtest.Validator) { v.Add(auth.Key{UserID: "a\nb"}) }, "UserID: the id has a control character"},
		"no user":                  {func(v *keytailtest.Validator) { v.Change(v.Key(), func(k *auth.Key) { k.UserID = "" }) }, "UserID: the id is empty"},
		"no id":                    {func(v *keytailtest.Validator) { v.Change(v.Key(), func(k *auth.Key) { k.KeyID = "" }) }, "KeyID: the id is empty"},
		"invalid org":              {func(v *keytailtest.Validator) { v.Add(auth.Key{OrgID: "\xff"}) }, "OrgID: the id is not valid UTF-8"},
		"invalid project":          {func(v *keytailtest.Validator) { v.Add(auth.Key{ProjectID: strings.Repeat("x", 257)}) }, "ProjectID: the id is longer than 256 bytes"},
		"invalid name":             {func(v *keytailtest.Validator) { v.Add(auth.Key{Name: "\x00"}) }, "Name: the name has a control character"},
		"invalid network":          {func(v *keytailtest.Validator) { v.Add(auth.Key{AllowedIPs: make([]netip.Prefix, 1)}) }, "AllowedIPs[0]: "},
		"metadata is an array":     {func(v *keytailtest.Validator) { v.Add(auth.Key{Metadata: json.RawMessage(`[1]`)}) }, "Metadata: not a JSON object"},
		"metadata is truncated":    {func(v *keytailtest.Validator) { v.Add(auth.Key{Metadata: json.RawMessage(`{"a":`)}) }, "Metadata: not a JSON object"},
		"same id twice":            {func(v *keytailtest.Validator) { v.Add(auth.Key{KeyID: "k"}); v.Add(auth.Key{KeyID: "k"}) }, "KeyID: already used by another key"},
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
		t.Errorf("a key that cannot be decoded is %s", code)
	}
}

func TestValidations(t *testing.T) {
	v := keytailtest.New(t)
	key := v.Key("a")
	scopes := []string{"a"}
	if _, err := v.Validate(t.Context(), key, auth.Request{Scopes: scopes, OrgID: "acme"}); err != nil {
		t.Fatal(err)
	}
	scopes[0] = "overwritten"
	codeOf(t, v, keytailtest.UnknownKey())
	codeOf(t, v, "")
	v.Outage()
	codeOf(t, v, key)
	want := []keytailtest.Validation{
		{KeyID: "key-1", Request: auth.Request{Scopes: []string{"a"}, OrgID: "acme"}, Code: auth.Valid},
		{Code: auth.NotFound},
		{Code: auth.Missing},
		{KeyID: "key-1", Code: auth.Unavailable},
	}
	same := cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	if diff := cmp.Diff(want, v.Validations(), same); diff != "" {
		t.Error(diff)
	}
	v.Validations()[0].KeyID = "overwritten"
	if text := fmt.Sprintf("%+v", v.Validations()); strings.Contains(text, key) || strings.Contains(text, "overwritten") {
		t.Error(text)
	}
}

func TestWatchEndsOnlyWhenTheKeyIsRefused(t *testing.T) {
	errRefused, errOutage := errors.New("refused"), errors.New("outage")
	for name, test := range map[string]struct {
		do     func(v *keytailtest.Validator, key string)
		outage error
		want   error // nil: the watch goes on
	}{
		"revoked":                   {func(v *keytailtest.Validator, key string) { v.Revoke(key) }, nil, errRefused},
		"expired":                   {func(v *keytailtest.Validator, key string) { v.Expire(key) }, nil, errRefused},
		"deleted":                   {func(v *keytailtest.Validator, key string) { v.Delete(key) }, nil, errRefused},
		"fewer scopes":              {func(v *keytailtest.Validator, key string) { v.SetScopes(key, "b") }, nil, errRefused},
		"renamed":                   {func(v *keytailtest.Validator, key string) { v.Change(key, func(k *auth.Key) { k.Name = "x" }) }, nil, nil},
		"more scopes":               {func(v *keytailtest.Validator, key string) { v.SetScopes(key, "*") }, nil, nil},
		"another key":               {func(v *keytailtest.Validator, _ string) { v.Revoke(v.Key()) }, nil, nil},
		"outage":                    {func(v *keytailtest.Validator, _ string) { v.Outage() }, nil, nil},
		"outage, CancelOnOutage":    {func(v *keytailtest.Validator, _ string) { v.Outage() }, errOutage, errOutage},
		"stale, CancelOnOutage":     {func(v *keytailtest.Validator, _ string) { v.SetStaleness(keytailtest.MaxStale) }, errOutage, nil},
		"too stale, CancelOnOutage": {func(v *keytailtest.Validator, _ string) { v.SetStaleness(keytailtest.MaxStale + 1) }, errOutage, errOutage},
		"revoked during an outage":  {func(v *keytailtest.Validator, key string) { v.Outage(); v.Revoke(key); v.Recover() }, nil, errRefused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := keytailtest.New(t)
				key := v.Key("a")
				w := v.Watch(auth.WatchRequest{
					KeyID: "key-1", Mark: v.Mark(), OutageError: test.outage,
					Recheck: func(ctx context.Context, minRevision uint64) (expiresAt time.Time, revoked, err error) {
						verdict, err := v.Validate(ctx, key, auth.Request{Scopes: []string{"a"}, MinRevision: auth.Revision(minRevision)})
						if errors.Is(err, auth.ErrUnavailable) {
							return time.Time{}, nil, err
						}
						if err != nil {
							t.Error(err)
						}
						if !verdict.Valid() {
							return time.Time{}, errRefused, nil
						}
						return verdict.Key.ExpiresAt, nil, nil
					},
				})
				defer w.Stop()
				test.do(v, key)
				synctest.Wait()
				if w.Err() == nil {
					// A recheck that failed in an outage is repeated.
					time.Sleep(time.Minute)
				}
				if err := w.Err(); !errors.Is(err, test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
			})
		})
	}
}

func TestClockIsThatOfSynctest(t *testing.T) {
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
			t.Errorf("Done was closed after %v", lived)
		}
		if code := codeOf(t, v, key); code != auth.Expired {
			t.Errorf("the code is %s", code)
		}
	})
}

// Otherwise it would run during the next test.
func TestCleanupWaitsForRechecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := startT()
		v := keytailtest.New(end)
		key := v.Key()
		var done atomic.Bool
		v.Watch(auth.WatchRequest{KeyID: "key-1", Recheck: func(ctx context.Context, _ uint64) (expiresAt time.Time, revoked, err error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			done.Store(true)
			return time.Time{}, nil, ctx.Err()
		}})
		v.Revoke(key)
		synctest.Wait()
		end.end()
		if !done.Load() {
			t.Error("a recheck still runs after the test")
		}
	})
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	v := keytailtest.New(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				key := v.Key("a")
				w := v.Watch(auth.WatchRequest{KeyID: "key-1", Recheck: func(ctx context.Context, _ uint64) (expiresAt time.Time, revoked, err error) {
					_, err = v.Validate(ctx, key, auth.Request{})
					return time.Time{}, nil, err
				}})
				verdict, _ := v.Validate(t.Context(), key, auth.Request{Scopes: []string{"a"}})
				v.SetScopes(key, "b")
				v.SetStaleness(time.Second)
				v.Outage()
				v.Recover()
				v.Revoke(key)
				v.Delete(key)
				v.Validations()
				if verdict.Key != nil && !verdict.Key.Active {
					t.Error("a verdict has changed after it was returned")
				}
				w.Stop()
			}
		})
	}
	group.Wait()
}
