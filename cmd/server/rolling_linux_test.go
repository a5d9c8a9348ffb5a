package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/proxytest"
	"github.com/keytail/keytail/internal/seed"
)

const (
	// rollingRestarts of the whole fleet, and under -short.
	rollingRestarts, fewRestarts = 20, 2
	// rollingDrain is short, so that sixty of them fit into a minute.
	rollingDrain = 250 * time.Millisecond
	// verifiers and visitors are the callers of verify and of the protected
	// application, each with one connection and a request every rollingPace.
	verifiers, visitors = 8, 4
	rollingPace         = 10 * time.Millisecond
)

// TestRollingRestartsLoseNoRequest restarts three instances behind nginx, one
// after another and again and again, under load.
func TestRollingRestartsLoseNoRequest(t *testing.T) {
	f := startFleet(t, rollingDrain, nil)
	rounds := rollingRestarts
	if testing.Short() {
		rounds = fewRestarts
	}
	traffic := f.startTraffic()
	began := time.Now()
	for range rounds {
		for _, i := range f.instances {
			traffic.untilAnswers(t, 20)
			if code := i.stop(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d after SIGTERM:\n%s", code, i.log())
			}
			i.start(t)
		}
	}
	traffic.end()
	t.Logf("%d rolling restarts of %d instances in %v", rounds, len(f.instances), time.Since(began).Round(time.Second))
	t.Log(traffic.summary())
	t.Log(f.accessSummary())
	for _, failure := range traffic.failures {
		t.Error(failure)
	}

	for _, i := range f.instances {
		i.stop(syscall.SIGTERM)
	}
	f.mustBeUnavailable(t)
}

// TestRollingRestartsCanFail is the same with what loses requests: an instance
// that is killed, and an nginx that tries no other instance. It shows that the counts of
// the test above mean something.
func TestRollingRestartsCanFail(t *testing.T) {
	f := startFleet(t, 0, func(config string) string {
		return substitute(t, config, "proxy_next_upstream error timeout http_503 non_idempotent;", "proxy_next_upstream off;")
	})
	traffic := f.startTraffic()
	traffic.untilAnswers(t, 200)
	for _, i := range f.instances[:2] {
		i.stop(syscall.SIGKILL)
		traffic.untilAnswers(t, 200)
		i.start(t)
	}
	traffic.end()
	t.Log(traffic.summary())
	t.Log(f.accessSummary())
	if len(traffic.failures) == 0 {
		t.Error("killed instances and no second try, and yet no request failed: the load does not see failures")
	}
}

// TestRequestsAreRetriedDuringRollingKills: the second try alone saves what a kill
// breaks, and the access log shows it.
func TestRequestsAreRetriedDuringRollingKills(t *testing.T) {
	f := startFleet(t, 0, nil)
	traffic := f.startTraffic()
	traffic.untilAnswers(t, 200)
	for _, i := range f.instances[:2] {
		i.stop(syscall.SIGKILL)
		traffic.untilAnswers(t, 200)
		i.start(t)
	}
	traffic.end()
	t.Log(traffic.summary())
	t.Log(f.accessSummary())
	for _, failure := range traffic.failures {
		t.Error(failure)
	}
	if f.accesses().again == 0 {
		t.Error("killed instances, and yet no request was asked again")
	}
}

// fleet is three instances behind nginx.
type fleet struct {
	t         *testing.T
	instances []*instance
	// url is nginx's, access the file with its access log.
	url, access string
}

func startFleet(t *testing.T, drain time.Duration, change func(config string) string) *fleet {
	t.Helper()
	nginx := proxytest.Nginx(t)
	// A directory with a short name: that of a Unix socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "keytail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// The workers may be another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := build(t, dir)
	uri := startSamples(t)
	f := &fleet{t: t, access: filepath.Join(dir, "access.log")}
	for n := range 3 {
		// An address of its own: no outgoing connection, which come from
		// 127.0.0.1, takes the port while the instance is away.
		host := fmt.Sprintf("127.0.1.%d", n+1)
		i := &instance{program: program, addr: freeAddr(t, host), ops: freeAddr(t, host)}
		i.args = []string{
			"serve", "--mongodb-uri=" + uri, "--database=" + rollingDatabase, "--addr=" + i.addr, "--ops-addr=" + i.ops,
			"--drain-delay=" + drain.String(), "--trusted-proxies=127.0.0.1", "--cache-size=8", "--log-level=warn",
		}
		f.instances = append(f.instances, i)
		t.Cleanup(func() { i.stop(syscall.SIGKILL) })
		i.start(t)
	}
	f.startNginx(nginx, dir, change)
	return f
}

const rollingDatabase = "rolling"

// build makes keytail as a user does.
func build(t *testing.T, dir string) (program string) {
	t.Helper()
	program = filepath.Join(dir, "keytail")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	return program
}

