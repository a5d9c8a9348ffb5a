package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/api"
)

// TestRemoteCommands tests the request and the output of each command.
func TestRemoteCommands(t *testing.T) {
	t.Setenv(envCallerToken, callerToken)
	for name, test := range map[string]struct {
		args     []string
		requests []string
		code     int
		stdout   []string // in this order
		stderr   string
	}{
		"create": {
			[]string{"keys", "create", "--user-id=u1", "--org-id=o1", "--name=first", "--scopes=a,b:*", "--allowed-ips=10.0.0.0/8", "--expires=2999-01-02T03:04:05Z", `--metadata={"team":"x"}`},
			[]string{`POST /v1/keys {"allowed_ips":["10.0.0.0/8"],"expires_at":"2999-01-02T03:04:05Z","metadata":{"team":"x"},"name":"first","org_id":"o1","scopes":["a","b:*"],"user_id":"u1"}`},
			exitOK,
			[]string{
				"key           " + newSecret + "\n", "id            k1\n", "name          first\n", "state         valid\n", "organisation  o1\n", "scopes        a b:*\n",
				"expires       2999-01-02T03:04:05Z\n", "uses          7\n", `metadata      {"team":"x"}` + "\n", "revision      000000000000000a\n",
			},
			"keytail: the key is shown only now: it cannot be read again\n",
		},
		"create quietly": {
			[]string{"keys", "create", "--user-id=u1", "-q"},
			[]string{`POST /v1/keys {"user_id":"u1"}`},
			exitOK,
			[]string{newSecret + "\n"},
			"the key is shown only now",
		},
		"create and wait": {
			[]string{"keys", "create", "--user-id=u1", "-q", "--wait=fleet"},
			[]string{`POST /v1/keys?timeout=5s&wait=fleet {"user_id":"u1"}`},
			exitOK,
			[]string{newSecret + "\n"},
			"keytail: created on 2 of 2 instances in ",
		},
		"create for scripts": {
			[]string{"keys", "create", "--user-id=u1", "-o", "json"},
			[]string{`POST /v1/keys {"user_id":"u1"}`},
			exitOK,
			[]string{"{\n  \"key\": \"" + newSecret + "\"", `"id": "k1"`, "\n}\n"},
			"the key is shown only now",
		},
		"update": {
			[]string{"keys", "update", "k1", "--scopes=", "--expires=never", "--clear=name", `--if-match="e0"`, "--user-id=u1"},
			[]string{`PATCH /v1/keys/k1?user_id=u1 {"expires_at":null,"name":null,"scopes":[]}`},
			exitOK,
			[]string{"id            k1\n"},
			"",
		},
		"revoke": {
			[]string{"keys", "revoke", "k1", "--wait=instance", "--timeout=2s"},
			[]string{`POST /v1/keys/k1/revoke?timeout=2s&wait=instance `},
			exitOK,
			[]string{"revision      000000000000000a\n"},
			"keytail: revoked on 2 of 2 instances in ",
		},
		"revoke a leaked key": {
			[]string{"keys", "revoke", "--key-file=-"},
			[]string{`POST /v1/keys/revoke-leaked?timeout=5s&wait=fleet {"key":"kt_asked"}`},
			exitOK,
			[]string{"id            k1\n", "revision      000000000000000a\n"},
			"keytail: revoked k1; refused on 2 of 2 instances in ",
		},
		"revoke a leaked key for scripts": {
			[]string{"keys", "revoke", "--key-file=-", "-o", "json", "--timeout=2s", "--wait=instance"},
			[]string{`POST /v1/keys/revoke-leaked?timeout=2s&wait=instance {"key":"kt_asked"}`},
			exitOK,
			[]string{`"id": "k1"`, `"revoked": 1`},
			"keytail: revoked k1; refused on 2 of 2 instances in ",
		},
		"revoke all of an owner": {
			[]string{"keys", "revoke", "--user-id=u1", "--org-id=o1", "--yes"},
			[]string{
				`POST /v1/keys/revoke {"user_id":"u1","org_id":"o1"}`, `POST /v1/keys/revoke {"user_id":"u1","org_id":"o1","cursor":"c1"}`,
				`POST /v1/keys/revoke {"user_id":"u1","org_id":"o1"}`,
				`GET /v1/sync?revision=000000000000000b&scope=fleet&timeout=5s `,
			},
			exitOK,
			[]string{"revoked   3\nrevision  000000000000000b\n"},
			"keytail: revoked 3 keys of user u1 and organisation o1; refused on 1 of 1 instances in ",
		},
		"what would be revoked": {
			[]string{"keys", "revoke", "--project-id=p1", "--dry-run"},
			[]string{`POST /v1/keys/revoke {"project_id":"p1","dry_run":true}`, `POST /v1/keys/revoke {"project_id":"p1","dry_run":true,"cursor":"c1"}`},
			exitOK,
			[]string{"k1\nk2\nk3\n"},
			"keytail: 3 keys of project p1 would be revoked\n",
		},
		"rotate": {
			[]string{"keys", "rotate", "k1", "--overlap=1d"},
			[]string{`POST /v1/keys/k1/rotate {"overlap_seconds":86400}`},
			exitOK,
			[]string{"key           " + newSecret + "\n"},
			"the key is shown only now",
		},
		"delete": {
			[]string{"keys", "delete", "k1"},
			[]string{`DELETE /v1/keys/k1 `},
			exitOK,
			[]string{"id            k1\n"},
			"",
		},
		"get": {
			[]string{"keys", "get", "k1"},
			[]string{`GET /v1/keys/k1 `},
			exitOK,
			[]string{"id            k1\n", `etag          "e1"` + "\n"},
			"",
		},
		"list": {
			[]string{"keys", "list", "--limit=1", "--user-id=u1", "--include-inactive"},
			[]string{`GET /v1/keys?include_inactive=true&limit=1&user_id=u1 `},
			exitOK,
			[]string{
				"ID  NAME   STATE  USER  ORG  PROJECT  SCOPES  EXPIRES               LAST USED\n",
				"k1  first  valid  u1    o1   -        a b:*   2999-01-02T03:04:05Z  -\n",
			},
			"keytail: there are more: --cursor c1 goes on, --all shows all\n",
		},
		"list by everything": {
			[]string{"keys", "list", "-q", "--org-id=o1", "--project-id=p1", "--unused=90d", "--expires-within=14d"},
			[]string{`GET /v1/keys?expires_within=336h0m0s&org_id=o1&project_id=p1&unused_for=2160h0m0s `},
			exitOK,
			[]string{"k1\n"},
			"keytail: there are more",
		},
		"list all quietly": {
			[]string{"keys", "list", "--all", "--quiet"},
			[]string{`GET /v1/keys `, `GET /v1/keys?cursor=c1 `},
			exitOK,
			[]string{"k1\nk2\n"},
			"",
		},
		"list for scripts": {
			[]string{"keys", "list", "--all", "--output=json"},
			[]string{`GET /v1/keys `, `GET /v1/keys?cursor=c1 `},
			exitOK,
			[]string{"{\n  \"keys\": [\n    {\n      \"id\": \"k1\"", "\n    },\n    {\n      \"id\": \"k2\"", "\n    }\n  ],\n  \"next_cursor\": null\n}\n"},
			"",
		},
		"audit": {
			[]string{"audit", "--key-id=k1"},
			[]string{`GET /v1/audit?key_id=k1 `},
			exitOK,
			[]string{
				"AT                    ACTOR  ACTION  KEY  USER  DETAILS\n", "2026-01-02T03:04:05Z  ops    update  k1   u1    name scopes\n",
				"rotate  k0   u1    new key k1\n", "create  k0   u1    -\n",
			},
			"",
		},
		"instances": {
			[]string{"instances"},
			[]string{`GET /v1/instances `},
			exitOK,
			[]string{"ID  VERSION  REVISION          STALENESS  LAST SEEN\n", "i1  v1       000000000000000a  12 ms      2026-01-02T03:04:05Z\n"},
			"",
		},
		"sync": {
			[]string{"sync", "000000000000000a", "--timeout=3s"},
			[]string{`GET /v1/sync?revision=000000000000000a&scope=fleet&timeout=3s `},
			exitOK,
			[]string{"i1  yes     000000000000000a"},
			"keytail: 1 of 1 instances have the revision in ",
		},
		"verify": {
			[]string{"verify", "--scopes=a", "--min-revision=000000000000000a"},
			[]string{`POST /v1/keys/verify {"key":"kt_asked","scopes":["a"],"min_revision":"000000000000000a"}`},
			exitOK,
			[]string{"code       VALID\n", "key id     k1\n", "staleness  3 ms\n"},
			"",
		},
		"explain": {
			[]string{"explain", "k1", "--scopes=a,b:c", "--org-id=o1", "--project-id=p1", "--require-org", "--require-project", "--ip=192.0.2.1", "--user-id=u1"},
			[]string{`GET /v1/keys/k1/explain?ip=192.0.2.1&org_id=o1&project_id=p1&require_org=true&require_project=true&scope=a&scope=b%3Ac&user_id=u1 `},
			exitFailure,
			[]string{
				"the key is refused for this request: the client's address 192.0.2.1 is not in its allow-list\n",
				"the database says DISABLED (inactive): a change has not reached this instance yet, whose data are 3 ms old\n",
				"code             FORBIDDEN\n", "reason           ip\n", "key id           k1\n", "instance         i1\n", "source           cache\n", "staleness        3 ms\n",
				"revision         000000000000000a\n", "in the database  DISABLED inactive\n",
			},
			"",
		},
		"explain quietly":     {[]string{"explain", "k1", "-q"}, []string{`GET /v1/keys/k1/explain `}, exitFailure, []string{"FORBIDDEN\n"}, ""},
		"explain for scripts": {[]string{"explain", "k1", "-o", "json"}, []string{`GET /v1/keys/k1/explain `}, exitFailure, []string{"{\n  \"key_id\": \"k1\"", "\n}\n"}, ""},
		"verify for an organisation": {
			[]string{"verify", "-q", "--org-id=o1", "--project-id=p1", "--require-org", "--require-project"},
			[]string{`POST /v1/keys/verify {"key":"kt_asked","org_id":"o1","project_id":"p1","require_org":true,"require_project":true}`},
			exitOK,
			[]string{"VALID\n"},
			"",
		},
		"verify quietly": {[]string{"verify", "-q"}, []string{`POST /v1/keys/verify {"key":"kt_asked"}`}, exitOK, []string{"VALID\n"}, ""},
		"no such key":    {[]string{"keys", "get", "k9"}, []string{`GET /v1/keys/k9 `}, exitFailure, nil, "keytail: there is no such key\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeDaemon(t)
			code, stdout, stderr := finish(t, depsWithStdin("kt_asked\n"), test.args...)
			if code != test.code || !slices.Equal(f.seenRequests(), test.requests) {
				t.Errorf("got exit code %d and requests %q, want %q", code, f.seenRequests(), test.requests)
			}
			rest := stdout
			for _, text := range test.stdout {
				_, after, found := strings.Cut(rest, text)
				if !found {
					t.Errorf("stdout lacks %q after the other texts:\n%s", text, stdout)
				}
				rest = after
			}
			if test.stdout == nil && stdout != "" || slices.Contains(test.args, "-q") && stdout != test.stdout[0] {
				t.Errorf("stdout:\n%s", stdout)
			}
			if !strings.Contains(stderr, test.stderr) || test.stderr == "" && stderr != "" {
				t.Errorf("stderr:\n%s", stderr)
			}
			for _, secret := range []string{adminToken, callerToken, newSecret, "kt_asked"} {
				if strings.Contains(stderr, secret) || secret != newSecret && strings.Contains(stdout, secret) {
					t.Errorf("%s is shown:\n%s%s", secret, stdout, stderr)
				}
			}
			if strings.Count(stdout, newSecret) > 1 {
				t.Errorf("the key is shown more than once:\n%s", stdout)
			}
			if slices.Contains(test.args, "json") || slices.Contains(test.args, "--output=json") {
				if !json.Valid([]byte(stdout)) {
					t.Errorf("stdout: got no JSON:\n%s", stdout)
				}
			}
		})
	}
}

