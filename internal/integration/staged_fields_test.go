package integration

import (
	"bytes"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// fieldsAnomalies are updates that change a field which decides, in a way that its name does not
// show at first sight. Beside it each update changes a field that decides nothing.
func fieldsAnomalies() []anomaly {
	plan := bson.E{Key: "plan", Value: "pro"}
	set := func(e ...bson.E) bson.E { return bson.E{Key: "$set", Value: append(bson.D{plan}, e...)} }
	return []anomaly{
		{
			name:    "element of the scopes replaced",
			shows:   []string{"NestedFields"},
			covered: []string{"RemovedFields"},
			stage:   updated(bson.D{set(bson.E{Key: "scopes.0", Value: "other"})}, apikey.InsufficientPermissions),
		},
		{
			name:    "switch removed",
			shows:   []string{"RemovedFields"},
			covered: []string{"NestedFields"},
			stage:   updated(bson.D{set(), {Key: "$unset", Value: bson.D{{Key: "is_active", Value: ""}}}}, apikey.Disabled),
		},
		{
			name:    "scopes shortened",
			shows:   []string{"RemovedFields"},
			covered: []string{"NestedFields"},
			// By a pipeline, so that the event has it in truncatedArrays.
			stage: updated(bson.A{bson.D{set(bson.E{Key: "scopes", Value: bson.A{}})}}, apikey.InsufficientPermissions),
		},
		{
			name:    "part of a description that is not known",
			shows:   []string{"UnshownFields"},
			covered: []string{"NestedFields"},
			stage:   updatedInAnUnknownPart,
		},
	}
}

// updated stages an update of a cached key that is then validated for the scope "read".
func updated(update any, want apikey.Code) stage {
	return func(t *testing.T, scope string) string {
		r, _ := stagedService(t, scope, devmongo.Config{})
		k := r.newKey()
		r.waitForCode(k, apikey.Valid, "read")
		r.waitUntilCached(k)
		if _, err := r.keys.UpdateByID(t.Context(), k.id, update); err != nil {
			t.Fatal(err)
		}
		return violation(validatedSince(t, time.Now(), func() apikey.Verdict { return r.validate(k, "read") }), want)
	}
}

// updatedInAnUnknownPart stages a server that shows removed fields in another part of the
// description, as a later version could.
func updatedInAnUnknownPart(t *testing.T, scope string) string {
	r, s := throughShim(t, scope)
	k := r.newKey()
	r.waitForCode(k, apikey.Valid)
	r.waitUntilCached(k)
	const from, to = "\x04removedFields\x00", "\x04departedParts\x00"
	s.once(func(message []byte) {
		event := bytes.Index(message, []byte(k.id))
		copy(message[event+bytes.Index(message[event:], []byte(from)):], to)
	}, "nextBatch", k.id, from)
	r.update(k, bson.D{
		{Key: "$set", Value: bson.D{{Key: "plan", Value: "pro"}}},
		{Key: "$unset", Value: bson.D{{Key: "is_active", Value: ""}}},
	})
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return s.change.Load() == nil }, "the event does not arrive")
	return violation(r.validateSince(k, time.Now()), apikey.Disabled)
}
