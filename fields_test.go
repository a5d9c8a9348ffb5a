package keytail

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/service"
)

// TestEveryFlagInAMessageHasAField looks through the string literals of all packages
// that this one depends on.
func TestEveryFlagInAMessageHasAField(t *testing.T) {
	packages := listPackages(t)
	found := 0
	for _, dep := range mustFind(t, packages, "").Deps {
		dir, ours := strings.CutPrefix(dep, module+"/")
		if !ours {
			continue
		}
		for _, literal := range literalsOf(t, dir) {
			for _, name := range flag.FindAllString(literal, -1) {
				found++
				if _, ok := fieldNames[name]; !ok && !strings.Contains(literal, name+"Set") {
					t.Errorf("%s names %s, and fieldNames has no field for it: %s", dep, name, literal)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d flags found: this test looks in the wrong place", found)
	}
}

// literalsOf are the string literals of a package, without its tests.
func literalsOf(t *testing.T, dir string) (literals []string) {
	t.Helper()
	parsed, err := parser.ParseDir(token.NewFileSet(), dir, func(info fs.FileInfo) bool { //nolint:staticcheck // build tags do not matter here
		return !strings.HasSuffix(info.Name(), "_test.go")
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parsed {
		ast.Inspect(p, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				literals = append(literals, literal.Value)
			}
			return true
		})
	}
	return literals
}

// TestFieldNamesAreFields of Config or Mapping.
func TestFieldNamesAreFields(t *testing.T) {
	types := map[string]reflect.Type{"Config": reflect.TypeFor[Config](), "Mapping": reflect.TypeFor[Mapping]()}
	for name, field := range fieldNames {
		typ, rest, _ := strings.Cut(field, ".")
		if types[typ] == nil {
			continue // the connection string
		}
		if _, ok := types[typ].FieldByName(strings.Fields(rest)[0]); !ok {
			t.Errorf("%s: there is no %s", name, field)
		}
	}
}

func TestErrorsNameFields(t *testing.T) {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	mapping := DefaultMapping()
	mapping.HashEncoding, mapping.OrgID = "md5", "org.id"
	inverted := DefaultMapping()
	inverted.Active = "revoked"
	for name, config := range map[string]Config{
		"Mapping.ActiveForm":          {Client: client, Database: "d", Mapping: inverted},
		"Config.Client is required":   {Database: "d"},
		"Config.Database is required": {Client: client},
		"Config.StreamScope":          {Client: client, Database: "d", StreamScope: "cluster"},
		"Mapping.HashEncoding":        {Client: client, Database: "d", Mapping: mapping},
		"Mapping.OrgID":               {Client: client, Database: "d", Mapping: mapping},
		"Config.DefaultScopes":        {Client: client, Database: "d", DefaultScopes: []string{"two words"}},
		"Config.MaxStale":             {Client: client, Database: "d", MaxStale: 25 * time.Hour},
		"Config.HeartbeatInterval":    {Client: client, Database: "d", MaxStale: time.Second, HeartbeatInterval: time.Second},
		"Config.AuditInterval":        {Client: client, Database: "d", AuditInterval: 1},
		"Config.ExpiryNotice":         {Client: client, Database: "d", ExpiryNotice: 1},
		"Config.CacheSizeMiB":         {Client: client, Database: "d", CacheSizeMiB: 2},
		"Config.MaxReads":             {Client: client, Database: "d", MaxReads: -1},
		"Config.InstanceName":         {Client: client, Database: "d", InstanceName: strings.Repeat("n", maxInstanceName+1)},
		"Config.KeyPrefix":            {Client: client, Database: "d", KeyPrefix: "KT"},
		"Config.Usage":                {Client: client, Database: "d", Usage: "no"},
		"Config.UsageInterval":        {Client: client, Database: "d", UsageInterval: time.Second},
		"Config.Preload":              {Client: client, Database: "d", Preload: "no"},
	} {
		_, err := New(t.Context(), config)
		if err == nil || !strings.Contains(err.Error(), name) || flag.MatchString(err.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryMistakeIsReportedAtOnce: one start shows all mistakes of a Config.
func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	_, err := New(t.Context(), Config{
		StreamScope: "a", DefaultScopes: []string{"b c"}, MaxStale: -1, HeartbeatInterval: -1, AuditInterval: -1, ExpiryNotice: -1,
		CacheSizeMiB: -1, MaxReads: -1, InstanceName: strings.Repeat("n", maxInstanceName+1), KeyPrefix: "-", Preload: "d", Usage: "e", UsageInterval: -1,
	})
	const want = 15
	if err == nil || strings.Count(err.Error(), "Config.") != want {
		t.Errorf("want %d fields, got:\n%v", want, err)
	}
}

// TestBoundsAreThoseOfTheCore: the core starts with the least and the greatest value
// that check accepts.
func TestBoundsAreThoseOfTheCore(t *testing.T) {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	for _, config := range []Config{
		{MaxStale: minMaxStale, AuditInterval: minAuditInterval, ExpiryNotice: minExpiryNotice, UsageInterval: minUsageInterval, CacheSizeMiB: minCacheSizeMiB, InstanceName: strings.Repeat("n", maxInstanceName)},
		{MaxStale: maxMaxStale, AuditInterval: maxAuditInterval, ExpiryNotice: maxExpiryNotice, UsageInterval: maxUsageInterval, HeartbeatInterval: maxMaxStale / 3, CacheSizeMiB: minCacheSizeMiB},
	} {
		config.Client, config.Database = client, "d"
		if err := config.check(); err != nil {
			t.Error(err)
		}
		if _, err := service.Wire(config.internal()); err != nil {
			t.Error(err)
		}
	}
}

func TestAnErrorWithFieldNamesWrapsItsCause(t *testing.T) {
	if err := inFields(keystore.ErrNoKeys); !errors.Is(err, keystore.ErrNoKeys) {
		t.Errorf("%v is not its cause", err)
	}
	if inFields(nil) != nil {
		t.Error("nil is an error")
	}
	if got, want := inFieldNames("start it with --replSet, and set --track-usage=false"), "start it with --replSet, and set Config.Usage to UsageOff"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
