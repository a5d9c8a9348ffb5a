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

// goPackage is the part of the output of `go list -json` that the rules between
// packages need.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	// Deps are all direct and indirect imports, without those of tests.
	Deps []string
}

// listPackages runs the Go tool. Cached test results do not notice a change of
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

// mongoDBClient is the MongoDB driver without its bson package, which Gin's request
// binding imports.
var mongoDBClient = []string{"go.mongodb.org/mongo-driver/v2/mongo", "go.mongodb.org/mongo-driver/v2/x/mongo"}

const (
	driverModule   = "go.mongodb.org/mongo-driver"
	bigcacheModule = "github.com/allegro/bigcache"
	ginModule      = "github.com/gin-gonic/gin"
	zapModule      = "go.uber.org/zap"
)

// listeners are what a program that embeds keytail does not link: HTTP listeners, gRPC
// and Envoy, the admin API, the doctor, the command line.
var listeners = []string{
	"google.golang.org/grpc", "go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters", "go.opentelemetry.io/proto", "github.com/envoyproxy", "github.com/cncf/xds", "github.com/alecthomas/kong", "github.com/pb33f/libopenapi",
	"github.com/prometheus/client_golang/prometheus/promhttp", module + "/client",
	module + "/internal/adminclient", module + "/internal/cli", module + "/internal/config", module + "/internal/daemon",
	module + "/internal/devmongo", module + "/internal/doctor", module + "/internal/extauthz", module + "/internal/keyadmin",
	module + "/internal/managedkey", module + "/internal/playground", module + "/internal/propose", module + "/internal/reload", module + "/internal/rights", module + "/internal/routes", module + "/internal/seed", module + "/internal/serverspan", module + "/internal/telemetry", module + "/internal/tokens", module + "/internal/webui", module + "/internal/websession", module + "/internal/keypages", module + "/internal/statuspage", module + "/internal/trends",
}

// TestLayers checks the rules between packages that ARCHITECTURE.md explains.
// golangci-lint's depguard looks at the imports of a file; here indirect imports
// count, too.
func TestLayers(t *testing.T) {
	packages := listPackages(t)
	for name, forbidden := range map[string][]string{
		"":                  listeners,
		"internal/service":  append([]string{ginModule, module + "/auth"}, listeners...),
		"internal/daemon":   {module + "/internal/cli", module + "/internal/config", module + "/internal/devmongo", "github.com/alecthomas/kong"},
		"internal/keycache": {driverModule, module + "/internal/changestream", module + "/internal/keystore"},
		"internal/routes":   append([]string{bigcacheModule, module + "/internal/keycache", module + "/internal/keystore", module + "/internal/service"}, mongoDBClient...),
		"internal/extauthz": {
			driverModule, bigcacheModule, ginModule,
			module + "/internal/keycache", module + "/internal/keystore", module + "/internal/routes", module + "/internal/service",
		},
		"internal/doctor":  {module + "/internal/routes", module + "/internal/cli", module + "/internal/config", module + "/internal/daemon", ginModule},
		"internal/propose": {module + "/internal/routes", module + "/internal/cli", module + "/internal/config", module + "/internal/service", module + "/internal/keycache", ginModule},
		// It sees the scans of preload, and knows nothing of it.
		"internal/expiry": {driverModule, bigcacheModule, module + "/internal/keystore", module + "/internal/preload"},
		// Clients contain nothing of the server.
		"internal/httpclient": {module + "/internal", driverModule, ginModule, zapModule},
		"internal/adminclient": {
			module + "/internal/apikey", module + "/internal/managedkey", module + "/internal/routes", module + "/internal/config",
			driverModule, ginModule, zapModule,
		},
		"internal/revocation": {module + "/internal", module + "/auth", ginModule, driverModule},
		"internal/cli":        {module, module + "/internal/devmongo", module + "/internal/mongotest"},
		// What services link that do not embed keytail.
		"auth": append([]string{
			bigcacheModule, zapModule, module + "/internal/routes", module + "/internal/keycache", module + "/internal/keystore", module + "/internal/changestream",
		}, mongoDBClient...),
		"client": append([]string{
			bigcacheModule, zapModule, module + "/internal/routes", module + "/internal/keycache", module + "/internal/keystore", module + "/internal/config",
			"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters",
		}, mongoDBClient...),
		"keytailtest": append([]string{bigcacheModule, module + "/internal/keycache", module + "/internal/keystore", module + "/internal/validator"}, mongoDBClient...),
	} {
		p := mustFind(t, packages, name)
		for _, dep := range p.Deps {
			for _, prefix := range forbidden {
				if dep == prefix || prefix != module && strings.HasPrefix(dep, prefix+"/") {
					t.Errorf("%s must not depend on %s", p.ImportPath, dep)
				}
			}
		}
	}
}

