package keytailtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/coreauth"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/service"
	"github.com/keytail/keytail/internal/validator"
	"github.com/keytail/keytail/keytailtest"
)

// daemon is the daemon's validator, over documents as MongoDB stores them.
type daemon struct {
	*validator.Validator
	cache     *keycache.Cache
	documents map[apikey.Hash]bson.Raw
	down      bool
	// now is the cluster time.
	now clustertime.Time
}

var errDown = errors.New("no primary")

func (r *daemon) FindByHash(_ context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error) {
	switch {
	case r.down:
		return keystore.Document{}, false, errDown
	case after > r.now:
		return keystore.Document{}, false, keystore.ErrRevisionAhead
	}
	raw, found := r.documents[h]
	if !found {
		return keystore.Document{}, false, nil
	}
	return keystore.DefaultSchema().Decode(raw), true, nil
}

func (r *daemon) FindByIDs(context.Context, []apikey.DocID, clustertime.Time) ([]keystore.Document, error) {
	return nil, errDown
}

func (r *daemon) FindLinearizable(ctx context.Context, h apikey.Hash) (keystore.Document, bool, error) {
	return r.FindByHash(ctx, h, 0)
}

func (r *daemon) Inspect(context.Context) error { return nil }

func (r *daemon) Beat(context.Context) (clustertime.Time, error) {
	if r.down {
		return 0, errDown
	}
	return r.now, nil
}

// newDaemon returns a validator whose last round trip was staleness ago, at a revision.
func newDaemon(t *testing.T, revision auth.Revision, staleness time.Duration, requireBinding bool) *daemon {
	t.Helper()
	cache, err := keycache.New(keycache.Config{SizeMiB: 3, Slots: 1 << 4})
	if err != nil {
		t.Fatal(err)
	}
	r := &daemon{cache: cache, documents: map[apikey.Hash]bson.Raw{}, now: clustertime.Time(revision)}
	if r.Validator, err = validator.New(validator.Config{Cache: cache, Store: r, Heartbeater: r, RequireBinding: requireBinding}); err != nil {
		t.Fatal(err)
	}
	cache.Open(clustertime.Time(revision))
	cache.Fresh(keycache.Freshness{AsOf: time.Now().Add(-staleness), Processed: clustertime.Time(revision)})
	return r
}

// insert inserts a key document, as the admin API would.
func (r *daemon) insert(t *testing.T, text string, k *auth.Key) {
	t.Helper()
	hash := apikey.HashOf(text)
	document := bson.D{
		{Key: "_id", Value: k.KeyID},
		{Key: "key_hash", Value: hash.Hex()},
		{Key: "is_active", Value: k.Active},
		{Key: "user_id", Value: k.UserID},
		{Key: "name", Value: k.Name},
	}
	set := func(field string, is bool, value any) {
		if is {
			document = append(document, bson.E{Key: field, Value: value})
		}
	}
	set("org_id", k.OrgID != "", k.OrgID)
	set("project_id", k.ProjectID != "", k.ProjectID)
	set("scopes", len(k.Scopes) > 0, k.Scopes)
	set("expires_at", !k.ExpiresAt.IsZero(), k.ExpiresAt)
	var networks []string
	for _, network := range k.AllowedIPs {
		networks = append(networks, network.String())
	}
	set("allowed_ips", networks != nil, networks)
	if len(k.Metadata) > 0 {
		var metadata bson.D
		if err := bson.UnmarshalExtJSON(k.Metadata, false, &metadata); err != nil {
			t.Fatal(err)
		}
		set("metadata", true, metadata)
	}
	raw, err := bson.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	r.documents[hash] = raw
}

func (r *daemon) validate(text string, request auth.Request) (auth.Verdict, error) {
	return coreauth.Validator{Core: &service.Service{Validator: r.Validator}}.Validate(context.Background(), text, request)
}

// checkSame compares the verdicts of both for the same request at the same time. Only
// the source differs.
func checkSame(t *testing.T, v *keytailtest.Validator, r *daemon, text string, request auth.Request) (auth.Code, error) {
	t.Helper()
	got, gotErr := v.Validate(context.Background(), text, request)
	want, wantErr := r.validate(text, request)
	if diff := cmp.Diff(want, got,
		cmpopts.IgnoreFields(auth.Verdict{}, "Source"), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	); diff != "" || !errors.Is(gotErr, wantErr) || !errors.Is(wantErr, gotErr) {
		t.Fatalf("the daemon returns %v, keytailtest %v, for %+v:\n%s", wantErr, gotErr, request, diff)
	}
	return got.Code, gotErr
}

func TestTextsAreParsedAsInTheDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := keytailtest.New(t)
		key := v.Key("a:b")
		r := newDaemon(t, revisionOf(t, v), 0, false)
		r.insert(t, key, &auth.Key{KeyID: "key-1", UserID: keytailtest.DefaultUser, Scopes: []string{"a:b"}, Active: true})
		mistyped := []byte(key)
		mistyped[20] ^= 1
		for _, text := range []string{
			string(mistyped),
			"", "x", key, key + " ", " " + key, key[:len(key)-1], key + "0", strings.ToUpper(key), "xx" + key[2:], key[3:],
			key[:10] + "é" + key[10:], strings.Repeat("k", 512), strings.Repeat("k", 513), "a key", "another-makers-key", keytailtest.UnknownKey(),
		} {
			_, _ = checkSame(t, v, r, text, auth.Request{})
		}
	})
}

// situation is a key, a change of it, and a request.
type situation struct {
	key     auth.Key
	expires bool
	// in is the time from now to the expiry.
	in time.Duration
	// change is what happens to the key.
	change    string
	staleness time.Duration
	outage    bool
	// binding is RequireBinding of both.
	binding bool
	request auth.Request
	// ahead is the request's MinRevision less the revision of v. Nil: no MinRevision.
	ahead *int
}