// startSamples is a MongoDB with the sample keys.
func startSamples(t *testing.T) (uri string) {
	t.Helper()
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	client := server.Connect(t, options.Client().ApplyURI(server.URI))
	keys := mongotest.CreateAPIKeys(t, client.Database(rollingDatabase))
	documents, err := seed.Documents()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
	return server.URI
}

func freeAddr(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// substitute wants the old text to be there, so that the file that is tested and
// the one that is deployed cannot drift apart.
func substitute(t *testing.T, text, old, replacement string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("deploy/nginx.conf has no %q", old)
	}
	return strings.ReplaceAll(text, old, replacement)
}

// startNginx runs deploy/nginx.conf with other addresses, and dir for /tmp.
func (f *fleet) startNginx(program, dir string, change func(string) string) {
	f.t.Helper()
	content, err := os.ReadFile("../../deploy/nginx.conf")
	if err != nil {
		f.t.Fatal(err)
	}
	addr := freeAddr(f.t, "127.0.1.9")
	f.url = "http://" + addr
	config := substitute(f.t, string(content), "/tmp/", dir+"/")
	config = substitute(f.t, config, "/dev/stdout", f.access)
	config = substitute(f.t, config, "worker_processes auto;", "worker_processes 2;")
	config = substitute(f.t, config, "listen 8080;", "listen "+addr+";")
	for n, i := range f.instances {
		config = substitute(f.t, config, fmt.Sprintf("server keytail-%d:8080 ", n+1), "server "+i.addr+" ")
	}
	if change != nil {
		config = change(config)
	}
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		f.t.Fatal(err)
	}
	errorLog := &output{changed: make(chan struct{})}
	p := startChild(f.t, syscall.SIGTERM, errorLog, program, "-c", path, "-p", dir, "-e", "stderr", "-g", "daemon off;")
	f.t.Cleanup(func() {
		// SIGTERM: a master that is killed leaves its workers behind.
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		<-p.done
	})
	eventually(f.t, "nginx does not answer", func() bool {
		select {
		case <-p.done:
			log, _ := errorLog.snapshot()
			f.t.Fatalf("nginx has ended:\n%s", log)
		default:
		}
		return status(f.t, f.url+"/") == http.StatusNotFound
	})
}

// mustBeUnavailable asks when nobody is left: 503, and never a "no".
func (f *fleet) mustBeUnavailable(t *testing.T) {
	t.Helper()
	for _, a := range requestKinds(t, f.url) {
		response, err := http.DefaultClient.Do(a.request(t))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
			t.Errorf("%s without any instance: %s, Retry-After %q, %s", a.name, response.Status, response.Header.Get("Retry-After"), body)
		}
	}
}

// instance is one keytail that is started and stopped many times.
type instance struct {
	program   string
	args      []string
	addr, ops string
	process   *childProcess
	stderr    *output
}

// start returns when readyz says 200.
func (i *instance) start(t *testing.T) {
	t.Helper()
	i.stderr = &output{changed: make(chan struct{})}
	i.process = startChild(t, syscall.SIGKILL, i.stderr, i.program, i.args...)
	eventually(t, "an instance does not become ready", func() bool {
		select {
		case <-i.process.done:
			t.Fatalf("an instance has ended:\n%s", i.log())
		default:
		}
		return status(t, "http://"+i.ops+"/readyz") == http.StatusOK
	})
}

// stop returns the exit code when the process is gone, -1 after a kill.
func (i *instance) stop(signal syscall.Signal) int {
	if i.process == nil {
		return 0
	}
	_ = i.process.cmd.Process.Signal(signal)
	select {
	case <-i.process.done:
	case <-time.After(waitTimeout):
		_ = i.process.cmd.Process.Kill()
		<-i.process.done
	}
	return i.process.cmd.ProcessState.ExitCode()
}

func (i *instance) log() string {
	log, _ := i.stderr.snapshot()
	return log
}

// childProcess is a child that gets a signal when the test binary dies, however that
// dies.
type childProcess struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// startChild keeps a thread until the child is gone: it is the end of the thread
// that started it that counts (prctl(2), PR_SET_PDEATHSIG).
func startChild(t *testing.T, end syscall.Signal, stderr io.Writer, program string, args ...string) *childProcess {
	t.Helper()
	p := &childProcess{cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Stderr = stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: end}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return p
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	mongotest.Eventually(t, waitTimeout, cond, what)
}

// status is 0 while nobody listens.
func status(t *testing.T, url string) int {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waitTimeout}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode
}

// requestKind is a question through nginx, and the one right answer to it.
type requestKind struct {
	name, method, url string
	header            http.Header
	body              string
	status            int
	// contains is part of the right body.
	contains string
}

