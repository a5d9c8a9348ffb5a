package apikey

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var now = time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)

// good returns a record and a request that pass every check, each for its own reason.
func good() (*Record, *Request) {
	record := &Record{
		KeyID: "k1", UserID: "u1", OrgID: "o1", ProjectID: "p1", Name: "n",
		Scopes:     []string{"read", "admin:*"},
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		ExpiresAt:  now.Add(time.Nanosecond), Active: true,
	}
	request := &Request{
		Scopes: []string{"read", "admin:x"}, OrgID: "o1", ProjectID: "p1",
		RequireOrg: true, RequireProject: true, IP: netip.MustParseAddr("192.0.2.7"),
	}
	return record, request
}

// failures each make one check fail, in the order in which Decide must notice.
var failures = []struct {
	name string
	code Code
	do   func(*Record, *Request)
}{
	{"inactive", Disabled, func(r *Record, _ *Request) { r.Active = false }},
	{"defect", Disabled, func(r *Record, _ *Request) { r.Defect = "scopes is not an array" }},
	{"no user", Disabled, func(r *Record, _ *Request) { r.UserID = "" }},
	{"expired", Expired, func(r *Record, _ *Request) { r.ExpiresAt = now }},
	{"org", Forbidden, func(_ *Record, q *Request) { q.OrgID = "o2" }},
	{"project", Forbidden, func(_ *Record, q *Request) { q.ProjectID = "" }},
	{"address", Forbidden, func(_ *Record, q *Request) { q.IP = netip.Addr{} }},
	{"scope", InsufficientPermissions, func(_ *Record, q *Request) { q.Scopes = append(q.Scopes, "write") }},
}

func TestFirstFailingCheckIsTheAnswer(t *testing.T) {
	t.Parallel()
	for set := range 1 << len(failures) {
		r, q := good()
		want, names := Valid, []string{}
		for i, failure := range failures {
			if set>>i&1 == 1 {
				failure.do(r, q)
				names = append(names, failure.name)
			}
		}
		if set != 0 {
			want = failures[bits.TrailingZeros(uint(set))].code
		}
		if got := Decide(r, q, now); got != want {
			t.Errorf("%v: %v, want %v", names, got, want)
		}
	}
}

func TestExpiryIsExact(t *testing.T) {
	t.Parallel()
	r, q := good()
	for offset, want := range map[time.Duration]Code{-1: Valid, 0: Expired, 1: Expired} {
		r.ExpiresAt = now
		if got := Decide(r, q, now.Add(offset)); got != want {
			t.Errorf("%v from expiry: %v, want %v", offset, got, want)
		}
	}
	r.ExpiresAt = time.Time{}
	if got := Decide(r, q, now); got != Valid {
		t.Errorf("without expiry: %v", got)
	}
	// A far future and a far past, beyond the range of nanoseconds in 64 bits.
	r.ExpiresAt = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := Decide(r, q, now); got != Valid {
		t.Errorf("in the year 9999: %v", got)
	}
	r.ExpiresAt = time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)
	if got := Decide(r, q, now); got != Expired {
		t.Errorf("in the year 1: %v", got)
	}
}

// TestBinding has every case of one dimension. The other one meets all its conditions.
func TestBinding(t *testing.T) {
	t.Parallel()
	tests := []struct {
		bound, named string
		required     bool
		want         Code
	}{
		{"", "", false, Valid},
		{"", "", true, Valid},
		{"", "o1", false, Valid},
		{"", "o1", true, Valid},
		{"o1", "o1", false, Valid},
		{"o1", "o1", true, Valid},
		{"o1", "", false, Valid},
		{"o1", "", true, Forbidden},
		{"o1", "o2", false, Forbidden},
		{"o1", "o2", true, Forbidden},
		{"o1", "O1", false, Forbidden},
		{"o1", "o1 ", false, Forbidden},
		{"o1", "o", false, Forbidden},
	}
	for _, test := range tests {
		r, q := good()
		r.OrgID, q.OrgID, q.RequireOrg = test.bound, test.named, test.required
		if got := Decide(r, q, now); got != test.want {
			t.Errorf("org: bound to %q, for %q, required %v: %v, want %v", test.bound, test.named, test.required, got, test.want)
		}
		r, q = good()
		r.ProjectID, q.ProjectID, q.RequireProject = test.bound, test.named, test.required
		if got := Decide(r, q, now); got != test.want {
			t.Errorf("project: bound to %q, for %q, required %v: %v, want %v", test.bound, test.named, test.required, got, test.want)
		}
	}
}

