package keycache

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keytail/keytail/internal/apikey"
)

func TestRecordSurvivesItsEncoding(t *testing.T) {
	comparer := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecord(t)
		encoded := appendRecord(nil, want)
		d := decoder{rest: encoded}
		if bound := recordSize(want); len(encoded) > bound {
			t.Fatalf("%d bytes written, recordSize returned %d", len(encoded), bound)
		}
		if diff := cmp.Diff(want, d.record(), comparer, equateNil); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestEntrySurvivesItsEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := entry{
			epoch:    rapid.Uint64().Draw(t, "epoch"),
			seq:      rapid.Uint64().Draw(t, "seq"),
			deadline: time.Duration(rapid.Int64().Draw(t, "deadline")),
			idSlot:   rapid.Uint32().Draw(t, "slot"),
			kind:     entryKind(rapid.IntRange(0, int(marker)).Draw(t, "kind")),
			hash:     apikey.HashOf(rapid.String().Draw(t, "key")),
		}
		id := apikey.DocID(rapid.String().Draw(t, "id"))
		value, ok := want.encode(id, &apikey.Record{KeyID: "named"})
		if !ok {
			t.Fatal("not encoded")
		}
		got, body, ok := decodeEntry(value)
		if !ok || got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if want.kind != found {
			return
		}
		if gotID, record := decodeFound(body); gotID != id || record.KeyID != "named" {
			t.Fatalf("got %q and %+v, want %q", gotID, record, id)
		}
	})
}

func drawRecord(t *rapid.T) *apikey.Record {
	text := func(label string) string { return rapid.String().Draw(t, label) }
	r := &apikey.Record{
		KeyID: text("id"), UserID: text("user"), OrgID: text("org"), ProjectID: text("project"),
		Name: text("name"), Defect: text("defect"), Active: rapid.Bool().Draw(t, "active"),
		Scopes:   rapid.SliceOf(rapid.String()).Draw(t, "scopes"),
		Metadata: json.RawMessage(text("metadata")),
	}
	if r.Defect != "" {
		r.DefectReason = text("defect reason")
	}
	if rapid.Bool().Draw(t, "expires") {
		// The range of years that JSON can represent.
		r.ExpiresAt = time.UnixMilli(rapid.Int64Range(-6e13, 2e14).Draw(t, "expires_at")).UTC()
	}
	for range rapid.IntRange(0, 3).Draw(t, "ips") {
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "family")
		bytes := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address")
		address, _ := netip.AddrFromSlice(bytes)
		r.AllowedIPs = append(r.AllowedIPs, netip.PrefixFrom(address, rapid.IntRange(0, 8*size).Draw(t, "bits")))
	}
	return r
}