// TestVerifyExitCodes: 0 means valid.
func TestVerifyExitCodes(t *testing.T) {
	for body, want := range map[string]struct {
		status, code   int
		stdout, stderr string
	}{
		`{"valid":true,"code":"VALID"}`:                               {200, exitOK, "VALID\n", ""},
		`{"valid":false,"code":"EXPIRED","key_id":"k1"}`:              {200, exitFailure, "EXPIRED\n", ""},
		`{"valid":false,"code":"NEWER_THAN_THIS"}`:                    {200, exitFailure, "NEWER_THAN_THIS\n", ""},
		`{"valid":true,"code":"DISABLED"}`:                            {200, exitFailure, "", "the verdict is inconsistent"},
		`{"detail":"the truth cannot be known","code":"UNAVAILABLE"}`: {503, exitFailure, "", "keytail: UNAVAILABLE: the truth cannot be known\n"},
		`{"detail":"send a caller token","code":"UNAUTHENTICATED"}`:   {401, exitFailure, "", "UNAUTHENTICATED: "},
		`{"valid":true`: {200, exitFailure, "", "cannot be read"},
	} {
		f := newFakeDaemon(t)
		f.responses["/v1/keys/verify"] = fakeResponse{want.status, body}
		code, stdout, stderr := finish(t, depsWithStdin("kt_asked"), "verify", "-q")
		if code != want.code || stdout != want.stdout || !strings.Contains(stderr, want.stderr) || want.stderr == "" && stderr != "" {
			t.Errorf("%s: got exit code %d, %q, %q", body, code, stdout, stderr)
		}
	}
}

