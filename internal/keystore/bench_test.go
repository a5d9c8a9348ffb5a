package keystore

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// benchDocuments are documents of usual forms.
func benchDocuments(b *testing.B) map[string]bson.Raw {
	b.Helper()
	typical := []bson.E{
		{Key: "_id", Value: bson.NewObjectID()},
		{Key: "org_id", Value: "acme"},
		{Key: "name", Value: "continuous integration"},
		{Key: "scopes", Value: bson.A{"orders:read", "orders:write"}},
		{Key: "key_prefix", Value: "kt_m0KXpWxK"},
		{Key: "created_at", Value: time.Now()},
		{Key: "last_used", Value: time.Now()},
		{Key: "usage_count", Value: int64(7)},
	}
	full := append([]bson.E{
		{Key: "expires_at", Value: time.Now()},
		{Key: "allowed_ips", Value: bson.A{"192.0.2.0/24", "2001:db8::1"}},
		{Key: "metadata", Value: bson.D{{Key: "plan", Value: "pro"}, {Key: "seats", Value: int32(12)}, {Key: "since", Value: time.Now()}}},
	}, typical...)
	return map[string]bson.Raw{"typical": document(b, typical...), "full": document(b, full...)}
}

func BenchmarkDecode(b *testing.B) {
	schema := DefaultSchema()
	for name, doc := range benchDocuments(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := schema.Decode(doc); d.Record.Defect != "" {
					b.Fatal(d.Record.Defect)
				}
			}
		})
	}
}
