// Package clients_test generates clients in other languages from the OpenAPI document
// of a real daemon, with the commands of docs/other-languages.md, and uses them: it runs
// the code of that page, and the life of a key (manage_keys).
package clients_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/testprogram"
)

// nameClients stands in KEYTAIL_TEST_REQUIRE for the generators of both languages.
const nameClients = "generated-clients"

// lifeOfAKey is what manage_keys prints in each language.
const lifeOfAKey = `created: VALID
listed: 2 pages
changed: null removes the name, an absent field stays
rotated: old VALID, new VALID
revoked: applied by 1 instance
verified again: DISABLED
refused: 404 NO_SUCH_KEY
explained: INSUFFICIENT_PERMISSIONS scope:orders:read
leaked: DISABLED
revoked all: 1 key, DISABLED
audited: revoke
`

func TestGeneratedClients(t *testing.T) {
	program := buildKeytail(t)
	t.Run("Python", func(t *testing.T) { testPython(t, program) })
	t.Run("TypeScript", func(t *testing.T) { testTypeScript(t, program) })
}

func testPython(t *testing.T, program string) {
	t.Helper()
	python := testprogram.Python(t, nameClients, "internal/integration/clients/requirements.txt", "openapi_python_client", "ruff", "httpx", "attrs")
	w := newWorkshop(t, program, filepath.Dir(python))
	w.copy("manage_keys.py")
	w.generate("openapi-python-client")
	w.page("python", "orders.py")
	w.write("ask.py", "import sys\nimport orders\nprint(orders.may_read_orders(sys.argv[1]))\n")
	w.checkLife(python, "manage_keys.py")
	w.checkAnswers(python, "ask.py")
}

func testTypeScript(t *testing.T, program string) {
	t.Helper()
	modules := nodeModules(t)
	w := newWorkshop(t, program, filepath.Join(modules, ".bin"))
	if err := os.Symlink(modules, filepath.Join(w.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	w.copy("manage_keys.ts", "package.json", "tsconfig.json")
	w.generate("openapi-typescript")
	w.page("ts", "orders.ts")
	w.write("ask.ts", "import { mayReadOrders } from \"./orders.js\";\nconsole.log(await mayReadOrders(process.argv[2]!));\n")
	if out, err := w.command(nil, "tsc", "--project", ".").CombinedOutput(); err != nil {
		t.Fatalf("tsc: %v\n%s", err, out)
	}
	w.checkLife("node", "manage_keys.js")
	w.checkAnswers("node", "ask.js")
}

// nodeModulesVariable is the environment variable that names a directory node_modules
// with the packages of package.json.
const nodeModulesVariable = "KEYTAIL_TEST_NODE_MODULES"

// nodeModules returns the absolute path of the directory that the variable names, or of
// that of .ci/run.
func nodeModules(t *testing.T) string {
	t.Helper()
	const install = "install Node.js 18 or later, run npm ci in internal/integration/clients, and set " + nodeModulesVariable + " to its node_modules"
	_, err := testprogram.Find(testprogram.Program{Name: "node", Places: []string{"node"}, Install: install})
	testprogram.SkipIfMissing(t, nameClients, err)
	directory := cmp.Or(os.Getenv(nodeModulesVariable), testprogram.InVenv("../node_modules"))
	_, err = testprogram.Find(testprogram.Program{Name: "tsc", Places: []string{filepath.Join(directory, ".bin", "tsc")}, Install: install})
	testprogram.SkipIfMissing(t, nameClients, err)
	if directory, err = filepath.Abs(directory); err != nil {
		t.Fatal(err)
	}
	return directory
}

// workshop is a directory in which a client is generated and used, beside a daemon.
type workshop struct {
	*daemon
	t       *testing.T
	dir     string
	path    string // the PATH of its commands
	article string // the text of docs/other-languages.md
}

// newWorkshop starts a daemon of the program keytail. Commands are searched in bin first.
func newWorkshop(t *testing.T, program, bin string) *workshop {
	t.Helper()
	article, err := os.ReadFile(testkit.ModulePath(t, "docs", "other-languages.md"))
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, program)
	return &workshop{
		daemon: d, t: t, dir: t.TempDir(), path: bin + string(os.PathListSeparator) + os.Getenv("PATH"),
		article: strings.ReplaceAll(string(article), "http://127.0.0.1:8080", d.public),
	}
}

// copy copies files of this directory.
func (w *workshop) copy(names ...string) {
	w.t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		w.write(name, string(text))
	}
}

func (w *workshop) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// page writes the page's only block of a language to a file.
func (w *workshop) page(language, name string) {
	w.t.Helper()
	blocks := strings.Split(w.article, "\n```"+language+"\n")
	if len(blocks) != 2 {
		w.t.Fatalf("the page has %d blocks of %s, want 1", len(blocks)-1, language)
	}
	text, _, _ := strings.Cut(blocks[1], "```")
	w.write(name, text)
}

// generate runs the page's command of a generator, which must not warn.
func (w *workshop) generate(generator string) {
	w.t.Helper()
	for line := range strings.Lines(w.article) {
		if !strings.HasPrefix(strings.TrimPrefix(line, "npx "), generator+" ") {
			continue
		}
		out, err := w.command(nil, "sh", "-c", line).CombinedOutput()
		if err != nil || strings.Contains(strings.ToLower(string(out)), "warning") {
			w.t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return
	}
	w.t.Fatalf("the page has no command of %s", generator)
}

// command prepares a command in the directory, with additional environment variables.
func (w *workshop) command(env []string, name string, args ...string) *exec.Cmd {
	// env(1) searches the program in the PATH that it sets.
	cmd := exec.CommandContext(w.t.Context(), "/usr/bin/env", append([]string{"PATH=" + w.path, name}, args...)...)
	cmd.Dir = w.dir
	cmd.Env = append(append(os.Environ(), w.environment()...), env...)
	return cmd
}

// checkLife runs manage_keys.
func (w *workshop) checkLife(command ...string) {
	w.t.Helper()
	out, err := w.command(nil, command[0], command[1:]...).CombinedOutput()
	if err != nil || string(out) != lifeOfAKey {
		w.t.Errorf("%v: %v, printed\n%s\nwant\n%s\nthe log of the daemon ends with\n%s", command, err, out, lifeOfAKey, w.process.LogTail())
	}
	w.t.Logf("%s", out)
}

// checkAnswers asks the page's function about keys: a valid one, a refused one, and,
// with a wrong caller token, and with a daemon that has ended, one about which it
// has no answer.
func (w *workshop) checkAnswers(command ...string) {
	w.t.Helper()
	ask := func(key string, env ...string) (string, error) {
		out, err := w.command(env, command[0], append(command[1:], key)...).CombinedOutput()
		return strings.ToLower(strings.TrimSpace(string(out))), err
	}
	for name, want := range map[string]string{"valid": "true", "expired": "false"} {
		if got, err := ask(sample(w.t, name)); err != nil || got != want {
			w.t.Errorf("a key that is %s: %s, %v, want %s", name, got, err, want)
		}
	}
	if got, err := ask(sample(w.t, "valid"), "KEYTAIL_CALLER_TOKEN=another-caller-token"); err == nil || !strings.Contains(got, "unauthenticated") {
		w.t.Errorf("with a wrong caller token: %s, %v, want an exception with the code", got, err)
	}
	w.process.Kill()
	if got, err := ask(sample(w.t, "valid")); err == nil {
		w.t.Errorf("without a daemon: %s, want an exception", got)
	}
}
