package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/mongotest"
)

// writeRig is a store whose client the test can make fail, and the view of
// another client.
type writeRig struct {
	*Store
	server *mongotest.Server
	app    string
	keys   *mongo.Collection
	made   int
}

func newWriteRig(t *testing.T, s *mongotest.Server) *writeRig {
	t.Helper()
	name := s.Database(t)
	d := &writeRig{server: s, app: "rig-" + name, keys: mongotest.CreateAPIKeys(t, s.Client(t).Database(name))}
	store, err := New(Config{Client: s.Client(t, d.app), Database: name})
	if err != nil {
		t.Fatal(err)
	}
	d.Store = store
	return d
}

// fail makes commands of the store's client fail, until t ends.
func (d *writeRig) fail(t *testing.T, mode any, data ...bson.E) {
	t.Helper()
	d.server.Needs(t, mongotest.Failpoints)
	admin := d.server.Client(t).Database("admin")
	set := func(mode any, data bson.D) error {
		return admin.RunCommand(context.Background(), bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}, {Key: "data", Value: data}}).Err()
	}
	if err := set(mode, append(bson.D{{Key: "appName", Value: d.app}}, data...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set("off", bson.D{{Key: "failCommands", Value: bson.A{"ping"}}}); err != nil {
			t.Error(err)
		}
	})
}

func once(n int) bson.D { return bson.D{{Key: "times", Value: n}} }

func commands(names ...any) bson.E { return bson.E{Key: "failCommands", Value: bson.A(names)} }

// draft is a new key of a user.
func (d *writeRig) draft(t *testing.T, user string) Draft {
	t.Helper()
	d.made++
	draft, err := d.schema.Draft(NewKey{Hash: apikey.HashOf(fmt.Sprint("kt_key ", d.made)), CreatedAt: made, Fields: Fields{UserID: &user}})
	if err != nil {
		t.Fatal(err)
	}
	return draft
}

// insert stores a new key without a transaction, which every server can do.
func (d *writeRig) insert(t *testing.T, user string) Details {
	t.Helper()
	draft := d.draft(t, user)
	if _, err := d.WriteOnce(testContext(t), func(ctx context.Context) error { return d.Insert(ctx, draft) }); err != nil {
		t.Fatal(err)
	}
	return draft.Details
}

func (d *writeRig) count(t *testing.T, filter bson.D) int64 {
	t.Helper()
	n, err := d.keys.CountDocuments(testContext(t), filter)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAKeyIsWrittenReadChangedAndDeleted(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d, ctx := newWriteRig(t, s), testContext(t)
		was := d.insert(t, "u")
		got, err := d.FindByID(ctx, was.Record.KeyID, nil)
		if err != nil || !cmp.Equal(got.Record, was.Record, compareRecords) || got.Digest != was.Digest {
			t.Fatalf("found %+v, %v, want %+v", got, err, was)
		}
		edit, err := d.schema.Edit(got, Fields{Name: ptr("renamed"), Scopes: ptr([]string{})}, made)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := d.Change(ctx, edit)
		if err != nil || changed.Record.Name != "renamed" || changed.Record.Scopes == nil || changed.Digest == was.Digest {
			t.Fatalf("%+v, %v", changed, err)
		}
		if _, err := d.Change(ctx, edit); !errors.Is(err, ErrChanged) {
			t.Errorf("the same edit again: %v", err)
		}
		if err := d.Delete(ctx, got); !errors.Is(err, ErrChanged) {
			t.Errorf("delete of what it was: %v", err)
		}
		// A recorded use is not a conflicting change.
		if _, err := d.keys.UpdateByID(ctx, was.raw.Lookup("_id"), bson.D{{Key: "$set", Value: bson.D{{Key: "last_used", Value: made}, {Key: "usage_count", Value: 3}}}}); err != nil {
			t.Fatal(err)
		}
		if err := d.Delete(ctx, changed); err != nil {
			t.Fatal(err)
		}
		if _, err := d.FindByID(ctx, was.Record.KeyID, nil); !errors.Is(err, ErrNoSuchKey) {
			t.Errorf("after its deletion: %v", err)
		}
	})
}

