package keystore

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/mongotest"
)

// TestSurveyReadsMappedFieldsAlone: a document may have other fields of any
// size. Their names are read from a few documents, if a role has no field.
func TestSurveyReadsMappedFieldsAlone(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		for i := range 12 {
			f.insert(t, keyOf(t, fmt.Sprintf("k%02d", i), bson.E{Key: fmt.Sprintf("other_%02d", i), Value: bytes.Repeat([]byte("x"), 1<<20)}))
		}
		documents := 0
		if err := f.readEnds(testContext(t), 4, f.schema.mappedFields(), func(doc bson.Raw) {
			documents++
			if len(doc) > 1000 {
				t.Error("a field without a role is read")
			}
		}); err != nil || documents != 4 {
			t.Errorf("%d documents were read, %v", documents, err)
		}
		found, err := f.Survey(testContext(t), 0)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"other_00", "other_01", "other_02", "other_03", "other_04", "other_07", "other_08", "other_09", "other_10", "other_11"}
		if diff := cmp.Diff(want, found.Others); found.Documents != 12 || diff != "" {
			t.Errorf("%d documents, others: %s", found.Documents, diff)
		}
	})
}

// TestSurveyOfLargeDocumentsIsLimited: it reads fewer documents, and still both
// ends.
func TestSurveyOfLargeDocumentsIsLimited(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		f.surveyBytes = 100 << 10
		metadata := bson.E{Key: "metadata", Value: bson.D{{Key: "a", Value: bytes.Repeat([]byte("x"), 20<<10)}}}
		for i := range 12 {
			f.insert(t, keyOf(t, int32(i), metadata))
		}
		ids := []string{}
		found, err := f.sample(testContext(t), 1000, func(d Document) { ids = append(ids, d.Record.KeyID) })
		if err != nil || found.Documents != 6 {
			t.Errorf("%+v, %v", found, err)
		}
		if diff := cmp.Diff([]string{"0", "1", "2", "11", "10", "9"}, ids); diff != "" {
			t.Error(diff)
		}
	})
}

// TestASwitchWithoutARoleIsAWarning, also at start: a key that it alone switches off
// would be VALID.
func TestASwitchWithoutARoleIsAWarning(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p, log := storeOf(t, s,
			keyOf(t, "a", bson.E{Key: "revoked", Value: false}, bson.E{Key: "revokedBy", Value: "ann"}, bson.E{Key: "revoked_sk_live_4Fa8leak1X9leak0q", Value: true}, bson.E{Key: "expires_at", Value: nil}, bson.E{Key: "blocked", Value: bson.A{}}),
			keyOf(t, "b", bson.E{Key: "deletedAt", Value: nil}))
		p.index(t, bson.D{{Key: "key_hash", Value: 1}}, options.Index().SetUnique(true))
		if err := p.Prepare(testContext(t), false); err != nil {
			t.Fatal(err)
		}
		want := "documents of " + p.Namespace() + " have fields deletedAt, revoked, whose names say that a key is off, and the mapping does not use them: a key that only one of them switches off is VALID"
		found, err := p.Survey(testContext(t), 0)
		if err != nil || !slices.ContainsFunc(found.Warnings(), func(w string) bool { return strings.HasPrefix(w, want) }) {
			t.Errorf("the survey warns %q, %v", found.Warnings(), err)
		}
		if others := fmt.Sprint(found.Others); strings.Contains(others, "leak") || !strings.Contains(others, "revokedBy") {
			t.Errorf("the fields without a role are %s", others)
		}
		if !slices.ContainsFunc(log.All(), func(e observer.LoggedEntry) bool { return strings.HasPrefix(e.Message, want) }) {
			t.Errorf("the log at start has %v", log.All())
		}
	})
}
