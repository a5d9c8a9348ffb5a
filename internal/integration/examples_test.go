package integration

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/testprogram"
)

// callerToken is the token of the examples.
const callerToken = "caller-token"

func TestAcknowledgementExampleInGo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "revoke")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../examples/revoke/go").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) { testExample(t, s, program) })
}

func TestAcknowledgementExampleInPython(t *testing.T) {
	// The packages of examples/fastapi include pymongo.
	python := testprogram.Python(t, "fastapi", "examples/fastapi/requirements.txt", "pymongo")
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		testExample(t, s, python, testkit.ModulePath(t, "examples", "revoke", "python", "revoke.py"))
	})
}

// soleCaller is the token of the only caller.
type soleCaller string

func (s soleCaller) Name(token string) (string, bool) { return "caller", token == string(s) }

// testExample runs an example against three instances, and checks the key at each of
// them immediately.
func testExample(t *testing.T, s *mongotest.Server, command ...string) {
	r := startFleet(t, s, withShortMaxStale)
	handler, err := routes.NewPublic(routes.PublicConfig{
		Config: forwardauth.Config{Validator: unusedValidator{}}, Syncer: r.all[1].Syncer(),
		Callers: soleCaller(callerToken),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	k := r.newKey()
	r.waitForCode(k, apikey.Valid)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := append(command[1:], s.URI, r.db.Name(), "api_keys", k.id, server.URL)
	example := exec.CommandContext(ctx, command[0], args...)
	example.Env = append(os.Environ(), "KEYTAIL_TOKEN="+callerToken)
	out, err := example.CombinedOutput()
	if err != nil || !regexp.MustCompile(`^revoked on 3 of 3 instances in \d+\.\d s, revision [0-9a-f]{16}\n$`).Match(out) {
		t.Fatalf("%v: %s", err, out)
	}
	for i, service := range r.all {
		if v := service.Validate(t.Context(), k.text, &apikey.Request{}); v.Code != apikey.Disabled {
			t.Errorf("instance %d: got %v", i, v.Code)
		}
	}
	t.Logf("%s", out)
}
