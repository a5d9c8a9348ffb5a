package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
)

const (
	// subscribers listen to events at the same time.
	subscribers = 6
	// readers call the admin API at the same time.
	readers = 4
	// longestVisit is how long a subscriber listens at most.
	longestVisit = 20 * time.Second
	// halfTimeout is more than the 5 s that a header may take, and the 20 s of a gRPC call.
	halfTimeout = 30 * time.Second
	// reloadPace is the mean time between two SIGHUPs.
	reloadPace = 15 * time.Second
)

// subscribe listens to events for a while and leaves. Every third one does not read.
func (l *load) subscribe(ctx context.Context, random *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(random.Int64N(int64(longestVisit))))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.daemon.Public+"/v1/events", http.NoBody)
	if err != nil {
		l.recorder.wrongf("events: %v", err)
		return
	}
	r.Header.Set("Authorization", "Bearer "+l.daemon.CallerToken)
	// Each has a connection of its own, which ends with the subscription.
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r)
	if err != nil {
		if ctx.Err() == nil {
			l.recorder.wrongf("events: %v", err)
		}
		return
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		l.recorder.wrongf("events: %s", response.Status)
		return
	}
	l.recorder.did("event subscription")
	if random.IntN(3) == 0 {
		<-ctx.Done()
		return
	}
	if _, err = io.Copy(io.Discard, response.Body); ctx.Err() == nil {
		l.recorder.wrongf("events: the stream ended: %v", err)
	}
}

// adminReads are the calls of people and dashboards.
var adminReads = []string{"/", "/livez", "/v1/status", "/v1/instances", "/v1/keys?limit=50", "/v1/audit?limit=50", "/v1/keys/quiet-000000", "/v1/keys/quiet-000000/explain"}

func (l *load) readAdmin(ctx context.Context, random *rand.Rand) {
	path := adminReads[random.IntN(len(adminReads))]
	l.timed(ctx, "admin read", func(ctx context.Context) error {
		status, err := l.json(ctx, http.MethodGet, l.daemon.Admin, path, l.daemon.AdminToken, nil, nil)
		if err == nil && status != http.StatusOK && status != http.StatusServiceUnavailable {
			return fmt.Errorf("%s: %w %d", path, errStatus, status)
		}
		return err
	})
}

// dial opens a connection to the public listener.
func (l *load) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", l.daemon.Public)
}

// leave sends a request, or half of one, and closes the connection before the answer.
func (l *load) leave(ctx context.Context, random *rand.Rand) {
	conn, err := l.dial(context.WithoutCancel(ctx))
	if err != nil {
		l.recorder.wrongf("leave: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	body := `{"key":"` + l.keys.recorded(random).text + `"}`
	request := fmt.Sprintf("POST /v1/keys/verify HTTP/1.1\r\nHost: soak\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		l.daemon.CallerToken, len(body), body)
	if random.IntN(2) == 0 {
		request = request[:len(request)-random.IntN(len(body))]
	}
	if _, err := io.WriteString(conn, request); err != nil {
		l.recorder.wrongf("leave: %v", err)
		return
	}
	l.recorder.did("client that leaves")
}

// halfRequest sends half a header and waits until keytail closes the connection. It holds
// the connection in the background, so that there are some at any time.
func (l *load) halfRequest(ctx context.Context, _ *rand.Rand) {
	conn, err := l.dial(context.WithoutCancel(ctx))
	if err != nil {
		l.recorder.wrongf("half a request: %v", err)
		return
	}
	l.group.Go(func() {
		defer func() { _ = conn.Close() }()
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		_ = conn.SetDeadline(time.Now().Add(halfTimeout))
		_, _ = io.WriteString(conn, "POST /v1/keys/verify HTTP/1.1\r\nHost: so")
		var timeout net.Error
		if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
			l.recorder.wrongf("half a request: the connection is still open after %v", halfTimeout)
		}
		l.recorder.did("half a request")
	})
}

// halfCall begins a gRPC call and sends no message.
func (l *load) halfCall(ctx context.Context, _ *rand.Rand) {
	l.group.Go(func() {
		limited, cancel := context.WithTimeout(ctx, halfTimeout)
		defer cancel()
		stream, err := l.grpc.NewStream(limited, &grpc.StreamDesc{ClientStreams: true}, authv3.Authorization_Check_FullMethodName)
		if err == nil {
			err = stream.RecvMsg(&authv3.CheckResponse{})
		}
		switch {
		case ctx.Err() != nil:
		case err == nil:
			l.recorder.wrongf("half a gRPC call was answered")
		case limited.Err() != nil:
			l.recorder.wrongf("half a gRPC call is still open after %v", halfTimeout)
		}
		l.recorder.did("half a gRPC call")
	})
}

// reload writes the file of caller tokens again and sends SIGHUP.
func (l *load) reload(context.Context, *rand.Rand) {
	if err := l.daemon.WriteCallers(); err != nil {
		l.recorder.wrongf("reload: %v", err)
		return
	}
	if err := l.daemon.Signal(syscall.SIGHUP); err != nil {
		l.recorder.wrongf("SIGHUP: %v", err)
		return
	}
	l.recorder.did("SIGHUP")
}
