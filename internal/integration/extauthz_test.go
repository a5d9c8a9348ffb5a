package integration

import (
	"net"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestExtAuthzFollowsTheStream: Envoy's requests over gRPC get the same verdicts, with the
// configured policies, and the gRPC health status follows readyz.
func TestExtAuthzFollowsTheStream(t *testing.T) {
	mongotest.Each(t, testExtAuthz)
}

func testExtAuthz(t *testing.T, s *mongotest.Server) {
	r := start(t, s, func(c *daemon.Config) {
		c.HideCredentials = true
		c.KeySources = []string{"header:x-session"}
		c.Policies = map[string]forwardauth.Policy{"strict": {Scopes: []string{"unused:scope"}}}
	})
	conn := dialExtAuthz(t, r.Daemon)
	check := func(k key, extensions map[string]string) *authv3.CheckResponse {
		t.Helper()
		answer, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			ContextExtensions: extensions,
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "x-session", RawValue: []byte(k.text)}}},
			}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	health := func() grpc_health_v1.HealthCheckResponse_ServingStatus {
		t.Helper()
		answer, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetStatus()
	}
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return health() == grpc_health_v1.HealthCheckResponse_SERVING }, "the health is not SERVING once live")
	k := r.newKey()
	r.waitForCode(k, apikey.Valid)
	allowed := check(k, nil).GetOkResponse()
	// The key has no organisation and no project.
	if remove := allowed.GetHeadersToRemove(); !slices.Equal(remove, []string{"X-Auth-Org-Id", "X-Auth-Project-Id", "X-Auth-Result", "X-Auth-Staleness-Ms", "X-Session"}) {
		t.Errorf("a valid key: %v", allowed)
	}
	if answer := check(k, map[string]string{"policy": "strict"}); answer.GetStatus().GetCode() != int32(codes.PermissionDenied) {
		t.Errorf("a policy that it does not meet: %v", answer)
	}
	r.set(k, "is_active", false)
	r.waitForCode(k, apikey.Disabled)
	if answer := check(k, nil); answer.GetStatus().GetCode() != int32(codes.Unauthenticated) {
		t.Errorf("a disabled key: %v", answer)
	}
	r.Drain()
	if status := health(); status != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("during the drain: %v", status)
	}
}

// dialExtAuthz serves a service's gRPC, and returns a connection to it.
func dialExtAuthz(t *testing.T, service testkit.Daemon) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- service.ExtAuthz().Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = service.ExtAuthz().Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return conn
}