// TestBindingsAreIndependent: a requirement of one dimension has no effect on the other.
func TestBindingsAreIndependent(t *testing.T) {
	t.Parallel()
	r, _ := good()
	for _, test := range []struct {
		request Request
		want    Code
	}{
		{Request{}, Valid},
		{Request{RequireOrg: true}, Forbidden},
		{Request{RequireProject: true}, Forbidden},
		{Request{OrgID: "o1", RequireOrg: true}, Valid},
		{Request{ProjectID: "p1", RequireProject: true}, Valid},
		{Request{OrgID: "o1", RequireProject: true}, Forbidden},
		{Request{ProjectID: "p1", RequireOrg: true}, Forbidden},
		{Request{OrgID: "p1"}, Forbidden},
	} {
		test.request.IP = netip.MustParseAddr("192.0.2.7")
		if got := Decide(r, &test.request, now); got != test.want {
			t.Errorf("%+v: %v, want %v", test.request, got, test.want)
		}
	}
}

func TestAllowList(t *testing.T) {
	t.Parallel()
	tests := []struct {
		allowed []string
		client  string
		want    Code
	}{
		{nil, "", Valid},
		{nil, "192.0.2.7", Valid},
		{[]string{"192.0.2.7"}, "192.0.2.7", Valid},
		{[]string{"192.0.2.7"}, "::ffff:192.0.2.7", Valid},
		{[]string{"::ffff:192.0.2.7"}, "192.0.2.7", Valid},
		{[]string{"::ffff:192.0.2.0/120"}, "192.0.2.7", Valid},
		{[]string{"192.0.2.7/24"}, "192.0.2.8", Valid},
		{[]string{"198.51.100.1", "192.0.2.0/24"}, "192.0.2.8", Valid},
		{[]string{"2001:db8::/32"}, "2001:db8::1", Valid},
		{[]string{"0.0.0.0/0"}, "192.0.2.8", Valid},
		{[]string{"0.0.0.0/0"}, "", Forbidden},
		{[]string{"::/0"}, "", Forbidden},
		{[]string{"::/0"}, "192.0.2.8", Forbidden},
		{[]string{"0.0.0.0/0"}, "2001:db8::1", Forbidden},
		{[]string{"192.0.2.7"}, "192.0.2.8", Forbidden},
		{[]string{"fe80::/10"}, "fe80::1", Valid},
		{[]string{"fe80::/10"}, "fe80::1%eth0", Forbidden},
	}
	for _, test := range tests {
		r, q := good()
		r.AllowedIPs, q.IP = nil, netip.Addr{}
		for _, text := range test.allowed {
			network, err := ParseNetwork(text)
			if err != nil {
				t.Fatal(err)
			}
			r.AllowedIPs = append(r.AllowedIPs, network)
		}
		if test.client != "" {
			q.IP = netip.MustParseAddr(test.client)
		}
		if got := Decide(r, q, now); got != test.want {
			t.Errorf("%v for %q: %v, want %v", test.allowed, test.client, got, test.want)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		held, needed []string
		want         Code
	}{
		{nil, nil, Valid},
		{nil, []string{"read"}, InsufficientPermissions},
		{[]string{"read"}, nil, Valid},
		{[]string{"read", "write"}, []string{"write", "read"}, Valid},
		{[]string{"read"}, []string{"read", "write"}, InsufficientPermissions},
		{[]string{"read"}, []string{"READ"}, InsufficientPermissions},
		{[]string{"read"}, []string{"rea"}, InsufficientPermissions},
		{[]string{"read"}, []string{"reads"}, InsufficientPermissions},
		{[]string{"*"}, []string{"anything", "at:all", "*"}, Valid},
		{[]string{"keys:*"}, []string{"keys:read", "keys:", "keys:a:b", "keys:*"}, Valid},
		{[]string{"keys:*"}, []string{"keys"}, InsufficientPermissions},
		{[]string{"keys:*"}, []string{"keysread"}, InsufficientPermissions},
		{[]string{"keys:*"}, []string{"*"}, InsufficientPermissions},
		{[]string{"a:b:*"}, []string{"a:b:c"}, Valid},
		{[]string{"a:b:*"}, []string{"a:c"}, InsufficientPermissions},
		{[]string{":*"}, []string{":x"}, InsufficientPermissions},
		{[]string{":*"}, []string{":*"}, Valid},
		{[]string{"ke*"}, []string{"keys"}, InsufficientPermissions},
		{[]string{"keys:*:read"}, []string{"keys:a:read"}, InsufficientPermissions},
		{[]string{"**"}, []string{"keys"}, InsufficientPermissions},
		{[]string{"read"}, []string{""}, InsufficientPermissions},
	}
	for _, test := range tests {
		r, q := good()
		r.Scopes, q.Scopes = test.held, test.needed
		if got := Decide(r, q, now); got != test.want {
			t.Errorf("held %q, needed %q: %v, want %v", test.held, test.needed, got, test.want)
		}
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	r, q := good()
	q.IP = netip.MustParseAddr("::ffff:192.0.2.7")
	if n := testing.AllocsPerRun(100, func() { Decide(r, q, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// drawCase makes records and requests that are similar to each other, so that
// every code occurs.
func drawCase(t *rapid.T) (*Record, *Request) {
	scope := rapid.SampledFrom([]string{"*", "a:*", ":*", "a:b", "a:", "a", "b", ""})
	id := rapid.SampledFrom([]string{"", "o1", "o2"})
	network := rapid.SampledFrom([]netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("0.0.0.0/0"),
		netip.MustParsePrefix("2001:db8::/32"),
		{},
	})
	addr := rapid.SampledFrom([]netip.Addr{
		{},
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.1"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%eth0"),
	})
	r := &Record{
		UserID: rapid.SampledFrom([]string{"u", "u", "u", ""}).Draw(t, "user"),
		OrgID:  id.Draw(t, "org"), ProjectID: id.Draw(t, "project"),
		Scopes:     rapid.SliceOfN(scope, 0, 3).Draw(t, "held"),
		AllowedIPs: rapid.SliceOfN(network, 0, 2).Draw(t, "allowed"),
		Active:     rapid.SampledFrom([]bool{true, true, true, false}).Draw(t, "active"),
		Defect:     rapid.SampledFrom([]string{"", "", "", "bad"}).Draw(t, "defect"),
	}
	if rapid.Bool().Draw(t, "expires") {
		r.ExpiresAt = now.Add(time.Duration(rapid.IntRange(-1, 2).Draw(t, "in")))
	}
	return r, &Request{
		Scopes: rapid.SliceOfN(scope, 0, 3).Draw(t, "needed"),
		OrgID:  id.Draw(t, "for org"), ProjectID: id.Draw(t, "for project"), IP: addr.Draw(t, "ip"),
		RequireOrg: rapid.Bool().Draw(t, "org required"), RequireProject: rapid.Bool().Draw(t, "project required"),
	}
}

// decideProperties holds for any record and request: a request for more, or a
// record that grants less, never turns a refusal into VALID.
func decideProperties(t *rapid.T) {
	r, q := drawCase(t)
	code := Decide(r, q, now)
	if code < Disabled || code > Valid {
		t.Fatalf("Decide returned %v, which it must not return", code)
	}
	narrower := map[string]func(*Record, *Request){
		"one more needed scope": func(_ *Record, q *Request) { q.Scopes = append(slices.Clone(q.Scopes), "a:b") },
		"one held scope less": func(r *Record, _ *Request) {
			r.Scopes = r.Scopes[:max(0, len(r.Scopes)-1)]
		},
		"no address":        func(_ *Record, q *Request) { q.IP = netip.Addr{} },
		"org required":      func(_ *Record, q *Request) { q.RequireOrg = true },
		"project required":  func(_ *Record, q *Request) { q.RequireProject = true },
		"bound to an org":   func(r *Record, _ *Request) { r.OrgID = cmp.Or(r.OrgID, "o1") },
		"not active":        func(r *Record, _ *Request) { r.Active = false },
		"a defect":          func(r *Record, _ *Request) { r.Defect = "bad" },
		"one network fewer": func(r *Record, _ *Request) { r.AllowedIPs = fewer(r.AllowedIPs) },
	}
	for name, narrow := range narrower {
		r2, q2 := *r, *q
		narrow(&r2, &q2)
		if got := Decide(&r2, &q2, now); got == Valid && code != Valid {
			t.Fatalf("%s turns %v into VALID", name, code)
		}
	}
	if got := Decide(r, q, now.Add(time.Hour)); got == Valid && code != Valid {
		t.Fatalf("a later time turns %v into VALID", code)
	}
	slices.Reverse(q.Scopes)
	slices.Reverse(r.Scopes)
	if got := Decide(r, q, now); got != code {
		t.Fatalf("another order of scopes turns %v into %v", code, got)
	}
}

// fewer drops one network but never the last: an empty list allows any address.
func fewer(list []netip.Prefix) []netip.Prefix {
	if len(list) < 2 {
		return list
	}
	return list[1:]
}

func TestDecideProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, decideProperties)
}

func FuzzDecide(f *testing.F) { f.Fuzz(rapid.MakeFuzz(decideProperties)) }

func ExampleDecide() {
	r := &Record{UserID: "u", Active: true, Scopes: []string{"keys:*"}}
	fmt.Println(Decide(r, &Request{Scopes: []string{"keys:read"}}, time.Now()))
	fmt.Println(Decide(r, &Request{Scopes: []string{"billing"}}, time.Now()))
	// Output:
	// VALID
	// INSUFFICIENT_PERMISSIONS
}
