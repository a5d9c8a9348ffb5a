package keystore

import (
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

var keyed = in(func(s *Schema) { s.HashAlgorithm = apikey.HMACSHA256 })

func TestAStoreNeedsTheSecretOfItsAlgorithm(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		schema Schema
		secret string
		want   string // a part of the error; empty: none
	}{
		"sha256":           {DefaultSchema(), "", ""},
		"hmac":             {keyed, "pepper", ""},
		"without a secret": {keyed, "", "--map-hash-algorithm hmac-sha256 needs the secret under which the hashes were made: set --map-hash-secret-file"},
		"without hmac":     {DefaultSchema(), "pepper", "--map-hash-secret-file is set, but --map-hash-algorithm sha256 uses no secret: leave it out, or set --map-hash-algorithm hmac-sha256"},
		"another mistake":  {in(func(s *Schema) { s.HashAfter = "a b" }), "", "--map-hash-after: "},
	} {
		_, err := New(Config{Client: &mongo.Client{}, Database: "shop", Schema: test.schema, HashSecret: []byte(test.secret)})
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "pepper")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAShortSecretIsWarnedOf, at start and without showing it.
func TestAShortSecretIsWarnedOf(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for secret, want := range map[string]int{"fifteen-bytes--": 1, "sixteen-bytes---": 0} {
			d, ctx := newWriteRig(t, s), testContext(t)
			core, lines := observer.New(zap.WarnLevel)
			store, err := New(Config{Client: d.client, Database: d.database.Name(), Schema: keyed, HashSecret: []byte(secret), Logger: zap.New(core)})
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Prepare(ctx, false); err != nil {
				t.Fatal(err)
			}
			if got := lines.FilterMessageSnippet("--map-hash-secret-file has fewer than 16 bytes").Len(); got != want {
				t.Errorf("%q: %d warnings, want %d", secret, got, want)
			}
			if text := fmt.Sprintf("%+v %v", lines.All(), store.SecretWarning()); strings.Contains(text, secret) {
				t.Errorf("the secret is shown: %s", text)
			}
		}
	})
}

// TestMessagesNameTheAlgorithm, so that nobody stores a plain SHA-256 under a pepper.
func TestMessagesNameTheAlgorithm(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"bcrypt": "$2b$10$leak", "plain": "kt_a-key-in-plain-text", "other": "leak"} {
		doc := keyOf(t, 1, bson.E{Key: "key_hash", Value: value})
		for _, s := range []Schema{DefaultSchema(), keyed} {
			err := surveyed(t, s, doc).StartError()
			if err == nil || strings.Contains(err.Error(), "HMAC-SHA256") != (s.HashAlgorithm == apikey.HMACSHA256) || !strings.Contains(err.Error(), s.aHash()) {
				t.Errorf("%s, %s: %v", name, s.HashAlgorithm, err)
			}
			if defect := s.Decode(doc).Record.Defect; !strings.HasPrefix(defect, "key_hash is not "+s.aHash()) {
				t.Errorf("%s, %s: %s", name, s.HashAlgorithm, defect)
			}
		}
	}
}
