package keytail

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/keytail/keytail"

// goPackage is what `go list -json` says of a package, as far as the rules of
// layers need it.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	// Deps are the imports of all imports. Those of tests are not among them.
	Deps []string
}

// listPackages asks the Go tool. Cached test results do not see a change of
// imports, so CI runs this with -count=1.
func listPackages(t *testing.T) map[string]goPackage {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	packages := map[string]goPackage{}
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
}

// TestLayers holds the code against DESIGN.md section 2. golangci-lint's
// depguard looks at a file's own imports; here the whole way counts.
func TestLayers(t *testing.T) {
	packages := listPackages(t)
	for room, forbidden := range map[string][]string{
		"internal/keycache": {"go.mongodb.org/mongo-driver", module + "/internal/changestream", module + "/internal/keystore"},
		// Gin's own request binding brings the driver's bson package, and that alone.
		"internal/routes": {
			"go.mongodb.org/mongo-driver/v2/mongo", "go.mongodb.org/mongo-driver/v2/x/mongo", "github.com/allegro/bigcache",
			module + "/internal/keycache", module + "/internal/keystore",
		},
		"internal/extauthz": {
			"go.mongodb.org/mongo-driver", "github.com/allegro/bigcache", "github.com/gin-gonic/gin",
			module + "/internal/keycache", module + "/internal/keystore", module + "/internal/routes",
		},
		"internal/doctor": {module + "/internal/routes", module + "/internal/cli", module + "/internal/config", "github.com/gin-gonic/gin"},
		// Clients contain nothing of the server.
		"internal/httpclient": {module + "/internal", "go.mongodb.org/mongo-driver", "github.com/gin-gonic/gin", "go.uber.org/zap"},
		"internal/adminclient": {
			module + "/internal/apikey", module + "/internal/managedkey", module + "/internal/routes", module + "/internal/config",
			"go.mongodb.org/mongo-driver", "github.com/gin-gonic/gin", "go.uber.org/zap",
		},
		"keytailtest": {
			"go.mongodb.org/mongo-driver/v2/mongo", "go.mongodb.org/mongo-driver/v2/x/mongo", "github.com/allegro/bigcache",
			module + "/internal/keycache", module + "/internal/keystore", module + "/internal/validator",
		},
		"auth": {
			"go.mongodb.org/mongo-driver/v2/mongo", "go.mongodb.org/mongo-driver/v2/x/mongo", "github.com/allegro/bigcache", "go.uber.org/zap",
			module + "/internal/routes", module + "/internal/keycache", module + "/internal/keystore", module + "/internal/changestream",
		},
		"internal/revocation": {module + "/internal", module + "/auth", "github.com/gin-gonic/gin", "go.mongodb.org/mongo-driver"},
		// What a service takes in that is no keytail itself.
		"client": {
			"go.mongodb.org/mongo-driver/v2/mongo", "go.mongodb.org/mongo-driver/v2/x/mongo", "github.com/allegro/bigcache", "go.uber.org/zap",
			module + "/internal/routes", module + "/internal/keycache", module + "/internal/keystore", module + "/internal/config",
		},
		"internal/cli": {module + "/internal/devmongo", module + "/internal/mongotest"},
		"":             {module + "/internal/devmongo", module + "/internal/cli", module + "/internal/config"},
	} {
		p := mustFind(t, packages, room)
		for _, dep := range p.Deps {
			for _, prefix := range forbidden {
				if dep == prefix || strings.HasPrefix(dep, prefix+"/") {
					t.Errorf("%s must not depend on %s", p.ImportPath, dep)
				}
			}
		}
	}
}

// TestPureRoomsUseTheStandardLibraryOnly and, of the module, only each other.
func TestPureRoomsUseTheStandardLibraryOnly(t *testing.T) {
	packages := listPackages(t)
	pure := []string{"internal/apikey", "internal/clustertime", "internal/managedkey", "internal/forwardauth", "api"}
	for _, room := range pure {
		for _, dep := range mustFind(t, packages, room).Deps {
			if !packages[dep].Standard && !slices.Contains(pure, strings.TrimPrefix(dep, module+"/")) {
				t.Errorf("%s must not depend on %s", room, dep)
			}
		}
	}
}

// TestOnlyMainAndTestsUseDevmongo: no daemon falls back to memory by itself.
func TestOnlyMainAndTestsUseDevmongo(t *testing.T) {
	may := []string{module + "/cmd/server", module + "/internal/mongotest", module + "/internal/devmongo/devmongod"}
	users := 0
	for _, p := range listPackages(t) {
		if !slices.Contains(p.Imports, module+"/internal/devmongo") {
			continue
		}
		users++
		if !slices.Contains(may, p.ImportPath) {
			t.Errorf("%s must not import devmongo: only %v and tests may", p.ImportPath, may)
		}
	}
	if users == 0 {
		t.Error("nobody imports devmongo: this test looks for the wrong name")
	}
	for _, p := range listPackages(t) {
		if slices.Contains(p.Imports, module+"/internal/mongotest") && p.ImportPath != module+"/bench" {
			t.Errorf("%s must not import mongotest: only tests and benchmarks may", p.ImportPath)
		}
	}
}

func mustFind(t *testing.T, packages map[string]goPackage, room string) goPackage {
	t.Helper()
	path := strings.TrimSuffix(module+"/"+room, "/")
	p, found := packages[path]
	if !found {
		t.Fatalf("go list does not know %s", path)
	}
	return p
}