// TestAnEditRequiresTheDocumentThatWasRead for all values of the fields: a
// change of any of them by another client is noticed, and an unchanged value is
// never taken for a change.
func TestAnEditRequiresTheDocumentThatWasRead(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d, ctx := newWriteRig(t, s), testContext(t)
		values := []any{nil, bson.A{}, bson.A{"a"}, bson.A{bson.A{"a"}}, "a", int32(1), true, bson.D{}, bson.D{{Key: "a", Value: 1}}, bson.Regex{Pattern: "a"}, absent}
		for i, have := range values {
			for j, then := range values {
				id := fmt.Sprintf("%d to %d", i, j)
				if _, err := d.keys.InsertOne(ctx, document(t, bson.E{Key: "_id", Value: id}, bson.E{Key: "key_hash", Value: id}, bson.E{Key: "metadata", Value: have})); err != nil {
					t.Fatal(err)
				}
				was, err := d.FindByID(ctx, id, nil)
				if err != nil {
					t.Fatal(err)
				}
				update := bson.D{{Key: "$set", Value: bson.D{{Key: "metadata", Value: then}}}}
				if then == absent {
					update = bson.D{{Key: "$unset", Value: bson.D{{Key: "metadata", Value: ""}}}}
				}
				if _, err := d.keys.UpdateByID(ctx, id, update); err != nil {
					t.Fatal(err)
				}
				edit, err := d.schema.Edit(was, Fields{Active: ptr(false)}, made)
				if err != nil {
					t.Fatal(err)
				}
				_, err = d.Change(ctx, edit)
				if i == j && err != nil || i != j && !errors.Is(err, ErrChanged) {
					t.Errorf("%v, then %v: %v", have, then, err)
				}
			}
		}
	})
}

func TestAKeyIsFoundByItsIDText(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d, ctx := newWriteRig(t, s), testContext(t)
		for i, test := range []struct {
			id   any
			user string
		}{
			{"7", "a"},
			{int64(7), "b"},
			{oid, "a"},
			{uuid, "a"},
			{"8", "a"},
			{int32(9), "a"},
		} {
			if _, err := d.keys.InsertOne(ctx, document(t, bson.E{Key: "_id", Value: test.id}, bson.E{Key: "key_hash", Value: fmt.Sprint(i)}, bson.E{Key: "user_id", Value: test.user})); err != nil {
				t.Fatal(err)
			}
		}
		for _, test := range []struct {
			id, owner string
			want      error
		}{
			{"7", "", ErrAmbiguousID},
			{"7", "a", nil},
			{"7", "b", nil},
			{"7", "c", ErrNoSuchKey},
			{"8", "", nil},
			{"8", "b", ErrNoSuchKey},
			{"9", "", nil},
			{"09", "", ErrNoSuchKey},
			{oid.Hex(), "", nil},
			{strings.ToUpper(oid.Hex()), "", ErrNoSuchKey},
			{idTexts[IDUUID].text, "a", nil},
			{strings.ReplaceAll(idTexts[IDUUID].text, "-", ""), "", ErrNoSuchKey},
			{"", "", ErrNoSuchKey},
			{"{$ne: 1}", "", ErrNoSuchKey},
		} {
			got, err := d.FindByID(ctx, test.id, func(r *apikey.Record) bool { return test.owner == "" || r.UserID == test.owner })
			if !errors.Is(err, test.want) || err == nil && (got.Record.KeyID != test.id || test.owner != "" && got.Record.UserID != test.owner) {
				t.Errorf("%q of %q: %q of %q, %v", test.id, test.owner, got.Record.KeyID, got.Record.UserID, err)
			}
		}
	})
}

// TestADuplicateNamesItsIndex without a value of it.
func TestADuplicateNamesItsIndex(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d, ctx := newWriteRig(t, s), testContext(t)
		was := d.insert(t, "u")
		again, err := d.schema.Draft(NewKey{Hash: apikey.HashOf(fmt.Sprint("kt_key ", d.made)), Fields: Fields{UserID: ptr("u")}})
		if err != nil {
			t.Fatal(err)
		}
		insert := func(draft Draft, words string) {
			t.Helper()
			for name, transact := range d.writers(t) {
				_, err := transact(ctx, func(ctx context.Context) error { return d.Insert(ctx, draft) })
				if !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), apikey.HashOf(fmt.Sprint("kt_key ", 1)).Hex()) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		insert(again, "another key has this hash")
		if _, err := d.keys.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "user_id", Value: 1}}, Options: options.Index().SetUnique(true)}); err != nil {
			t.Fatal(err)
		}
		next, err := d.schema.DraftSuccessor(was, apikey.HashOf("kt_another"), "", made)
		if err != nil {
			t.Fatal(err)
		}
		words := "the same value in user_id"
		if s.Kind == mongotest.NameSecantus {
			words = "" // the server does not name the index
		}
		insert(next, words)
		if n := d.count(t, bson.D{}); n != 1 {
			t.Errorf("%d keys", n)
		}
	})
}