// TestEventsUntilCtrlC: each line is printed immediately, and the exit code is 0.
func TestEventsUntilCtrlC(t *testing.T) {
	t.Setenv(envToken, adminToken)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "id: 1\nevent: invalidation\ndata: {\"key_id\":\"k1\",\"revision\":\"000000000000000a\"}\n\nid: 2\nevent: state\ndata: {\"to\":\"x\\u001b[2J\",\"from\":%q}\n\n", r.Header.Get("Last-Event-ID"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	t.Setenv("KEYTAIL_ADMIN_URL", server.URL)
	r := start([]string{"events", "--last-event-id=0"}, Deps{})
	if line := r.stdout.waitFor(t, "invalidation"); !strings.HasSuffix(line, "  invalidation  key_id=k1 revision=000000000000000a") {
		t.Errorf("the line of the invalidation: got %q", line)
	}
	if line := r.stdout.waitFor(t, "state"); !strings.HasSuffix(line, "from=0 to=x?[2J") {
		t.Errorf("the line of the state: got %q", line)
	}
	r.signal(t)
	if code := r.wait(t); code != exitOK || r.stderr.String() != "" {
		t.Errorf("got exit code %d, %s", code, r.stderr)
	}
	r = start([]string{"events", "-o", "json"}, Deps{})
	if line := r.stdout.waitFor(t, "invalidation"); line != `{"id":"1","event":"invalidation","data":{"key_id":"k1","revision":"000000000000000a"}}` {
		t.Errorf("JSON line: got %q", line)
	}
	r.signal(t)
	r.wait(t)
}

func TestKeyStates(t *testing.T) {
	now := time.Now()
	for body, want := range map[string]string{
		`{"is_active":true}`:  "valid",
		`{"is_active":false}`: "off",
		`{"is_active":true,"expires_at":"2020-01-01T00:00:00Z"}`:  "expired",
		`{"is_active":true,"expires_at":"2999-01-01T00:00:00Z"}`:  "valid",
		`{"is_active":true,"defect":"user_id is of type double"}`: "unreadable",
	} {
		keys, err := decodeAll[api.Key]([]json.RawMessage{json.RawMessage(body)})
		if err != nil {
			t.Fatal(err)
		}
		if got := keyState(&keys[0], now); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestReadExpiry(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2027-01-02T03:04:05+01:00": "2027-01-02T02:04:05Z", "90d": "2026-04-01T00:00:00Z", "12h": "2026-01-01T12:00:00Z", "never": "",
	} {
		if at, err := readExpiry(text, now); err != nil || instantOrNone(at) != want {
			t.Errorf("%s: %v, %v", text, at, err)
		}
	}
	for _, text := range []string{"", "0s", "-1h", "soon", "2027-01-02", "d", "99999999999999999999d", "200000d", "300000d", "-200000d", "1.5d"} {
		if at, err := readExpiry(text, now); err == nil {
			t.Errorf("%q: %v", text, at)
		}
	}
}
