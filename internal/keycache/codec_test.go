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
		got := &apikey.Record{}
		d.record(got, make([]string, scopesInline))
		if diff := cmp.Diff(want, got, comparer, equateNil); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestEntrySurvivesItsEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := entry{
			epoch: rapid.Uint64().Draw(t, "epoch"),
			seq:   rapid.Uint64().Draw(t, "seq"),
			kind:  entryKind(rapid.IntRange(0, int(ambiguous)).Draw(t, "kind")),
			hash:  apikey.HashOf(rapid.String().Draw(t, "key")),
		}
		if rapid.Bool().Draw(t, "zeros") {
			clear(want.hash[:keyBytes])
		}
		g := &generation{slots: newSlots(16, newSlotHash(0)), ticket: Ticket{epoch: want.epoch, seq: want.seq}}
		id := apikey.DocID(rapid.String().Draw(t, "id"))
		if want.hasRecord() {
			want.idSum = g.slots.sumOfID(id)
		}
		encode := want.encode
		if rapid.Bool().Draw(t, "from a scan") {
			encode = func(id apikey.DocID, record *apikey.Record) ([]byte, bool) {
				return want.appendFromScan(nil, id, record)
			}
			want.deadline, g.scan = forever, rapid.Uint64().Draw(t, "scan")
			want.scan = g.scan
		} else if want.kind == provisional {
			want.scan = rapid.Uint64().Draw(t, "scan")
		} else {
			want.deadline = time.Duration(rapid.Int64().Draw(t, "deadline"))
		}
		value, ok := encode(id, &apikey.Record{KeyID: "named"})
		if !ok {
			t.Fatal("not encoded")
		}
		if h, ok := hashOf(storeKey(&want.hash), value); !ok || h != want.hash {
			t.Fatalf("the value is of %x, want %x", h, want.hash)
		}
		other := want.hash
		other[rapid.IntRange(0, len(other)-1).Draw(t, "byte")] ^= 1
		if _, _, ok := g.decodeEntry(value, &other); ok && storeKey(&other) == storeKey(&want.hash) {
			t.Fatal("the value is taken for one of another hash")
		}
		got, body, ok := g.decodeEntry(value, &want.hash)
		if !ok || got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if !want.hasRecord() {
			return
		}
		if f := decodeFound(&entry{}, body); f.id != id || f.record.KeyID != "named" {
			t.Fatalf("got %q and %+v, want %q", f.id, f.record, id)
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