// writers are the methods of writing that the server supports.
func (d *writeRig) writers(t *testing.T) map[string]func(context.Context, func(context.Context) error) (clustertime.Time, error) {
	t.Helper()
	writers := map[string]func(context.Context, func(context.Context) error) (clustertime.Time, error){"alone": d.WriteOnce}
	has, err := d.HasTransactions(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if has {
		writers["transaction"] = d.Transact
	}
	return writers
}

func TestHasTransactionsQueriesTheServer(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		has, err := d.HasTransactions(testContext(t))
		if err != nil || s.Kind != mongotest.NameSecantus && !has {
			t.Errorf("%s: %v, %v", s.Name, has, err)
		}
		t.Logf("%s has transactions: %v", s.Name, has)
		if _, err := d.HasTransactions(context.Background()); !errors.Is(err, ErrNoDeadline) {
			t.Errorf("without a deadline: %v", err)
		}
		d.fail(t, "alwaysOn", commands("find"), bson.E{Key: "errorCode", Value: codeIllegalOperation})
		if has, err := d.HasTransactions(testContext(t)); err != nil || has {
			t.Errorf("of a server that refuses them: %v, %v", has, err)
		}
		d.fail(t, "alwaysOn", commands("find"), bson.E{Key: "errorCode", Value: 11601})
		if has, err := d.HasTransactions(testContext(t)); err == nil || has {
			t.Errorf("of a server that does not answer: %v, %v", has, err)
		}
	})
}

// TestARevisionIsNotBeforeItsWrite: a read after it sees the write.
func TestARevisionIsNotBeforeItsWrite(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d, ctx := newWriteRig(t, s), testContext(t)
		for name, transact := range d.writers(t) {
			draft := d.draft(t, "u")
			before := d.insert(t, "u")
			at, err := transact(ctx, func(ctx context.Context) error { return d.Insert(ctx, draft) })
			if err != nil || at == 0 {
				t.Fatalf("%s: %v, %v", name, at, err)
			}
			for _, shown := range []Details{before, draft.Details} {
				if _, found, err := findByID(ctx, d, shown.ID, at); err != nil || !found {
					t.Errorf("%s: found %v, %v", name, found, err)
				}
			}
		}
	})
}

// TestATransactionIsAllOrNothing and is repeated when another one was faster. (A server may refuse a statement of
// any transaction with a transient error, so there may be more tries.)
func TestATransactionIsAllOrNothing(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d, ctx := newWriteRig(t, s), testContext(t)
		if d.writers(t)["transaction"] == nil {
			t.Skip("the server has no transactions")
		}
		mine := errors.New("a mistake of mine")
		_, err := d.Transact(ctx, func(ctx context.Context) error {
			return errors.Join(d.Insert(ctx, d.draft(t, "u")), mine)
		})
		if !errors.Is(err, mine) || errors.Is(err, ErrOutcomeUnknown) || d.count(t, bson.D{}) != 0 {
			t.Errorf("%v, and %d keys", err, d.count(t, bson.D{}))
		}
		was, tries := d.insert(t, "u"), 0
		_, err = d.Transact(ctx, func(ctx context.Context) error {
			now, err := d.FindByID(ctx, was.Record.KeyID, nil)
			if err != nil {
				return err
			}
			if tries++; tries == 1 {
				if _, err := d.keys.UpdateByID(t.Context(), was.raw.Lookup("_id"), bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "theirs"}}}}); err != nil {
					t.Fatal(err)
				}
			}
			edit, err := d.schema.Edit(now, Fields{Scopes: ptr([]string{"mine"})}, made)
			if err != nil {
				return err
			}
			_, err = d.Change(ctx, edit)
			return err
		})
		now, findErr := d.FindByID(ctx, was.Record.KeyID, nil)
		if err != nil || findErr != nil || tries < 2 || now.Record.Name != "theirs" || !slices.Equal(now.Record.Scopes, []string{"mine"}) {
			t.Errorf("after %d tries: %v, %v, %+v", tries, err, findErr, now.Record)
		}
	})
}