// requestKinds are those of callers of verify, and after them those of visitors of the
// application.
func requestKinds(t *testing.T, url string) []requestKind {
	t.Helper()
	example := func(name string) string {
		e, err := seed.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		return e.Key
	}
	verify := func(name, code string) requestKind {
		body, err := json.Marshal(map[string]any{"key": example(name), "scopes": []string{"orders:read"}})
		if err != nil {
			t.Fatal(err)
		}
		return requestKind{
			name: "verify " + name, method: http.MethodPost, url: url + "/v1/keys/verify", body: string(body),
			header: http.Header{"Content-Type": {"application/json"}},
			status: http.StatusOK, contains: fmt.Sprintf(`"code":%q`, code),
		}
	}
	visit := func(name string, status int, contains string) requestKind {
		return requestKind{
			name: "visit with " + name, method: http.MethodGet, url: url + "/app/page",
			header: http.Header{"Authorization": {"Bearer " + example(name)}, "X-Auth-User-Id": {"root"}},
			status: status, contains: contains,
		}
	}
	return []requestKind{
		verify(seed.Valid, "VALID"),
		verify(seed.Expired, "EXPIRED"),
		visit(seed.Valid, http.StatusOK, "hello, "),
		visit(seed.Expired, http.StatusUnauthorized, ""),
	}
}

func (a requestKind) request(t *testing.T) *http.Request {
	request, err := http.NewRequestWithContext(t.Context(), a.method, a.url, strings.NewReader(a.body))
	if err != nil {
		t.Error(err)
	}
	request.Header = a.header
	// The client would send the request again by itself, and hide a failure.
	request.GetBody = nil
	return request
}

// traffic is what the callers see.
type traffic struct {
	stop  chan struct{}
	group sync.WaitGroup

	mu       sync.Mutex
	times    []time.Duration
	byName   map[string]int
	failures []string
}

func (f *fleet) startTraffic() *traffic {
	tr := &traffic{stop: make(chan struct{}), byName: map[string]int{}}
	all := requestKinds(f.t, f.url)
	for n := range verifiers + visitors {
		mine := all[:2]
		if n >= verifiers {
			mine = all[2:]
		}
		tr.group.Go(func() { tr.call(f.t, mine) })
	}
	f.t.Cleanup(tr.end)
	return tr
}

// call asks over one connection until the end.
func (tr *traffic) call(t *testing.T, kinds []requestKind) {
	transport := &http.Transport{MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: waitTimeout}
	pace := time.NewTicker(rollingPace)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-tr.stop:
			return
		case <-pace.C:
		}
		a := kinds[n%len(kinds)]
		began := time.Now()
		failure := a.do(t, client)
		tr.note(a.name, time.Since(began), failure)
	}
}

// do returns what was wrong with the answer.
func (a requestKind) do(t *testing.T, client *http.Client) (failure string) {
	response, err := client.Do(a.request(t))
	if err != nil {
		return fmt.Sprintf("%s: %v", a.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != a.status || !strings.Contains(string(body), a.contains) || strings.Contains(string(body), "root") {
		return fmt.Sprintf("%s: %s, error %v, %s", a.name, response.Status, err, body)
	}
	return ""
}

func (tr *traffic) note(name string, took time.Duration, failure string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.times = append(tr.times, took)
	tr.byName[name]++
	if failure != "" {
		tr.failures = append(tr.failures, failure)
	}
}

func (tr *traffic) untilAnswers(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.times)
	}
	want := count() + more
	eventually(t, "no answers come", func() bool { return count() >= want })
}

// end returns when the last request is answered. Twice is once.
func (tr *traffic) end() {
	tr.mu.Lock()
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.mu.Unlock()
	tr.group.Wait()
}

func (tr *traffic) summary() string {
	slices.Sort(tr.times)
	at := func(percent int) time.Duration { return tr.times[min(len(tr.times)*percent/100, len(tr.times)-1)] }
	return fmt.Sprintf("%d requests %v, %d failed; p50 %v, p99 %v, slowest %v",
		len(tr.times), tr.byName, len(tr.failures), at(50), at(99), at(100))
}

// accesses is what nginx's access log says of its own questions.
type accesses struct {
	byInstance map[string]int
	// again are requests that were asked of more than one instance.
	again int
}

var upstreams = regexp.MustCompile(`upstream=(.*)`)

func (f *fleet) accesses() accesses {
	content, err := os.ReadFile(f.access)
	if err != nil {
		f.t.Fatal(err)
	}
	result := accesses{byInstance: map[string]int{}}
	names := map[string]string{}
	for n, i := range f.instances {
		names[i.addr] = fmt.Sprintf("instance %d", n+1)
	}
	for line := range bytes.Lines(content) {
		match := upstreams.FindSubmatch(line)
		if match == nil {
			continue
		}
		asked := strings.Split(string(match[1]), ", ")
		if len(asked) > 1 {
			result.again++
		}
		// The last one has answered. Some requests have no instance: the application's.
		if name, ours := names[asked[len(asked)-1]]; ours {
			result.byInstance[name]++
		}
	}
	return result
}

func (f *fleet) accessSummary() string {
	a := f.accesses()
	return fmt.Sprintf("answered by %v; %d requests were asked again of another instance", a.byInstance, a.again)
}