// TestPurePackagesUseTheStandardLibraryOnly and, of the module, only each other.
func TestPurePackagesUseTheStandardLibraryOnly(t *testing.T) {
	packages := listPackages(t)
	pure := []string{"internal/apikey", "internal/clustertime", "internal/timing", "internal/managedkey", "internal/forwardauth", "api"}
	for _, name := range pure {
		for _, dep := range mustFind(t, packages, name).Deps {
			if !packages[dep].Standard && !slices.Contains(pure, strings.TrimPrefix(dep, module+"/")) {
				t.Errorf("%s must not depend on %s", name, dep)
			}
		}
	}
}

// TestTheCheckerSharesNoCodeWithWhatItChecks: what judges a history would share its mistakes.
func TestTheCheckerSharesNoCodeWithWhatItChecks(t *testing.T) {
	packages := listPackages(t)
	for name, allowed := range map[string][]string{
		"internal/history":      {},
		"internal/historycheck": {"internal/history"},
	} {
		for _, dep := range mustFind(t, packages, name).Deps {
			if !packages[dep].Standard && !slices.Contains(allowed, strings.TrimPrefix(dep, module+"/")) {
				t.Errorf("%s must not depend on %s", name, dep)
			}
		}
	}
}

// TestOnlyTheseImport has the packages that few others may import.
func TestOnlyTheseImport(t *testing.T) {
	packages := listPackages(t)
	for imported, allowed := range map[string][]string{
		// A daemon never falls back to memory on its own.
		"internal/devmongo":  {"internal/program", "internal/mongotest", "internal/devmongo/devmongod"},
		"internal/telemetry": {"internal/cli"},
		// Its faults are those of devmongo, which only --dev has.
		"internal/playground": {"internal/cli", "internal/daemon"},
		"internal/mongotest":  {"bench", "internal/integration/testkit"},
		"internal/daemon":     {"internal/cli", "bench", "internal/integration/testkit"},
		"internal/service":    {"", "internal/coreauth", "internal/daemon", "internal/cli", "bench"},
		// The rest of the module is below the public facade.
		"": {"examples/gin-api"},
	} {
		importers := 0
		for _, p := range packages {
			if !slices.Contains(p.Imports, mustFind(t, packages, imported).ImportPath) {
				continue
			}
			importers++
			if !slices.Contains(allowed, strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")) {
				t.Errorf("%s must not import %q: only %q and tests may", p.ImportPath, imported, allowed)
			}
		}
		if importers == 0 {
			t.Errorf("nothing imports %q: this test looks for the wrong name", imported)
		}
	}
}

// TestEmbeddingCostsLittle: a program that embeds keytail links at most 1.3 times the
// packages of one that uses Gin, the driver, bigcache and the Prometheus client.
func TestEmbeddingCostsLittle(t *testing.T) {
	alone := countPackages(t, ginModule, driverModule+"/v2/mongo", bigcacheModule+"/v3", "github.com/prometheus/client_golang/prometheus")
	embedding := countPackages(t, module)
	t.Logf("%d packages besides the standard library, %d without keytail", embedding, alone)
	if embedding*10 > alone*13 {
		t.Errorf("%d packages are more than 1.3 times %d", embedding, alone)
	}
}

// countPackages is the number of packages outside of the standard library that a
// program links with these imports.
func countPackages(t *testing.T, imports ...string) int {
	t.Helper()
	args := append([]string{"list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}"}, imports...)
	output, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return len(strings.Fields(string(output)))
}

func mustFind(t *testing.T, packages map[string]goPackage, name string) goPackage {
	t.Helper()
	p, found := packages[strings.TrimSuffix(module+"/"+name, "/")]
	if !found {
		t.Fatalf("go list does not know %q", name)
	}
	return p
}
