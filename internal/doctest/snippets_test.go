package doctest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// snippetImports are the packages that a snippet may use, by the name before the
// dot.
var snippetImports = map[string]string{
	"auth": "github.com/keytail/keytail/auth", "keytailtest": "github.com/keytail/keytail/keytailtest",
	"keytail": "github.com/keytail/keytail", "client": "github.com/keytail/keytail/client",
	"http": "net/http", "gin": "github.com/gin-gonic/gin",
}

// snippetHead declares what snippets take for granted; a snippet may declare it again.
const snippetHead = `package snippets

import (
	"context"
	"testing"
	"time"
	"net/http"
	"github.com/gin-gonic/gin"
	embedded "github.com/keytail/keytail"
	"go.mongodb.org/mongo-driver/v2/mongo"
%s)

// What an earlier snippet of the page has made.
var (
	keys        *embedded.Service
	mongoClient *mongo.Client
)

var _ mongo.Client
var _ http.Handler
var _ *testing.T
var _ time.Duration

func snippet(ctx context.Context, t *testing.T, router *gin.Engine, orders gin.HandlerFunc, ordersOf func(org, user string) any, routes func(gin.HandlerFunc) http.Handler) error {
	%s
	{
%s
	}
	return nil
}
`

// TestSnippetsCompile type-checks each block of Go in README.md and docs/ as the
// body of a function.
func TestSnippetsCompile(t *testing.T) {
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	absolute, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	var packages []string
	for _, p := range userPages(mustLoadTree(t)) {
		for _, b := range p.blocks {
			if b.language != "go" {
				continue
			}
			name := fmt.Sprintf("%s_%d", regexp.MustCompile(`\W`).ReplaceAllString(p.name, "_"), b.line)
			file := filepath.Join(dir, name+".go")
			if err := os.WriteFile(file, []byte(snippetSource(b.text(), p.name, b.line)), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay.Replace[filepath.Join(absolute, "snippets", name, "snippet.go")] = file
			packages = append(packages, "./snippets/"+name)
		}
	}
	if len(packages) < 4 {
		t.Fatalf("only the snippets %v were found", packages)
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.CommandContext(t.Context(), "go", append([]string{"build", "-gcflags=-e", "-overlay", list}, packages...)...).CombinedOutput()
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		if line != "" && !strings.HasPrefix(line, "# ") && !strings.Contains(line, "declared and not used") {
			t.Error(line)
		}
	}
}

// snippetSource is a package around a snippet. A name that the snippet uses as a
// package is one; else client is the program's own client of MongoDB.
func snippetSource(snippet, page string, line int) string {
	imports, declare := "", "var client *mongo.Client"
	code := regexp.MustCompile(`//.*`).ReplaceAllString(snippet, "")
	for name, path := range snippetImports {
		if strings.Contains(snippetHead, "\t\""+path+`"`) || !regexp.MustCompile(`\b`+name+`\.[A-Z]`).MatchString(code) {
			continue
		}
		imports += fmt.Sprintf("\t%q\n", path)
		if name == "client" {
			declare = ""
		}
	}
	return fmt.Sprintf(snippetHead, imports, declare, fmt.Sprintf("//line %s:%d:1\n%s", page, line+1, snippet))
}
