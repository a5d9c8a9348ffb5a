package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// anomaly is an order of events that can cause a wrong answer. It is staged on devmongo or,
// if the interleaving must be exact, on the cache and the validator.
//
// Without the tag unguarded all guards are on, and the answers must be right. With the tag
// the stage runs once for each set of guards, with that set off: for a set of shows the
// answer must be wrong, which proves that the stage can fail; for a set of covered it must
// still be right, because another guard prevents the anomaly.
type anomaly struct {
	name    string
	shows   []string
	covered []string
	// stage describes the wrong answer, or returns "" when all answers were right. Its
	// streams have the scope.
	stage stage
	// inCollection replaces shows and covered in collection scope. Nil: they are the
	// same.
	inCollection *guards
	// scopes are the scopes in which the anomaly can be staged. Nil: both.
	scopes []string
}

type stage = func(t *testing.T, scope string) string

// guards are the sets of guards of an anomaly: shows and covered.
type guards struct{ shows, covered []string }

// in returns the anomaly in a scope; false if it cannot be staged there.
func (a anomaly) in(scope string) (anomaly, bool) {
	if a.inCollection != nil && scope == mongotest.ScopeCollection {
		a.shows, a.covered = a.inCollection.shows, a.inCollection.covered
	}
	return a, a.scopes == nil || slices.Contains(a.scopes, scope)
}

// TestStagedAnomalies has one subtest for each anomaly in each scope.
func TestStagedAnomalies(t *testing.T) {
	for _, a := range anomalies() {
		t.Run(strings.ReplaceAll(a.name, " ", "_"), func(t *testing.T) {
			for _, scope := range testkit.Scopes {
				if a, ok := a.in(scope); ok {
					t.Run(scope, func(t *testing.T) { runStaged(t, a, scope) })
				}
			}
		})
	}
}

func anomalies() []anomaly {
	all := []anomaly{
		{
			name:    "hole at open",
			shows:   []string{"OpenFloor", "AfterClusterTime"},
			covered: []string{"Majority"},
			stage:   holeAtOpen,
		},
		{name: "rolled back write", shows: []string{"Majority"}, stage: rolledBackWrite},
		{name: "delete without hash", shows: []string{"ByID"}, covered: []string{"ByHash"}, stage: changing(deleted, apikey.NotFound)},
		{name: "hash moved in place", shows: []string{"ByID"}, covered: []string{"ByHash"}, stage: changing(hashMoved, apikey.NotFound)},
		{name: "replaced with another hash", shows: []string{"ByID"}, covered: []string{"ByHash"}, stage: changing(replaced, apikey.NotFound)},
		{name: "two keys in one transaction", shows: []string{"ByID"}, covered: []string{"ByHash"}, stage: transaction},
		{
			name:    "dropped and created again",
			shows:   []string{"LossDrop+LossNoToken", "SameEpoch", "EpochAtLoss"},
			covered: []string{"LossDrop", "LossNoToken"},
			stage:   changing(droppedAndCreated, apikey.NotFound),
		},
		{
			name:    "renamed away",
			shows:   []string{"LossRename+LossNoToken+InspectAtOpen"},
			covered: []string{"LossRename", "LossRename+LossNoToken"},
			stage:   vanishing(renamedAway),
		},
		{
			name:    "renamed onto",
			shows:   []string{"ToCollection", "LossRename+LossNoToken"},
			covered: []string{"LossRename"},
			stage:   changing(renamedOnto, apikey.Disabled),
			// The stream of a collection has no filter by names.
			inCollection: &guards{shows: []string{"LossRename+LossNoToken"}, covered: []string{"LossRename", "ToCollection"}},
		},
		{
			name:    "database dropped",
			shows:   []string{"LossDrop+LossDropDatabase+LossInvalidate+LossNoToken+InspectAtOpen"},
			covered: []string{"LossDropDatabase+LossInvalidate", "LossDrop", "LossDrop+LossDropDatabase+LossInvalidate+LossNoToken"},
			stage:   vanishing(databaseDropped),
		},
		{
			name:    "collection gone",
			shows:   []string{"InspectAtOpen", "InspectAtRead"},
			covered: []string{"LossDrop", "LossDrop+LossNoToken"},
			stage:   vanishing(dropped),
		},
		{
			name:    "history lost on resume",
			shows:   []string{"LossHistory+LossNoToken", "SameEpoch", "EpochAtLoss"},
			covered: []string{"LossHistory", "LossNoToken"},
			stage:   historyLost,
		},
	}
	for _, c := range []struct {
		code  int
		name  string
		guard string
	}{
		{286, "history lost", "LossHistory"},
		{136, "position lost", "LossPosition"},
		{260, "token refused", "LossTokenRefused"},
		{280, "token lost by the pipeline", "LossTokenRemoved"},
		{10334, "event over 16 MB", "LossEventTooLarge"},
		{8, "a code without a meaning", "LossUnknownCode"},
	} {
		all = append(all, anomaly{
			name:    fmt.Sprintf("code %d %s", c.code, c.name),
			shows:   []string{c.guard + "+LossNoToken"},
			covered: []string{c.guard},
			stage:   refusedWith(c.code),
		})
	}
	return slices.Concat(all, tailAnomalies(), restoreAnomalies(), wireAnomalies(), partsAnomalies(), hashAnomalies(), fieldsAnomalies(), refusalAnomalies(), fleetAnomalies(), revisionAnomalies(), indexAnomalies(), clientAnomalies())
}

