package integration

import (
	"flag"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/preload"
)

var (
	malformedRuns = flag.Int("malformed.runs", 1, "how many processes of TestRandomlyMalformedReplies get malformed replies, one after the other")
	malformedFor  = flag.Duration("malformed.for", time.Second, "how long each of them gets malformed replies")
	malformedSeed = flag.Uint64("malformed.seed", 0, "in a process of that test: its seed")
)

// TestRandomlyMalformedReplies changes replies of the server at random, on their way to a daemon in a process of its
// own. The daemon survives, answers no unknown key VALID, and works as before when the replies are sound again. The Go
// driver may panic (docs/security.md, "What is not defended"), keytail may not.
func TestRandomlyMalformedReplies(t *testing.T) {
	if *malformedSeed != 0 {
		surviveMalformedReplies(t, rand.New(rand.NewPCG(*malformedSeed, 0)))
		return
	}
	t.Parallel()
	for range *malformedRuns {
		seed := strconv.FormatUint(max(rand.Uint64(), 1), 10)
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRandomlyMalformedReplies$", "-malformed.seed="+seed, "-malformed.for="+malformedFor.String(),
			"-test.timeout="+(*malformedFor+2*time.Minute).String())
		output, err := child.CombinedOutput()
		switch text := string(output); {
		case err == nil:
		case driverPanicked(text):
			t.Logf("seed %s: the driver panicked", seed)
		default:
			t.Errorf("seed %s: %v\n%s", seed, err, text)
		}
	}
}

// driverPanicked reports whether the output is that of a panic in the driver's own code: it, and not keytail, has called
// what panicked, beside accessors of package bson.
func driverPanicked(output string) bool {
	_, stack, panicked := strings.Cut("\n"+output, "\npanic: ")
	if strings.HasPrefix(stack, "test timed out") {
		return false
	}
	for line := range strings.Lines(stack) {
		const driver = "go.mongodb.org/mongo-driver/v2/"
		line = strings.TrimLeft(line, "\t") // a stack within the panic's value, as singleflight makes one
		switch {
		case strings.HasPrefix(line, driver+"bson"), strings.HasPrefix(line, driver+"x/bsonx/"):
		case strings.HasPrefix(line, driver):
			return panicked
		case strings.HasPrefix(line, "github.com/keytail/"):
			return false
		}
	}
	return false
}

func TestWhoseAPanicIs(t *testing.T) {
	t.Parallel()
	stack := func(frames ...string) string {
		return "a line\npanic: a reason\n\ngoroutine 7 [running]:\n" + strings.Join(frames, "\n\t/a/file.go:1 +0x1\n") + "\n\t/a/file.go:1 +0x1\n"
	}
	const (
		accessor = "go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore.Value.Timestamp({0x1})"
		driver   = "go.mongodb.org/mongo-driver/v2/x/mongo/driver.Operation.Execute({0x1})"
		keytail  = "github.com/keytail/keytail/internal/changestream.decodeEvent({0x1})"
	)
	for output, want := range map[string]bool{
		stack("panic({0x1})", accessor, driver, keytail): true,
		stack(driver, keytail):                           true,
		stack(accessor, keytail, driver):                 false,
		"panic: a reason\n\n\tgoroutine 7 [running]:\n\t" + driver + "\n\n\ngoroutine 7 [running]:\nsingleflight.doCall()\n": true,
		stack(keytail):                false,
		"--- FAIL: a test\n" + driver: false,
	} {
		if got := driverPanicked(output); got != want {
			t.Errorf("got %v for\n%s", got, output)
		}
	}
}

func surviveMalformedReplies(t *testing.T, r *rand.Rand) {
	t.Helper()
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	s, through := newShim(t, d)
	f := start(t, through.InScope([]string{mongotest.ScopeDatabase, mongotest.ScopeCollection}[r.IntN(2)]), withAdmin(t), func(c *daemon.Config) {
		c.MaxStale, c.HeartbeatInterval = shortMaxStale, 50*time.Millisecond
		c.Preload = []preload.Mode{"", preload.Off}[r.IntN(2)]
	})
	// The test's own client gets sound replies.
	f.keys = d.Client(t, "team").Database(f.db.Name()).Collection(f.keys.Name())
	unknown, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	rate, rolls, mutex := 0.05+0.2*r.Float64(), rand.New(rand.NewPCG(r.Uint64(), 0)), sync.Mutex{}
	malform := func(message []byte) {
		mutex.Lock()
		defer mutex.Unlock()
		if rolls.Float64() < rate {
			if what := mutate(rolls, message); what != "" {
				t.Log("changed the", what)
			}
		}
	}
	s.change.Store(&malform)
	keys := []key{f.newKey()}
	for end := time.Now().Add(*malformedFor); time.Now().Before(end); {
		k := keys[r.IntN(len(keys))]
		switch r.IntN(3) {
		case 0:
			f.set(k, "scopes", bson.A{"read", strconv.Itoa(r.IntN(9))})
		case 1:
			keys = append(keys, f.newKey())
		}
		f.validate(k)
		if v := f.validateText(t.Context(), unknown, &apikey.Request{}); v.Code == apikey.Valid {
			t.Fatalf("an unknown key is VALID: %+v", v)
		}
		f.askAdmin(t)
	}
	s.change.Store(nil)
	k := f.newKey()
	f.waitForCode(k, apikey.Valid)
	f.waitUntilCached(k)
}

// askAdmin requests what reads other documents than keys.
func (r *fixture) askAdmin(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/v1/keys?limit=3", "/v1/audit?limit=5", "/v1/keys/key-1"} {
		request := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		request.Header.Set("Authorization", "Bearer admin-token-of-ann")
		response := httptest.NewRecorder()
		if r.Admin().ServeHTTP(response, request); response.Code == http.StatusNotFound && !strings.Contains(path, "key-1") {
			t.Errorf("%s: %d %s", path, response.Code, response.Body)
		}
	}
}
