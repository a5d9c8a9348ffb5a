package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/internal/timing"
)

// connect opens n connections. The second result closes them.
func connect(ctx context.Context, address string, n int, first string) (all []net.Conn, closeAll func(), err error) {
	closeAll = func() {
		for _, conn := range all {
			_ = conn.Close()
		}
	}
	var dialer net.Dialer
	for range n {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all = append(all, conn)
		if _, err := io.WriteString(conn, first); err != nil {
			closeAll()
			return nil, nil, err
		}
	}
	return all, closeAll, nil
}

func idleClients(ctx context.Context, t *target) (string, error) {
	return t.with(ctx, 256, nil, func(d *child.Daemon) (string, error) {
		_, closeAll, err := connect(ctx, d.Public, 400, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
		if err != nil {
			return "", err
		}
		defer closeAll()
		return statuses(ctx, [][2]string{
			{"/livez", "http://" + d.Operations + "/livez"},
			{"/readyz", "http://" + d.Operations + "/readyz"},
			{"admin", "http://" + d.Admin + "/v1/status"},
			{"public", "http://" + d.Public + "/livez"},
		}, bearer(d.AdminToken))
	})
}

func allStreams(ctx context.Context, t *target) (string, error) {
	return t.with(ctx, 0, nil, func(d *child.Daemon) (string, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		opened := 0
		for range 300 {
			status, err := openStream(ctx, d.Public, d.CallerToken)
			if err != nil {
				return "", err
			}
			if status == http.StatusOK {
				opened++
			}
		}
		other, err := openStream(ctx, d.Public, d.OtherToken)
		return fmt.Sprintf("%d opened; another token gets %d", opened, other), err
	})
}

// openStream opens a stream that stays open until ctx ends.
func openStream(ctx context.Context, address, token string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/events", http.NoBody)
	if err != nil {
		return 0, err
	}
	bearer(token)(r)
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return 0, err
	}
	context.AfterFunc(ctx, func() { _ = response.Body.Close() })
	return response.StatusCode, nil
}

func halfCalls(ctx context.Context, t *target) (string, error) {
	const conns, each = 50, 100
	return t.with(ctx, 0, nil, func(d *child.Daemon) (string, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var open, all atomic.Int64
		for range conns {
			conn, err := grpc.NewClient(d.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return "", err
			}
			defer func() { _ = conn.Close() }()
			for range each {
				go func() {
					stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, authv3.Authorization_Check_FullMethodName)
					if err != nil {
						return
					}
					all.Add(1)
					open.Add(1)
					_ = stream.RecvMsg(&authv3.CheckResponse{})
					open.Add(-1)
				}()
			}
		}
		if !timing.Sleep(ctx, 30*time.Second) {
			return "", ctx.Err()
		}
		return fmt.Sprintf("%d of %d still open", open.Load(), all.Load()), nil
	})
}

// drip sends a beginning and then a byte a second on many connections, and says how many are
// open in the end. It waits for keytail's answer or close on each.
func drip(ctx context.Context, t *target, first func(d *child.Daemon) string, after time.Duration) (string, error) {
	const clients = 100
	return t.with(ctx, 0, nil, func(d *child.Daemon) (string, error) {
		conns, closeAll, err := connect(ctx, d.Public, clients, first(d))
		if err != nil {
			return "", err
		}
		defer closeAll()
		var open atomic.Int64
		open.Store(clients)
		ctx, cancel := context.WithTimeout(ctx, after)
		defer cancel()
		var group sync.WaitGroup
		for _, conn := range conns {
			group.Go(func() { dripOn(ctx, conn, &open) })
		}
		group.Wait()
		return fmt.Sprintf("%d of %d still open", open.Load(), clients), nil
	})
}

func dripOn(ctx context.Context, conn net.Conn, open *atomic.Int64) {
	for timing.Sleep(ctx, time.Second) {
		_, writeErr := io.WriteString(conn, "a")
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, readErr := conn.Read(make([]byte, 1))
		if writeErr != nil || !errors.Is(readErr, os.ErrDeadlineExceeded) {
			open.Add(-1)
			return
		}
	}
}

func slowHeaders(ctx context.Context, t *target) (string, error) {
	return drip(ctx, t, func(*child.Daemon) string { return "GET /livez HTTP/1.1\r\nHost: a\r\nX-A: " }, 8*time.Second)
}

func slowBodies(ctx context.Context, t *target) (string, error) {
	return drip(ctx, t, func(d *child.Daemon) string {
		// Without the token, keytail would refuse the request before its body.
		return "POST /v1/keys/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + d.CallerToken +
			"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"key\":\""
	}, 15*time.Second)
}

func reflection(ctx context.Context, t *target) (string, error) {
	return t.with(ctx, 0, nil, func(d *child.Daemon) (string, error) {
		conn, err := grpc.NewClient(d.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close() }()
		stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
		if err != nil {
			return "", err
		}
		err = stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if _, err := stream.Recv(); err != nil {
			return "refused", nil
		}
		return "answered", nil
	})
}