// TestOutcomeOfACommit: an error other than ErrOutcomeUnknown guarantees that
// nothing was written, and no error that something was.
func TestOutcomeOfACommit(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for name, test := range map[string]struct {
			mode    any
			data    []bson.E
			unknown bool
			fine    bool
			limit   time.Duration
		}{
			"refused once":          {once(1), []bson.E{commands("commitTransaction"), {Key: "errorCode", Value: 13}}, false, true, patience},
			"refused forever":       {"alwaysOn", []bson.E{commands("commitTransaction"), {Key: "errorCode", Value: 13}}, true, false, 700 * time.Millisecond},
			"transient":             {once(2), []bson.E{commands("commitTransaction"), {Key: "errorCode", Value: 112}, {Key: "errorLabels", Value: bson.A{labelTransient}}}, false, true, patience},
			"transient forever":     {"alwaysOn", []bson.E{commands("commitTransaction"), {Key: "errorCode", Value: 112}, {Key: "errorLabels", Value: bson.A{labelTransient}}}, true, false, 700 * time.Millisecond},
			"gone once":             {once(1), []bson.E{commands("commitTransaction"), {Key: "errorCode", Value: 251}, {Key: "errorLabels", Value: bson.A{labelTransient}}}, false, true, patience},
			"cut off twice":         {once(2), []bson.E{commands("commitTransaction"), {Key: "closeConnection", Value: true}}, false, true, patience},
			"stepped down":          {once(3), []bson.E{commands("commitTransaction"), {Key: "errorCode", Value: 189}, {Key: "errorLabels", Value: bson.A{labelRetryable}}}, false, true, patience},
			"cut off forever":       {"alwaysOn", []bson.E{commands("commitTransaction"), {Key: "closeConnection", Value: true}}, true, false, 700 * time.Millisecond},
			"no majority forever":   {"alwaysOn", []bson.E{commands("commitTransaction"), {Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 64}, {Key: "errmsg", Value: "no majority"}}}}, true, false, 700 * time.Millisecond},
			"no answer":             {"alwaysOn", []bson.E{commands("commitTransaction"), {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 1500}}, true, false, 500 * time.Millisecond},
			"the insert is refused": {once(1), []bson.E{commands("insert"), {Key: "errorCode", Value: 13}}, false, false, patience},
			"the insert is cut off": {once(1), []bson.E{commands("insert"), {Key: "closeConnection", Value: true}}, false, true, patience},
			"the insert, forever":   {"alwaysOn", []bson.E{commands("insert"), {Key: "closeConnection", Value: true}}, false, false, 500 * time.Millisecond},
			"the insert hangs":      {"alwaysOn", []bson.E{commands("insert"), {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 1500}}, false, false, 500 * time.Millisecond},
		} {
			t.Run(name, func(t *testing.T) {
				if name == "stepped down" && s.Kind == mongotest.NameSecantus {
					t.Skip("its clients look for a new primary for 10 s each time")
				}
				d := newWriteRig(t, s)
				if d.writers(t)["transaction"] == nil {
					t.Skip("the server has no transactions")
				}
				draft := d.draft(t, "u")
				d.fail(t, test.mode, test.data...)
				ctx, cancel := context.WithTimeout(t.Context(), test.limit)
				defer cancel()
				began := time.Now()
				_, err := d.Transact(ctx, func(ctx context.Context) error { return d.Insert(ctx, draft) })
				if took := time.Since(began); took > test.limit+2*time.Second {
					t.Errorf("it took %v", took)
				}
				if (err == nil) != test.fine || errors.Is(err, ErrOutcomeUnknown) != test.unknown {
					t.Errorf("%v", err)
				}
				if n := d.count(t, bson.D{}); err == nil && n != 1 || err != nil && !test.unknown && n != 0 {
					t.Errorf("%d keys after %v", n, err)
				}
			})
		}
	})
}

