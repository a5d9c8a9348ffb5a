package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestInvertedMappingsAreRefused: the documents have a switch "revoked" and an expiry
// in seconds. Both commands refuse a mapping that turns one of them around.
func TestInvertedMappingsAreRefused(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	database := d.Database(t)
	keys := d.Client(t).Database(database).Collection("tokens")
	insertTokens(t, keys)
	mapping := func(flags ...string) []string {
		return append(flags, "--mongodb-uri="+strings.Replace(d.URI, "/?", "/"+database+"?", 1), "--collection=tokens",
			"--map-hash=hash", "--map-active=revoked", "--map-user-id=owner", "--map-expires-at=exp", "--map-org-id=", "--map-project-id=", "--map-allowed-ips=")
	}
	for _, test := range []struct {
		flags []string
		code  int
		want  string
	}{
		{[]string{"--map-expires-form=unix"}, 2, `is called "revoked", which says that true switches a key off`},
		{[]string{"--map-active-form=negated", "--map-expires-form=unix-ms"}, 1, "set --map-expires-form=unix"},
		{[]string{"--map-active-form=negated"}, 1, "set --map-expires-form=unix"},
	} {
		for _, command := range []string{"doctor", "serve"} {
			got := run(t, append([]string{command, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"}, mapping(test.flags...)...)...)
			if out := got.stdout + got.stderr; got.code != test.code || !strings.Contains(out, test.want) {
				t.Errorf("%s %q: got %+v, want code %d and %q", command, test.flags, got, test.code, test.want)
			}
		}
	}
	if got := run(t, append([]string{"doctor"}, mapping("--map-active-form=negated", "--map-expires-form=unix")...)...); got.code != 0 || !strings.Contains(got.stdout, "ok         documents     10 keys") {
		t.Errorf("the right mapping: %+v", got)
	}
	inverted := run(t, append([]string{"doctor"}, mapping("--map-active-form=boolean", "--map-expires-form=unix")...)...)
	if inverted.code != 0 || !strings.Contains(inverted.stdout, "the name says the opposite") || !strings.Contains(inverted.stdout, "most keys are off: 8 of 10") {
		t.Errorf("an inverted mapping, as the operator wants it: %+v", inverted)
	}
}

// insertTokens inserts ten tokens, of which two are revoked.
func insertTokens(t *testing.T, keys *mongo.Collection) {
	t.Helper()
	docs := make([]any, 10)
	for i := range docs {
		docs[i] = bson.D{
			{Key: "hash", Value: apikey.HashOf(fmt.Sprint("token ", i)).Hex()},
			{Key: "revoked", Value: i < 2},
			{Key: "owner", Value: bson.NewObjectID()},
			{Key: "exp", Value: time.Now().AddDate(1, 0, 0).Unix()},
		}
	}
	if _, err := keys.InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	index := mongo.IndexModel{Keys: bson.D{{Key: "hash", Value: 1}}, Options: options.Index().SetUnique(true)}
	if _, err := keys.Indexes().CreateOne(t.Context(), index); err != nil {
		t.Fatal(err)
	}
}
