package apikey

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestEachFailingCheckHasItsReason: each failure alone has its own reason, which fits its code.
func TestEachFailingCheckHasItsReason(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code Code
		want string
		do   func(*Record, *Request)
	}{
		{Valid, "", func(*Record, *Request) {}},
		{Disabled, "inactive", func(r *Record, _ *Request) { r.Active = false }},
		{Disabled, "missing:is_active", func(r *Record, _ *Request) {
			r.Active, r.Defect, r.DefectReason = false, "is_active is missing", "missing:is_active"
		}},
		{Disabled, "unreadable", func(r *Record, _ *Request) { r.Active, r.Defect = false, "a defect without a reason" }},
		{Disabled, "unreadable", func(r *Record, _ *Request) { r.UserID = "" }},
		{Expired, "expired", func(r *Record, _ *Request) { r.ExpiresAt = now }},
		{Forbidden, "org", func(_ *Record, q *Request) { q.OrgID = "o2" }},
		{Forbidden, "org", func(_ *Record, q *Request) { q.OrgID, q.RequireOrg = "", true }},
		{Forbidden, "project", func(_ *Record, q *Request) { q.ProjectID = "p2" }},
		{Forbidden, "project", func(_ *Record, q *Request) { q.ProjectID, q.RequireProject = "", true }},
		{Forbidden, "ip", func(_ *Record, q *Request) { q.IP = netip.Addr{} }},
		{Forbidden, "org", func(_ *Record, q *Request) { q.OrgID, q.ProjectID, q.IP = "o2", "p2", netip.Addr{} }},
		{InsufficientPermissions, "scope:orders:read", func(_ *Record, q *Request) { q.Scopes = []string{"read", "orders:read", "b"} }},
	} {
		r, q := good()
		test.do(r, q)
		code := Decide(r, q, now)
		if got := ReasonFor(code, r, q).String(); code != test.code || got != test.want {
			t.Errorf("%v because of %q, want %v because of %q", code, got, test.code, test.want)
		}
	}
	for code := range Disabled {
		if got := ReasonFor(code, &Record{}, &Request{}); got != (Reason{}) {
			t.Errorf("%v has the reason %q", code, got)
		}
	}
}

// TestRepairingTheReasonLeadsToTheNextCheck: whoever repairs what the reason names, and nothing
// else, comes to a later check, and in the end to VALID. So the reason names what Decide refused,
// for any record and request.
func TestRepairingTheReasonLeadsToTheNextCheck(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r, q := drawCase(t)
		if r.Defect != "" {
			r.DefectReason = rapid.SampledFrom([]string{"", "type:scopes"}).Draw(t, "defect reason")
		}
		const most = 3 + 1 + 3 + 3 // reasons of each code; at most three scopes are required
		code := Decide(r, q, now)
		for range most {
			reason := ReasonFor(code, r, q)
			if (code == Valid) != (reason == Reason{}) {
				t.Fatalf("%v has the reason %q", code, reason)
			}
			if code == Valid {
				return
			}
			repair(t, reason, r, q)
			next := Decide(r, q, now)
			if next < code {
				t.Fatalf("repairing %q turned %v into %v", reason, code, next)
			}
			if next == code && ReasonFor(next, r, q) == reason {
				t.Fatalf("%q is still the reason of %v after its repair", reason, code)
			}
			code = next
		}
		if code != Valid {
			t.Fatalf("%v after all repairs", code)
		}
	})
}

func repair(t *rapid.T, reason Reason, r *Record, q *Request) {
	switch reason.Kind {
	case ReasonInactive:
		r.Active = true
	case "type:scopes":
		r.Defect, r.DefectReason = "", ""
	case ReasonUnreadable:
		r.Defect, r.UserID = "", "u"
	case ReasonExpired:
		r.ExpiresAt = time.Time{}
	case ReasonOrg:
		q.OrgID = r.OrgID
	case ReasonProject:
		q.ProjectID = r.ProjectID
	case ReasonIP:
		r.AllowedIPs = nil
	case ReasonScope:
		if !slices.Contains(q.Scopes, reason.Name) {
			t.Fatalf("%q is not a required scope", reason)
		}
		r.Scopes = append(slices.Clone(r.Scopes), reason.Name)
	default:
		t.Fatalf("nobody knows the reason %q", reason)
	}
}

func TestReasonForAllocatesNothing(t *testing.T) {
	r, q := good()
	q.Scopes = append(q.Scopes, "write")
	if n := testing.AllocsPerRun(100, func() { _ = ReasonFor(InsufficientPermissions, r, q) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