// TestOutcomeOfAWriteOnce is the same without a transaction.
func TestOutcomeOfAWriteOnce(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		noMajority := bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 64}, {Key: "errmsg", Value: "no majority"}}}
		for name, test := range map[string]struct {
			mode    any
			data    []bson.E
			unknown bool
			fine    bool
			limit   time.Duration
		}{
			"refused":      {once(1), []bson.E{{Key: "errorCode", Value: 13}}, false, false, patience},
			"cut off":      {once(1), []bson.E{{Key: "closeConnection", Value: true}}, false, true, patience},
			"cut off ever": {"alwaysOn", []bson.E{{Key: "closeConnection", Value: true}}, true, false, 700 * time.Millisecond},
			"stepped down": {"alwaysOn", []bson.E{{Key: "errorCode", Value: 189}, {Key: "errorLabels", Value: bson.A{labelRetryable}}}, true, false, 700 * time.Millisecond},
			"no majority":  {once(1), []bson.E{noMajority}, true, false, patience},
			"no answer":    {"alwaysOn", []bson.E{{Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 1500}}, true, false, 500 * time.Millisecond},
		} {
			t.Run(name, func(t *testing.T) {
				if name == "stepped down" && s.Kind == mongotest.NameSecantus {
					t.Skip("its clients look for a new primary for 10 s each time")
				}
				d := newWriteRig(t, s)
				was, draft := d.insert(t, "u"), d.draft(t, "u")
				edit, err := d.schema.Edit(was, Fields{Active: ptr(false)}, made)
				if err != nil {
					t.Fatal(err)
				}
				for _, write := range []struct {
					command string
					do      func(ctx context.Context) error
				}{
					{"insert", func(ctx context.Context) error { return d.Insert(ctx, draft) }},
					{"findAndModify", func(ctx context.Context) error { _, err := d.Change(ctx, edit); return err }},
					{"delete", func(ctx context.Context) error { return d.Delete(ctx, was) }},
				} {
					d.fail(t, test.mode, append(slices.Clone(test.data), commands(write.command))...)
					ctx, cancel := context.WithTimeout(t.Context(), test.limit)
					_, err = d.WriteOnce(ctx, write.do)
					cancel()
					if write.command == "delete" && errors.Is(err, ErrChanged) {
						continue // the change came first
					}
					if (err == nil) != test.fine || errors.Is(err, ErrOutcomeUnknown) != test.unknown {
						t.Errorf("%s: %v", write.command, err)
					}
				}
			})
		}
	})
}

// TestAMissingPrivilegeIsNamed.
func TestAMissingPrivilegeIsNamed(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		draft := d.draft(t, "u")
		d.fail(t, once(1), commands("insert"), bson.E{Key: "errorCode", Value: codeUnauthorized})
		_, err := d.WriteOnce(testContext(t), func(ctx context.Context) error { return d.Insert(ctx, draft) })
		wantSentence(t, err, ErrUnauthorized, "find, insert, update and remove", "api_keys")
		if s.Kind == mongotest.NameSecantus {
			return // it cannot simulate a validator's rejection
		}
		d.fail(t, once(1), commands("insert"), bson.E{Key: "errorCode", Value: codeValidation})
		_, err = d.WriteOnce(testContext(t), func(ctx context.Context) error { return d.Insert(ctx, draft) })
		wantSentence(t, err, ErrCannotStore, "validator")
		if _, err := d.WriteOnce(context.Background(), func(context.Context) error { return nil }); !errors.Is(err, ErrNoDeadline) {
			t.Errorf("without a deadline: %v", err)
		}
	})
}

// TestAChangeNamesTheShardKey: mongos takes it from an equality, and not from $expr.
func TestAChangeNamesTheShardKey(t *testing.T) {
	t.Parallel()
	s := DefaultSchema()
	for _, value := range []any{testHash.Hex(), bson.Binary{Data: testHash[:]}} {
		raw := document(t, bson.E{Key: "_id", Value: "a"}, bson.E{Key: s.Hash, Value: value})
		filter, err := s.unchangedFilter(s.Details(raw))
		if err != nil {
			t.Fatal(err)
		}
		text, err := bson.Marshal(filter)
		if err != nil {
			t.Fatal(err)
		}
		if got := bson.Raw(text).Lookup(s.Hash); !got.Equal(raw.Lookup(s.Hash)) {
			t.Errorf("the filter has %v as the hash: %s", got, bson.Raw(text))
		}
	}
}
