package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/mongotest"
)

// visitor is a browser without scripts that has signed in to the pages of --dev.
type visitor struct {
	t     *testing.T
	admin string
	http.Client
}

func (v *visitor) post(path string, pairs ...string) {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	request, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.admin+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", v.admin)
	v.send(request)
}

func (v *visitor) send(request *http.Request) string {
	v.t.Helper()
	response, err := v.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		v.t.Fatalf("%s %s: %s %v %s", request.Method, request.URL.Path, response.Status, err, body)
	}
	return string(body)
}

// await loads the page until it matches.
func (v *visitor) await(want *regexp.Regexp) {
	v.t.Helper()
	var page string
	mongotest.Eventually(v.t, waitTimeout, func() bool {
		request, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.admin+"/playground", nil)
		if err != nil {
			v.t.Fatal(err)
		}
		page = v.send(request)
		return want.MatchString(page)
	}, "the page never matches ", want)
}

// TestPlaygroundOfDev with the in-memory MongoDB of the binary: a revocation is noticed,
// a frozen primary makes keytail UNAVAILABLE and does not keep it from stopping.
func TestPlaygroundOfDev(t *testing.T) {
	t.Parallel()
	k := start(t, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--dev-mongodb-addr=127.0.0.1:0", "--max-stale=1s")
	text := k.welcome(t)
	page := regexp.MustCompile(`(?m)^(http://\S+)/playground$`).FindStringSubmatch(text)
	if page == nil {
		t.Fatalf("the playground is not named:\n%s", text)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, admin: page[1], Client: http.Client{Jar: jar}}
	v.post("/sign-in", "token", tokenIn(t, tokenFileOf(t, text)))
	v.post("/playground", "action", "create")
	v.await(regexp.MustCompile(`TTL cache, 60 s: VALID`))
	v.post("/playground", "action", "revoke", "key", "1")
	v.await(regexp.MustCompile(`keytail refused it after`))
	v.await(regexp.MustCompile(`The TTL cache still lets it in`))
	v.post("/playground", "action", "freeze")
	v.await(regexp.MustCompile(`"keytail: [^"]* then DISABLED since [^,"]*, then UNAVAILABLE since`))
	begun := time.Now()
	if code := k.stop(t, os.Interrupt); code != 0 {
		log, _ := k.stderr.snapshot()
		t.Errorf("Ctrl-C while the primary is frozen: exit code %d\n%s", code, log)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the stop took %v", took)
	}
}