// stagedService runs a daemon on its own devmongo. Its cache is lazy, so that it has
// exactly the keys that were validated.
func stagedService(t *testing.T, scope string, config devmongo.Config) (*fixture, *devmongo.Server) {
	t.Helper()
	d := mongotest.StartDevmongo(t, config)
	return start(t, d.InScope(scope), staged), d.Node
}

func staged(c *daemon.Config) {
	c.Preload, c.HeartbeatInterval = "off", 50*time.Millisecond
}

// validateSince validates until the data of an answer is as new as known, a time at which
// the state was known.
func (r *fixture) validateSince(k key, known time.Time) apikey.Verdict {
	r.t.Helper()
	return validatedSince(r.t, known, func() apikey.Verdict { return r.validate(k) })
}

func validatedSince(t *testing.T, known time.Time, validate func() apikey.Verdict) apikey.Verdict {
	t.Helper()
	var v apikey.Verdict
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
		v = validate()
		return v.Code != apikey.Unavailable && v.AsOf.After(known)
	}, "got no answer from data after the change")
	return v
}

// violation describes what is wrong with an answer; "" if it is right.
func violation(v apikey.Verdict, want apikey.Code) string {
	if v.Code == want {
		return ""
	}
	return fmt.Sprintf("got %v (source %v, %v old), want %v", v.Code, v.Source, v.Staleness, want)
}

// changing stages a change of a cached key.
func changing(change func(r *fixture, k key), want apikey.Code) stage {
	return func(t *testing.T, scope string) string {
		r, _ := stagedService(t, scope, devmongo.Config{})
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		change(r, k)
		return violation(r.validateSince(k, time.Now()), want)
	}
}

func deleted(r *fixture, k key) {
	if _, err := r.keys.DeleteOne(r.t.Context(), bson.D{{Key: "_id", Value: k.id}}); err != nil {
		r.t.Fatal(err)
	}
}

func hashMoved(r *fixture, k key) { r.set(k, "key_hash", apikey.HashOf("another key").Hex()) }

func replaced(r *fixture, k key) {
	d := k.document()
	d[1].Value = apikey.HashOf("another key").Hex()
	if _, err := r.keys.ReplaceOne(r.t.Context(), bson.D{{Key: "_id", Value: k.id}}, d); err != nil {
		r.t.Fatal(err)
	}
}

