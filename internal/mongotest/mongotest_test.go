package mongotest

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/testprogram"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Main(m)) }

// testTimeout bounds the commands of one test.
const testTimeout = 30 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func TestEachServerHasAUniqueIndexAndDropsTheDatabase(t *testing.T) {
	Each(t, func(t *testing.T, s *Server) {
		client := s.Client(t)
		var name string
		t.Run("use", func(t *testing.T) {
			name = s.Database(t)
			coll := CreateAPIKeys(t, client.Database(name))
			_, err := coll.InsertOne(testContext(t), bson.D{{Key: "key_hash", Value: "a"}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = coll.InsertOne(testContext(t), bson.D{{Key: "key_hash", Value: "a"}})
			if !mongo.IsDuplicateKeyError(err) {
				t.Fatalf("a second document with one hash: got %v, want a duplicate key error", err)
			}
		})
		left, err := client.Database(name).ListCollectionNames(testContext(t), bson.D{})
		if err != nil || len(left) != 0 {
			t.Fatalf("after the test the database has %v, error %v", left, err)
		}
	})
}

func TestEachSharesOneServer(t *testing.T) {
	uris := map[string]string{}
	for range 2 {
		Each(t, func(t *testing.T, s *Server) {
			if seen, again := uris[s.Name]; again && seen != s.URI {
				t.Errorf("%s is at %s and at %s", s.Name, seen, s.URI)
			}
			uris[s.Name] = s.URI
		})
	}
}

func TestTokenFlagMatchesTheStream(t *testing.T) {
	Each(t, func(t *testing.T, s *Server) {
		if s.Name == NameSecantus && s.MongoDBTokens {
			t.Error("this secantusd-py has resume tokens in MongoDB's layout: no server is left for tests of another layout")
		}
		if s.Name == NameDevmongo && !s.MongoDBTokens {
			t.Error("devmongo's resume tokens are not in MongoDB's layout")
		}
		if s.Version == "" {
			t.Error("no version")
		}
	})
}

func TestSecantusKeepsAcknowledgedWritesAfterKill9(t *testing.T) {
	s := StartSecantus(t, SecantusConfig{})
	coll := CreateAPIKeys(t, s.Client(t).Database(s.Database(t)))
	if _, err := coll.InsertOne(testContext(t), bson.D{{Key: "key_hash", Value: "a"}}); err != nil {
		t.Fatal(err)
	}
	s.Kill9()
	s.Kill9() // the second one does nothing
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := coll.FindOne(ctx, bson.D{}).Err(); err == nil {
		t.Fatal("a killed server answered")
	}
	s.Restart(t)
	Eventually(t, testTimeout, func() bool {
		return coll.FindOne(testContext(t), bson.D{{Key: "key_hash", Value: "a"}}).Err() == nil
	}, "the document exists after the restart")
}

func TestSecantusThatCannotStartReportsTheReason(t *testing.T) {
	if _, err := findSecantus(); errors.Is(err, testprogram.ErrMissing) {
		t.Skip(err)
	}
	_, err := newSecantus(t.TempDir(), SecantusConfig{Args: []string{"--no-such-flag"}})
	if !errors.Is(err, testprogram.ErrExited) || !strings.Contains(err.Error(), "--no-such-flag") {
		t.Fatalf("got %v, want an exit and the end of the log", err)
	}
}

func TestWrongPathOfSecantusIsAFailure(t *testing.T) {
	t.Setenv(secantusVariable, "/nonexistent/secantusd-py")
	if _, err := findSecantus(); !errors.Is(err, os.ErrNotExist) || errors.Is(err, testprogram.ErrMissing) {
		t.Errorf("got %v, want a failure that cannot be skipped", err)
	}
}

func TestDatabaseNamesAreValidAndUnique(t *testing.T) {
	long := "TestÄ/" + strings.Repeat("x", 200)
	a, b := databaseName(long), databaseName(long)
	if a == b || len(a) > 63 || strings.ContainsAny(a, `/\. "$*<>:|?`) {
		t.Errorf("got %q and %q", a, b)
	}
}
