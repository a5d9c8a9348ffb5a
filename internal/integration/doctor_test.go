package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/doctor"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

// candidate is a collection that doctor examines.
type candidate struct {
	keys   *mongo.Collection
	config daemon.Config
}

const doctorApp = "keytail-doctor"

func newCandidate(t *testing.T, s *mongotest.Server, mapping keystore.Schema) *candidate {
	t.Helper()
	database := s.Database(t)
	return &candidate{
		keys:   s.Client(t, "team").Database(database).Collection("api_keys"),
		config: daemon.Config{Config: service.Config{Client: s.Client(t, doctorApp), Database: database, Schema: mapping}},
	}
}

func (p *candidate) insert(t *testing.T, documents ...any) {
	t.Helper()
	if _, err := p.keys.InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
}

func (p *candidate) index(t *testing.T, field string, index *options.IndexOptionsBuilder) {
	t.Helper()
	if _, err := p.keys.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: field, Value: 1}}, Options: index}); err != nil {
		t.Fatal(err)
	}
}

// examined runs doctor and returns its checks by name. It fails unless doctor showed each
// check once, in the order of the report.
func (p *candidate) examined(t *testing.T) (map[string]doctor.Check, doctor.Report) {
	t.Helper()
	var seen []string
	report, err := daemon.Examine(t.Context(), p.config, func(c doctor.Check) { seen = append(seen, c.Name) })
	if err != nil {
		t.Fatal(err)
	}
	checks := map[string]doctor.Check{}
	var reported []string
	for _, c := range report.Checks {
		checks[c.Name] = c
		reported = append(reported, c.Name)
		t.Logf("%-9s  %-12s  %s", c.Status, c.Name, c.Detail)
		for _, more := range c.More {
			t.Logf("%-9s  %-12s    %s", "", "", more)
		}
	}
	every := []string{"deployment", "version", "clock", "collection", "index", "documents", "linearizable", "heartbeats", "stream", "usage", "memory"}
	if p.config.Schema.HashAlgorithm == apikey.HMACSHA256 {
		every = slices.Insert(every, slices.Index(every, "collection"), "hash")
	}
	if !slices.Equal(seen, reported) || !slices.Equal(reported, every) {
		t.Errorf("checks: got %q while running, %q in the report, want %q", seen, reported, every)
	}
	return checks, report
}

// mustBe checks the status of a check, and that it contains the words.
func mustBe(t *testing.T, c doctor.Check, status doctor.Status, words ...string) {
	t.Helper()
	if c.Status != status {
		t.Errorf("%s: got %q, want %q: %s", c.Name, c.Status, status, c.Detail)
	}
	text := c.Detail + "\n" + strings.Join(c.More, "\n")
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s does not mention %q:\n%s", c.Name, word, text)
		}
	}
}

// TestDoctorFitsEveryShape: doctor accepts a collection that the mapping describes.
func TestDoctorFitsEveryShape(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		for _, name := range slices.Sorted(maps.Keys(shapes())) {
			shape := shapes()[name]
			t.Run(name, func(t *testing.T) {
				p := newCandidate(t, s, shape.schema("api_keys"))
				p.config.HashSecret = shape.secret()
				for i := range 20 {
					p.insert(t, shape.document(key{id: fmt.Sprint("key-", i), text: fmt.Sprintf("kt_%032d", i)}))
				}
				p.index(t, shape.names().Hash, unique())
				checks, report := p.examined(t)
				if !report.OK {
					t.Error("report.OK: got false, want true")
				}
				mustBe(t, checks["documents"], checks["documents"].Status, "20 keys in 20 surveyed documents, 20 in all: 20 valid now")
				mustBe(t, checks["memory"], doctor.OK, "20 keys of about")
				if s.MongoDBTokens {
					p.config.StreamScope = "collection"
					checks, _ = p.examined(t)
					mustBe(t, checks["stream"], doctor.OK)
				}
			})
		}
	})
}

// broken returns the documents of a collection with several mistakes: most hashes are
// bcrypt, some keys are stored in plain text, one document in a hundred is unreadable, and
// there is no unique index.
func broken() []any {
	var documents []any
	for i := range 300 {
		hash := any(fmt.Sprintf("$2b$12$%053d", i))
		switch {
		case i%10 == 3:
			hash = fmt.Sprintf("sk_live_%024d", i)
		case i%3 == 0:
			hash = shape{}.hash(fmt.Sprint("key text ", i), "hex")
		}
		document := bson.D{{Key: "_id", Value: fmt.Sprintf("k%03d", i)}, {Key: "key_hash", Value: hash}, {Key: "is_active", Value: true}, {Key: "user_id", Value: "u1"}}
		if i%100 == 0 {
			document[2].Value = "yes"
		}
		documents = append(documents, append(document, bson.E{Key: "secretKind", Value: "bcrypt"}))
	}
	return documents
}

func TestDoctorFindsMistakes(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p := newCandidate(t, s, keystore.Schema{})
		p.insert(t, broken()...)
		checks, report := p.examined(t)
		if report.OK {
			t.Error("it fits")
		}
		mustBe(t, checks["index"], doctor.ToDo, "no unique index on key_hash", "createIndex")
		mustBe(t, checks["documents"], doctor.Warning, "keys in 300 surveyed documents",
			"is_active is of type string, a boolean is needed in 2 documents: k100, k200", "is_active is of type string, a boolean is needed in 1 document: k000",
			"the hash field holds bcrypt", "plaintext", "fields without a role: secretKind")
		for _, c := range report.Checks {
			if text := fmt.Sprint(c); strings.Contains(text, "$2b$") || strings.Contains(text, "sk_live") {
				t.Errorf("doctor shows a value: %s", text)
			}
		}
	})
}