func dropped(r *fixture, _ key) {
	if err := r.keys.Drop(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func droppedAndCreated(r *fixture, k key) {
	dropped(r, k)
	mongotest.CreateAPIKeys(r.t, r.db)
}

func renamedAway(r *fixture, _ key) { r.rename("api_keys", "elsewhere", false) }

// renamedOnto has the same events as $out and convertToCapped.
func renamedOnto(r *fixture, k key) {
	if _, err := r.db.Collection("staging").InsertOne(r.t.Context(), k.inactive()); err != nil {
		r.t.Fatal(err)
	}
	r.rename("staging", "api_keys", true)
}

func databaseDropped(r *fixture, _ key) {
	if err := r.db.Drop(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (k key) inactive() bson.D {
	d := k.document()
	for i := range d {
		if d[i].Key == "is_active" {
			d[i].Value = false
		}
	}
	return d
}

// vanishing stages the end of the collection: until it exists again, a key is neither
// VALID nor NOT_FOUND.
func vanishing(end func(r *fixture, k key)) stage {
	return func(t *testing.T, scope string) string {
		r, _ := stagedService(t, scope, devmongo.Config{})
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		end(r, k)
		known := time.Now()
		answer := ""
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			v := r.validate(k)
			if v.Code == apikey.NotFound || (v.Code == apikey.Valid && v.AsOf.After(known)) {
				answer = violation(v, apikey.Unavailable)
			}
			// The server has refused the stream twice, so the state is permanent.
			return answer != "" || r.metric("keytail_stream_failures_total") >= 2
		}, "the verdict did not become final")
		return answer
	}
}

// transaction revokes two keys at one cluster time.
func transaction(t *testing.T, scope string) string {
	r, _ := stagedService(t, scope, devmongo.Config{})
	keys := []key{r.newKey(), r.newKey()}
	for _, k := range keys {
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
	}
	r.inTransaction(func(ctx context.Context) error {
		for _, k := range keys {
			if _, err := r.keys.DeleteOne(ctx, bson.D{{Key: "_id", Value: k.id}}); err != nil {
				return err
			}
		}
		return nil
	})
	known := time.Now()
	var all []string
	for _, k := range keys {
		if w := violation(r.validateSince(k, known), apikey.NotFound); w != "" {
			all = append(all, w)
		}
	}
	return strings.Join(all, "; ")
}

// inTransaction commits the writes of f with write concern majority.
func (r *fixture) inTransaction(f func(ctx context.Context) error) {
	r.t.Helper()
	session, err := r.db.Client().StartSession()
	if err != nil {
		r.t.Fatal(err)
	}
	defer session.EndSession(r.t.Context())
	_, err = session.WithTransaction(r.t.Context(), func(ctx context.Context) (any, error) { return nil, f(ctx) },
		options.Transaction().SetWriteConcern(writeconcern.Majority()))
	if err != nil {
		r.t.Fatal(err)
	}
}

// holeAtOpen: a change has been applied but not committed when the stream opens: the stream
// begins after it, and a majority read does not return it.
func holeAtOpen(t *testing.T, scope string) string {
	r, node := stagedService(t, scope, devmongo.Config{})
	k := r.newKey()
	r.waitForCode(k, apikey.Valid)
	node.HoldMajority()
	applied(r, k, false)
	loseHistory(r, func() {})
	// Without the guard this reads the snapshot before the change, and caches it.
	r.validate(k)
	node.ReleaseMajority()
	return violation(r.validateSince(k, time.Now()), apikey.Disabled)
}

// rolledBackWrite: a local read returns a write that is then rolled back.
func rolledBackWrite(t *testing.T, scope string) string {
	r, node := stagedService(t, scope, devmongo.Config{})
	// The test does not validate the key before, so that it is not cached.
	k, other := r.newKey(), r.newKey()
	r.set(k, "is_active", false)
	r.validateSince(other, time.Now())
	node.HoldMajority()
	applied(r, k, true)
	r.validate(k)
	node.Rollback()
	return violation(r.validateSince(k, time.Now()), apikey.Disabled)
}

// applied writes with write concern 1.
func applied(r *fixture, k key, active bool) {
	r.t.Helper()
	keys := r.keys.Clone(options.Collection().SetWriteConcern(writeconcern.W1()))
	if _, err := keys.UpdateByID(r.t.Context(), k.id, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: active}}}}); err != nil {
		r.t.Fatal(err)
	}
}

// loseHistory makes the stream end with a loss, runs unseen, and lets the tail open a new
// stream, which does not deliver the changes of unseen.
func loseHistory(r *fixture, unseen func()) { refuse(r, 286, unseen) }

// refuse makes all of the stream's commands fail with a code, and runs unseen when the
// first has failed. It returns when the stream is open again.
func refuse(r *fixture, code int, unseen func()) {
	r.t.Helper()
	opens := r.metric("keytail_stream_opens_total")
	stream := failing(r, code, "getMore", "aggregate")
	stream.wait()
	unseen()
	stream.mend()
	mongotest.Eventually(r.t, testkit.WaitTimeout, func() bool { return r.metric("keytail_stream_opens_total") > opens }, "the stream is not opened again")
}

// refusedWith stages a revocation that the stream cannot deliver any more; the server
// reports that with a code.
func refusedWith(code int) stage {
	return func(t *testing.T, scope string) string {
		r, _ := stagedService(t, scope, devmongo.Config{})
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		refuse(r, code, func() { r.set(k, "is_active", false) })
		return violation(r.validateSince(k, time.Now()), apikey.Disabled)
	}
}

// smallOplog is the number of changes in a tiny oplog.
const smallOplog = 64

// historyLost stages the same with an oplog that has rolled past the token.
func historyLost(t *testing.T, scope string) string {
	r, _ := stagedService(t, scope, devmongo.Config{OplogSize: smallOplog})
	k := r.newKey()
	r.waitForCode(k, apikey.Valid)
	r.waitUntilCached(k)
	// NotWritablePrimary: a transient error, so the tail keeps the token.
	refuse(r, 10107, func() {
		r.set(k, "is_active", false)
		rollPast(r)
	})
	return violation(r.validateSince(k, time.Now()), apikey.Disabled)
}

// rollPast writes until a tiny oplog has dropped all earlier entries.
func rollPast(r *fixture) {
	r.t.Helper()
	noise := make([]any, smallOplog+1)
	for i := range noise {
		noise[i] = bson.D{{Key: "n", Value: i}}
	}
	if _, err := r.db.Collection("noise").InsertMany(r.t.Context(), noise); err != nil {
		r.t.Fatal(err)
	}
}
