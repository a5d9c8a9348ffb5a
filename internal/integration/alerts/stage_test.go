package alerts

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/testprogram"
)

const (
	root = "../../.."
	// keytailApp is the application name of the daemon's connections.
	keytailApp = "keytail"
	// maxStale is short, so that an outage of seconds is one.
	maxStale = "5s"
	tokens   = "web=0123456789abcdef-web\n"
)

// staged is a daemon, its MongoDB, and Prometheus, which watches it.
type staged struct {
	t     *testing.T
	began time.Time
	dir   string

	mongo   *mongotest.Devmongo
	keys    *mongo.Collection
	keytail *testprogram.Process
	// public is the address of the daemon's public listener, ops that of operations.
	public, ops string
	// key is valid.
	key    string
	client *http.Client

	watchers []*watcher
}

func newStage(t *testing.T) *staged {
	t.Helper()
	program := findPrometheus(t)
	s := &staged{
		t: t, dir: t.TempDir(), key: newKey(t), mongo: mongotest.StartDevmongo(t, devmongo.Config{}),
		client: &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second},
	}
	t.Cleanup(s.client.CloseIdleConnections)
	database := s.mongo.Database(t)
	s.keys = mongotest.CreateAPIKeys(t, s.mongo.Client(t, "stage").Database(database))
	s.insert("valid", s.key)
	s.startKeytail(database)
	s.renderRules()
	s.began = time.Now()
	// One reads classic histograms, the other one native ones.
	s.watchers = []*watcher{s.startPrometheus(program, "classic"), s.startPrometheus(program, "native", "--enable-feature=native-histograms")}
	ctx, stop := context.WithCancel(context.Background())
	var load sync.WaitGroup
	load.Go(func() { s.load(ctx) })
	t.Cleanup(func() { stop(); load.Wait() })
	return s
}

// say logs what is done, with the time since the start of Prometheus.
func (s *staged) say(format string, args ...any) {
	s.t.Helper()
	s.t.Logf("%5.1f s  %s", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// The addresses in the daemon's log.
var (
	serving    = regexp.MustCompile(`serving.*"addr": ?"([^"]+)"`)
	servingOps = regexp.MustCompile(`serving.*"ops_addr": ?"([^"]+)"`)
)

// startKeytail builds and starts the daemon, and returns when it is live.
func (s *staged) startKeytail(database string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "keytail")
	program := filepath.Join(dir, "keytail")
	s.run("go", "build", "-C", root, "-o", program, "./cmd/server")
	s.writeTokens(tokens)
	s.keytail = s.start(program, dir,
		"serve", "--mongodb-uri="+s.mongo.URI, "--database="+database, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0",
		"--max-stale="+maxStale, "--cache-size=8", "--caller-token-file=callers")
	s.public, s.ops = s.awaitLog(s.keytail, serving), s.awaitLog(s.keytail, servingOps)
}

// writeTokens replaces the file of the caller tokens.
func (s *staged) writeTokens(content string) {
	s.t.Helper()
	s.write("keytail/callers", content)
}

// renderRules makes the rules with shortened times.
func (s *staged) renderRules() {
	s.t.Helper()
	s.run("go", "run", "-C", filepath.Join(root, "deploy/prometheus/generate"), ".", "-o", s.dir, "-times-divided-by", fmt.Sprint(divisor))
}

func findPrometheus(t *testing.T) string {
	t.Helper()
	program, err := testprogram.Find(testprogram.Program{
		Name: "prometheus", Variable: "KEYTAIL_TEST_PROMETHEUS", Places: []string{testprogram.InVenv("prometheus"), "prometheus"},
		Install: ".ci/run takes it out of Debian's package prometheus",
	})
	testprogram.SkipIfMissing(t, "prometheus", err)
	return program
}

const prometheusConfig = `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%s/alerts.yaml, %[1]s/rules.yaml]
scrape_configs:
  - job_name: keytail
    static_configs: [{targets: ["%[2]s"]}]
`

var (
	listening = regexp.MustCompile(`Listening on.*address=(127\.0\.0\.1:\d+)`)
	ready     = regexp.MustCompile(`(Server is ready to receive web requests)`)
)

// startPrometheus starts one that scrapes and evaluates each second.
func (s *staged) startPrometheus(program, name string, args ...string) *watcher {
	s.t.Helper()
	s.write(name+"/prometheus.yml", fmt.Sprintf(prometheusConfig, s.dir, s.ops))
	p := s.start(program, filepath.Join(s.dir, name), append(args,
		"--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0")...)
	s.awaitLog(p, ready)
	return &watcher{name: name, address: s.awaitLog(p, listening), client: s.client, seen: map[string]string{}}
}

// start starts a process that is killed when the test ends, at the latest.
func (s *staged) start(program, dir string, args ...string) *testprogram.Process {
	s.t.Helper()
	p, err := testprogram.Start(program, args, dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		p.Kill()
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", filepath.Base(program), p.LogTail())
		}
	})
	return p
}

// awaitLog returns the first group of the expression in the process's log.
func (s *staged) awaitLog(p *testprogram.Process, expression *regexp.Regexp) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), testkit.WaitTimeout)
	defer cancel()
	found, err := p.AwaitLog(ctx, expression)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, p.LogTail())
	}
	return found
}

// run runs a command to its end.
func (s *staged) run(name string, args ...string) {
	s.t.Helper()
	if out, err := exec.CommandContext(s.t.Context(), name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// write writes a file of the stage, which only its owner can read.
func (s *staged) write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// insert inserts the document of an active key.
func (s *staged) insert(id, key string) {
	s.t.Helper()
	if _, err := s.keys.InsertOne(s.t.Context(), testkit.Document(id, key)); err != nil {
		s.t.Fatal(err)
	}
}

func newKey(t *testing.T) string {
	t.Helper()
	key, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
