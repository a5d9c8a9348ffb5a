//go:build linux

package examples_test

import (
	"os"
	"strings"
	"testing"
)

// TestNginxOfThePages runs the few lines for nginx of the pages: no header that a client
// forges reaches the API, also where keytail's has no value or is not passed.
func TestNginxOfThePages(t *testing.T) {
	for _, page := range []string{"../README.md", "../docs/proxies.md"} {
		t.Run(page, func(t *testing.T) {
			lines := firstBlock(t, page, "nginx")
			p := nginx()
			p.https = ""
			s := newStage(t, p, func(string) string { return nginxAround(lines) })
			s.seen = &table{}
			for _, key := range []string{"valid", "org"} {
				s.try(t, testCase{
					name: "forged, key " + key, request: request{target: "/orders/1", header: append(forgeries(), bearer(s.keys[key]))}, want: allowed(),
					check: func(t *testing.T, _ *reply, got *received) {
						t.Helper()
						if receivedForgedHeader(nil, got) {
							t.Errorf("the API got %v", got.Header)
						}
						if user := got.values("X-Auth-User-Id"); len(user) != 1 || user[0] == "" {
							t.Errorf("the API got the user %q", user)
						}
					},
				})
			}
			s.try(t, testCase{name: "a body", request: request{method: "POST", target: "/orders/1", body: "{}", header: []field{bearer(s.keys["valid"])}}, want: allowed()})
		})
	}
}

// firstBlock is the first code block of a page in this language.
func firstBlock(t *testing.T, page, language string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n```"+language+"\n")
	block, _, ends := strings.Cut(after, "\n```\n")
	if !found || !ends {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return block
}

// nginxAround is a configuration with these lines in its server, and nginx's defaults.
func nginxAround(lines string) string {
	return `pid nginx.pid;
error_log stderr warn;
events { worker_connections 64; }
http {
    client_body_temp_path body_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;
    access_log off;
    upstream api { server 127.0.0.1:18090; }
    server {
        listen 127.0.0.1:18180;
` + strings.ReplaceAll(lines, "127.0.0.1:8080", "127.0.0.1:18081") + `
    }
}
`
}