// TestDoctorRecommendsIndexesForLists if the admin API is on.
func TestDoctorRecommendsIndexesForLists(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		p := newCandidate(t, s, keystore.Schema{})
		p.insert(t, shapes()["default"].document(key{id: "k", text: "kt_some key text"}))
		p.index(t, "key_hash", unique())
		if checks, _ := p.examined(t); len(checks["index"].More) != 0 {
			t.Errorf("without the admin API: %+v", checks["index"])
		}
		withAdmin(t)(&p.config)
		checks, report := p.examined(t)
		if more := fmt.Sprint(checks["index"].More); !report.OK || !strings.Contains(more, "recommended: ") || !strings.Contains(more, `{"created_at": -1, "_id": -1}`) || !strings.Contains(more, `{"user_id": 1, `) {
			t.Errorf("with it: %+v", checks["index"])
		}
	})
}

// TestDoctorNamesMissingPrivileges removes one privilege at a time.
func TestDoctorNamesMissingPrivileges(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		p := newCandidate(t, s, keystore.Schema{})
		p.insert(t, shapes()["default"].document(key{id: "k", text: "kt_some key text"}))
		p.index(t, "key_hash", unique())
		for command, want := range map[string]struct {
			check string
			words string
		}{
			"listCollections": {"collection", "grant"},
			"listIndexes":     {"index", "grant"},
			"find":            {"documents", "grant"},
			"aggregate":       {"stream", "changeStream"},
			"update":          {"heartbeats", "insert, update, remove and createIndex"},
			"delete":          {"heartbeats", "insert, update, remove and createIndex"},
			"createIndexes":   {"heartbeats", "insert, update, remove and createIndex"},
		} {
			t.Run(command, func(t *testing.T) {
				allow := forbid(t, s, command)
				defer allow()
				checks, report := p.examined(t)
				mustBe(t, checks[want.check], doctor.ToDo, want.words)
				if report.OK {
					t.Error("it fits")
				}
				if command == "update" {
					mustBe(t, checks["usage"], doctor.Warning, "update")
				}
			})
		}
		if _, report := p.examined(t); !report.OK {
			t.Error("with all privileges: got report.OK false, want true")
		}
	})
}

// forbid makes the server refuse a command of doctor until allow is called.
func forbid(t *testing.T, s *mongotest.Server, command string) (allow func()) {
	t.Helper()
	admin := s.Client(t, "operator").Database("admin")
	point := func(mode any) {
		err := admin.RunCommand(context.Background(), bson.D{
			{Key: "configureFailPoint", Value: "failCommand"},
			{Key: "mode", Value: mode},
			{Key: "data", Value: bson.D{
				{Key: "failCommands", Value: bson.A{command}}, {Key: "errorCode", Value: 13}, {Key: "appName", Value: doctorApp},
			}},
		}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	point("alwaysOn")
	return func() { point("off") }
}

func TestDoctorWithoutCollectionOrServer(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		t.Run("collection", func(t *testing.T) {
			p := newCandidate(t, s, keystore.Schema{})
			checks, report := p.examined(t)
			mustBe(t, checks["collection"], doctor.ToDo, "has no collection", "--ensure-schema")
			mustBe(t, checks["heartbeats"], doctor.NotTried)
			if report.OK {
				t.Error("it fits")
			}
			names, err := p.keys.Database().ListCollectionNames(t.Context(), bson.D{})
			if err != nil || len(names) > 0 {
				t.Errorf("a wrong name creates collections %q, %v", names, err)
			}
			p.config.EnsureSchema = true
			if checks, report = p.examined(t); !report.OK {
				t.Error("a collection that serve creates must not be an error")
			}
			mustBe(t, checks["collection"], doctor.Warning, "serve will create it")
		})
		t.Run("field", func(t *testing.T) {
			m := keystore.DefaultSchema()
			m.Hash = "keyHash"
			p := newCandidate(t, s, m)
			p.insert(t, shapes()["default"].document(key{id: "k", text: "kt_some key text"}))
			checks, _ := p.examined(t)
			mustBe(t, checks["documents"], doctor.ToDo, "keyHash", "--map-hash", "fields without a role: key_hash")
		})
	})
	t.Run("server", func(t *testing.T) {
		client, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1/?replicaSet=none").SetServerSelectionTimeout(200 * time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
		p := &candidate{config: daemon.Config{Config: service.Config{Client: client, Database: "d"}}}
		checks, report := p.examined(t)
		mustBe(t, checks["deployment"], doctor.ToDo, "no primary answered")
		if report.OK || len(report.Checks) != 11 {
			t.Errorf("got report %v", report)
		}
	})
	t.Run("field twice", func(t *testing.T) {
		m := keystore.DefaultSchema()
		m.Name = "user_id"
		client, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
		if _, err := daemon.Examine(t.Context(), daemon.Config{Config: service.Config{Client: client, Database: "d", Schema: m}}, nil); err == nil || !strings.Contains(err.Error(), "user_id") {
			t.Errorf("got error %v", err)
		}
	})
}
