package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/nemesis"
)

// instanceName is the daemon's name in the history.
const instanceName = "daemon"

// codes maps names on the wire to codes.
var codes = func() map[string]apikey.Code {
	all := map[string]apikey.Code{}
	for c := range apikey.Code(apikey.CodeCount) {
		all[c.String()] = c
	}
	return all
}()

// verdict is what verify answers.
type verdict struct {
	Code        string    `json:"code"`
	Source      string    `json:"source"`
	AsOf        time.Time `json:"as_of"`
	StalenessMS int64     `json:"staleness_ms"`
}

// verify validates a key, and returns what the history needs to know.
func (l *load) verify(ctx context.Context, k key) (nemesis.Answer, error) {
	var v verdict
	a := nemesis.Answer{Key: k.id, Instance: instanceName, Asked: time.Now()}
	status, err := l.json(ctx, http.MethodPost, l.daemon.Public, "/v1/keys/verify", l.daemon.CallerToken, map[string]any{"key": k.text, "scopes": []string{"orders:read"}}, &v)
	a.Given = time.Now()
	switch {
	case err != nil:
		return a, err
	case status == http.StatusServiceUnavailable:
		return a, nil // the zero code is Unavailable
	case status != http.StatusOK:
		return a, fmt.Errorf("%w %d", errStatus, status)
	}
	code, known := codes[v.Code]
	if !known {
		return a, fmt.Errorf("unknown code %q", v.Code)
	}
	// as_of is cut to milliseconds.
	a.Code, a.AsOf, a.Staleness = code, v.AsOf, time.Duration(v.StalenessMS)*time.Millisecond+wireRounding
	a.Cached = v.Source == apikey.SourceCache.String()
	return a, nil
}

// wireRounding is by how much the texts of a response may disagree.
const wireRounding = time.Millisecond

func (l *load) verifyQuiet(ctx context.Context, random *rand.Rand) {
	l.expect(ctx, "verify, valid key", l.keys.quiet[random.IntN(len(l.keys.quiet))], apikey.Valid)
}

func (l *load) verifyUnknown(ctx context.Context, _ *rand.Rand) {
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		l.recorder.wrongf("generating a key: %v", err)
		return
	}
	l.expect(ctx, "verify, unknown key", key{text: text}, apikey.NotFound)
}

// expect validates a key that always has the same verdict. UNAVAILABLE is never wrong.
func (l *load) expect(ctx context.Context, kind string, k key, want apikey.Code) {
	l.timed(ctx, kind, func(ctx context.Context) error {
		a, err := l.verify(ctx, k)
		if err == nil && a.Code != want && a.Code != apikey.Unavailable {
			return fmt.Errorf("got %v, want %v", a.Code, want)
		}
		return err
	})
}

// verifyRecorded validates a key whose history is known.
func (l *load) verifyRecorded(ctx context.Context, random *rand.Rand) {
	k := l.keys.recorded(random)
	l.timed(ctx, "verify, changing key", func(ctx context.Context) error {
		a, err := l.verify(ctx, k)
		if err == nil {
			l.keys.history.AddAnswer(a)
		}
		return err
	})
}

func (l *load) forwardAuth(ctx context.Context, random *rand.Rand) {
	k := l.keys.quiet[random.IntN(len(l.keys.quiet))]
	l.timed(ctx, "forward-auth", func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.daemon.Public+"/v1/auth?scope=orders:read", http.NoBody)
		if err != nil {
			return err
		}
		r.Header.Set("X-Api-Key", k.text)
		status, err := l.do(r, nil)
		if err == nil && status != http.StatusOK && status != http.StatusServiceUnavailable {
			return fmt.Errorf("%w %d for a valid key", errStatus, status)
		}
		return err
	})
}

// check is a call of Envoy.
func (l *load) check(ctx context.Context, random *rand.Rand) {
	k := l.keys.quiet[random.IntN(len(l.keys.quiet))]
	l.timed(ctx, "ext_authz", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		answer, err := authv3.NewAuthorizationClient(l.grpc).Check(ctx, checkRequest(k.text))
		if err != nil {
			return err
		}
		if status := answer.GetDeniedResponse().GetStatus().GetCode(); answer.GetOkResponse() == nil && int(status) != http.StatusServiceUnavailable {
			return fmt.Errorf("%w %d for a valid key", errStatus, status)
		}
		return nil
	})
}

func checkRequest(text string) *authv3.CheckRequest {
	headers := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: ":path", RawValue: []byte("/a")}, {Key: "x-api-key", RawValue: []byte(text)}}}
	peer := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "198.51.100.7", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711},
	}}}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:  &authv3.AttributeContext_Peer{Address: peer},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Path: "/a", Method: http.MethodGet, HeaderMap: headers}},
	}}
}

// nonsense is a request that cannot be answered, and the status that refuses it.
type nonsense struct {
	method, path, contentType, body string
	status                          int
}

var nonsenses = []nonsense{
	{http.MethodPost, "/v1/keys/verify", "application/json", "{", http.StatusBadRequest},
	{http.MethodPost, "/v1/keys/verify", "application/json", `{"key":"a","kye":"b"}`, http.StatusBadRequest},
	{http.MethodPost, "/v1/keys/verify", "application/json", `{"key":"a","key":"b"}`, http.StatusBadRequest},
	{http.MethodPost, "/v1/keys/verify", "application/json", `{"key":"not a key"}`, http.StatusOK},
	{http.MethodPost, "/v1/keys/verify", "application/json", `{"key":"` + strings.Repeat("a", 20<<10) + `"}`, http.StatusRequestEntityTooLarge},
	{http.MethodPost, "/v1/keys/verify", "text/plain", `{"key":"a"}`, http.StatusUnsupportedMediaType},
	{http.MethodDelete, "/v1/keys/verify", "", "", http.StatusMethodNotAllowed},
	{http.MethodGet, "/../../etc/passwd", "", "", http.StatusNotFound},
	{http.MethodGet, "/v1/auth?scope=", "", "", http.StatusBadRequest},
	{http.MethodGet, "/v1/auth", "", "", http.StatusUnauthorized},
}

func (l *load) garbage(ctx context.Context, random *rand.Rand) {
	n := nonsenses[random.IntN(len(nonsenses))]
	l.timed(ctx, "garbage", func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, n.method, "http://"+l.daemon.Public+n.path, strings.NewReader(n.body))
		if err != nil {
			return err
		}
		if n.contentType != "" {
			r.Header.Set("Content-Type", n.contentType)
		}
		if strings.HasPrefix(n.path, "/v1/keys") {
			r.Header.Set("Authorization", "Bearer "+l.daemon.CallerToken)
		}
		status, err := l.do(r, nil)
		if err == nil && status != n.status {
			return fmt.Errorf("%s %s: got status %d, want %d", n.method, n.path, status, n.status)
		}
		return err
	})
}
