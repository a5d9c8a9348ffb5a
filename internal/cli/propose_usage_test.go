package cli

import (
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// proposeArgs are the arguments of doctor --propose for the database of an adopter.
func (a *adopter) proposeArgs(more ...string) []string {
	return append([]string{"doctor", "--propose", "--mongodb-uri=" + a.uri, "--database=" + a.keys.Database().Name()}, more...)
}

// TestMistakesInTheFlagsOfPropose are reported before anything is read.
func TestMistakesInTheFlagsOfPropose(t *testing.T) {
	a := &adopter{t: t, dir: t.TempDir()}
	for want, args := range map[string][]string{
		"--key-file and --expect belong to --propose":                 {"doctor", unreachable, "--key-file=x"},
		"--expect must be one of UNAVAILABLE, MISSING":                {"doctor", "--propose", unreachable, "--expect=GOOD"},
		"--expect is the verdict of a known key":                      {"doctor", "--propose", unreachable, "--expect=VALID"},
		"--propose prints YAML, not JSON":                             {"doctor", "--propose", unreachable, "--output=json"},
		"--dev has its own MongoDB":                                   {"doctor", "--propose", "--dev"},
		"the known key: this is not a key: a key has 8 to 512 bytes":  {"doctor", "--propose", unreachable, "--key-file=" + a.file("short", "tiny-1")},
		"the input must be one line with a key":                       {"doctor", "--propose", unreachable, "--key-file=" + a.file("two", "sk_one_secret\nsk_two_secret\n")},
		"--key-file: open /none: no such file":                        {"doctor", "--propose", unreachable, "--key-file=/none"},
		"--map-hash-secret-file: ":                                    {"doctor", "--propose", unreachable, "--map-hash-secret-file=/none"},
		"no database is given: set --database (KEYTAIL_DATABASE)":     {"doctor", "--propose", "--mongodb-uri=mongodb://127.0.0.1:1"},
		"give --mongodb-uri (KEYTAIL_MONGODB_URI) for a real replica": {"doctor", "--propose"},
	} {
		code, stdout, stderr := finish(t, Deps{Stdin: strings.NewReader("")}, args...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, %s%s", args, code, stdout, stderr)
		}
		if strings.Contains(stderr, "secret\n") || strings.Contains(stderr, "tiny-1") {
			t.Errorf("a key is shown: %s", stderr)
		}
	}
}

// TestProposeFindsTheCollection: the one that is named, the default, the only likely one,
// or it lists the likely ones.
func TestProposeFindsTheCollection(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	a := newAdopter(t, &server.Server, "customerTokens")
	db := a.keys.Database()
	mustRun := func(want int, words string, more ...string) {
		t.Helper()
		code, stdout, stderr := finish(t, Deps{Stdin: strings.NewReader("")}, a.proposeArgs(more...)...)
		if code != want || !strings.Contains(stdout+stderr, words) {
			t.Errorf("exit code %d, want %d and %q:\n%s%s", code, want, words, stdout, stderr)
		}
	}
	mustRun(exitFailure, "has no collection api_keys: name the one with the keys by --collection\n")
	documents, _, _ := trialTokens(10)
	if _, err := db.Collection("orders").InsertOne(t.Context(), bson.D{}); err != nil {
		t.Fatal(err)
	}
	a.insert(documents)
	mustRun(exitOK, "no --collection was given: this is customerTokens, the only one of")
	mustRun(exitOK, "collection: customerTokens\n", "--collection=customerTokens")
	mustRun(exitOK, "makes no use of --map-active, --map-hash\n", "--collection=customerTokens", "--map-hash=x", "--map-active=y")
	mustRun(exitFailure, "has no collection nope", "--collection=nope")
	if err := db.CreateCollection(t.Context(), "apiKeys"); err != nil {
		t.Fatal(err)
	}
	mustRun(exitFailure, "such as apiKeys (0 documents), customerTokens (10 documents)")
	mustRun(exitFailure, "apiKeys is empty, so there is nothing to propose", "--collection=apiKeys")
	if _, err := db.Collection("api_keys").InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
	mustRun(exitOK, "collection: api_keys\n")
	mustWriteNothing(t, a)
}

// mustWriteNothing: there are no collections but those of the test.
func mustWriteNothing(t *testing.T, a *adopter) {
	t.Helper()
	names, err := a.keys.Database().ListCollectionNames(t.Context(), bson.D{})
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"apiKeys", "api_keys", "customerTokens", "orders"}) {
		t.Errorf("the collections are %q: %v", names, err)
	}
}

// TestAKnownKeyThatIsOffFails unless that is expected, and no output has the key.
func TestAKnownKeyThatIsOffFails(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	a := newAdopter(t, &server.Server, "tokens")
	documents, good, off := trialTokens(2510)
	a.insert(documents)
	for _, c := range []struct {
		key, expect, words string
		code               int
	}{
		{off, "", "its verdict is DISABLED, and VALID was expected: revoked says that it is off", exitFailure},
		{off, "disabled", "its verdict is DISABLED, as expected", exitOK},
		{good, "DISABLED", "its verdict is VALID, and DISABLED was expected", exitFailure},
		{"acme_live_of_another_maker", "", "No document was found for this key", exitFailure},
	} {
		args := a.proposeArgs("--collection=tokens", "--key-file=-")
		if c.expect != "" {
			args = append(args, "--expect="+c.expect)
		}
		code, stdout, stderr := finish(t, Deps{Stdin: strings.NewReader(c.key + "\n")}, args...)
		if code != c.code || !strings.Contains(stderr, c.words) {
			t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.words, stderr)
		}
		if secret := strings.TrimPrefix(c.key, "acme_live_"); strings.Contains(stdout+stderr, secret) {
			t.Errorf("the key is shown:\n%s%s", stdout, stderr)
		}
	}
}

// TestAnUnreachableServerIsAFailure of run time, without the password.
func TestAnUnreachableServerIsAFailure(t *testing.T) {
	code, stdout, stderr := finish(t, Deps{Stdin: strings.NewReader("")}, "doctor", "--propose",
		"--mongodb-uri=mongodb://root:hunter2@127.0.0.1:1/keys?serverSelectionTimeoutMS=1000")
	if code != exitFailure || stdout != "" || strings.Contains(stderr, "hunter2") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
}
