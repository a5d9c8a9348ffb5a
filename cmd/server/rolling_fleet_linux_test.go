package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/proxytest"
	"github.com/keytail/keytail/internal/seed"
)

// fleet is three instances behind nginx.
type fleet struct {
	t         *testing.T
	instances []*instance
	// url is nginx's URL, access the path of its access log.
	url, access string
}

func startFleet(t *testing.T, drain time.Duration, change func(config string) string) *fleet {
	t.Helper()
	nginx := proxytest.Nginx(t)
	// A directory with a short name: the path of a Unix socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "keytail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// The workers may run as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := build(t, dir)
	uri := startSamples(t)
	f := &fleet{t: t, access: filepath.Join(dir, "access.log")}
	for n := range 3 {
		// Each instance has its own address: outgoing connections use 127.0.0.1, so none
		// takes the port during a restart.
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

// build builds keytail as a user does.
func build(t *testing.T, dir string) (program string) {
	t.Helper()
	program = filepath.Join(dir, "keytail")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	return program
}

// startSamples starts a MongoDB with the sample keys.
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

// substitute fails without the old text, so that the tested configuration stays the
// deployed one.
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
		// SIGTERM: if the master is killed, its workers continue.
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		<-p.done
	})
	eventually(f.t, "nginx did not answer", func() bool {
		select {
		case <-p.done:
			log, _ := errorLog.snapshot()
			f.t.Fatalf("nginx exited:\n%s", log)
		default:
		}
		return status(f.t, f.url+"/") == http.StatusNotFound
	})
}

// mustBeUnavailable checks the answers without any instance: 503, never a refusal.
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

// instance is one keytail that a test starts and stops repeatedly.
type instance struct {
	program   string
	args      []string
	addr, ops string
	process   *childProcess
	stderr    *output
}

// start starts the process, and returns when readyz returns 200.
func (i *instance) start(t *testing.T) {
	t.Helper()
	i.stderr = &output{changed: make(chan struct{})}
	i.process = startChild(t, syscall.SIGKILL, i.stderr, i.program, i.args...)
	eventually(t, "an instance did not become ready", func() bool {
		select {
		case <-i.process.done:
			t.Fatalf("an instance exited:\n%s", i.log())
		default:
		}
		return status(t, "http://"+i.ops+"/readyz") == http.StatusOK
	})
}

// stop sends a signal, waits for the end of the process, and returns its exit code, -1
// after a kill.
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

// childProcess gets a signal when the test binary exits, however that exits.
type childProcess struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// startChild keeps its thread until the child has exited, because the signal is sent when
// the thread that started the child ends (prctl(2), PR_SET_PDEATHSIG).
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

// status returns the status of a GET, 0 without a listener.
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