// situations have few different values, so that every code occurs.
var situations = rapid.Custom(func(t *rapid.T) situation {
	id := rapid.SampledFrom([]string{"", "o1", "o2"})
	scopes := rapid.SliceOfN(rapid.SampledFrom([]string{"*", "a:*", "a:b", "a:", "a", "b"}), 0, 3)
	network := rapid.SampledFrom([]netip.Prefix{
		netip.MustParsePrefix("192.0.2.7/24"), netip.MustParsePrefix("::ffff:198.51.100.0/120"), netip.MustParsePrefix("2001:db8::/32"),
	})
	ip := rapid.SampledFrom([]netip.Addr{
		{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:198.51.100.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%eth0"),
	})
	return situation{
		key: auth.Key{
			UserID: rapid.SampledFrom([]string{"", "ada"}).Draw(t, "user"), OrgID: id.Draw(t, "org"), ProjectID: id.Draw(t, "project"),
			Name: rapid.SampledFrom([]string{"", "ci"}).Draw(t, "name"), Scopes: scopes.Draw(t, "scopes"),
			AllowedIPs: rapid.SliceOfN(network, 0, 2).Draw(t, "allowed"),
			Metadata:   rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`{"plan":"gold"}`)}).Draw(t, "metadata"),
		},
		expires:   rapid.Bool().Draw(t, "expires"),
		in:        time.Duration(rapid.IntRange(-2, 3).Draw(t, "in")) * 500 * time.Microsecond,
		change:    rapid.SampledFrom([]string{"", "", "", "", "revoked", "expired", "deleted", "rescoped", "changed"}).Draw(t, "change"),
		staleness: time.Duration(rapid.IntRange(0, 15).Draw(t, "staleness")) * time.Second,
		outage:    rapid.IntRange(0, 9).Draw(t, "outage") == 0,
		binding:   rapid.IntRange(0, 3).Draw(t, "binding") == 0,
		request: auth.Request{
			Scopes: scopes.Draw(t, "needed"), OrgID: id.Draw(t, "for org"), ProjectID: id.Draw(t, "for project"),
			RequireOrg: rapid.Bool().Draw(t, "org required"), RequireProject: rapid.Bool().Draw(t, "project required"), IP: ip.Draw(t, "ip"),
		},
		ahead: rapid.SampledFrom([]*int{nil, nil, new(-1), new(0), new(1)}).Draw(t, "ahead"),
	}
})

// Any key, request and staleness, with and without an outage.
func TestVerdictsAreThoseOfTheDaemon(t *testing.T) {
	codes := map[auth.Code]int{}
	ahead := 0
	for seed := range 3000 {
		s := situations.Example(seed)
		synctest.Test(t, func(t *testing.T) {
			v := keytailtest.New(t)
			code, err := s.run(t, v)
			codes[code]++
			if errors.Is(err, auth.ErrRevisionAhead) {
				ahead++
			}
		})
		if t.Failed() {
			t.Fatalf("situation %d: %+v", seed, s)
		}
	}
	t.Log(codes, "revisions ahead:", ahead)
	for _, code := range []auth.Code{auth.Unavailable, auth.NotFound, auth.Disabled, auth.Expired, auth.Forbidden, auth.InsufficientPermissions, auth.Valid} {
		if codes[code] < 10 {
			t.Errorf("only %d verdicts are %s", codes[code], code)
		}
	}
	if ahead < 10 {
		t.Errorf("only %d revisions are ahead", ahead)
	}
}

// run produces the situation in v and in the daemon's validator, and compares.
func (s situation) run(t *testing.T, v *keytailtest.Validator) (auth.Code, error) {
	t.Helper()
	if s.expires {
		s.key.ExpiresAt = time.Now().Add(s.in)
	}
	text := v.Add(s.key)
	k := s.key
	k.KeyID, k.Active = "key-1", true
	if k.UserID == "" {
		k.UserID = keytailtest.DefaultUser
	}
	switch s.change {
	case "revoked":
		v.Revoke(text)
		k.Active = false
	case "expired":
		v.Expire(text)
		k.ExpiresAt = time.Now()
	case "deleted":
		v.Delete(text)
	case "rescoped":
		v.SetScopes(text, "b")
		k.Scopes = []string{"b"}
	case "changed":
		v.Change(text, func(k *auth.Key) { k.OrgID = "o2" })
		k.OrgID = "o2"
	}
	revision := revisionOf(t, v)
	if s.ahead != nil {
		s.request.MinRevision = auth.Revision(int64(revision) + int64(*s.ahead))
	}
	r := newDaemon(t, revision, s.staleness, s.binding)
	if s.change != "deleted" {
		r.insert(t, text, &k)
	}
	v.SetStaleness(s.staleness)
	if s.binding {
		v.RequireBinding()
	}
	if s.outage {
		v.Outage()
		r.down = true
		time.Sleep(keytailtest.MaxStale + 1)
	}
	return checkSame(t, v, r, text, s.request)
}

func TestMaxStaleIsTheDefault(t *testing.T) {
	if keytailtest.MaxStale != keycache.DefaultMaxStale {
		t.Errorf("MaxStale is %v, the default of the daemon is %v", keytailtest.MaxStale, keycache.DefaultMaxStale)
	}
}

// revisionOf returns the revision of v.
func revisionOf(t *testing.T, v *keytailtest.Validator) auth.Revision {
	t.Helper()
	verdict, err := v.Validate(context.Background(), keytailtest.UnknownKey(), auth.Request{})
	if err != nil {
		t.Fatal(err)
	}
	return verdict.Revision
}
