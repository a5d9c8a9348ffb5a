// Package otlptest is a collector for tests: it takes traces over OTLP, as HTTP and gRPC.
package otlptest

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// Span is one span that has arrived.
type Span struct {
	Name                  string
	TraceID, ID, ParentID string
	// Service is service.name of the resource.
	Service string
	// Attributes have texts and numbers as texts.
	Attributes map[string]string
}

// Collector takes spans. It is safe for concurrent use.
type Collector struct {
	collector.UnimplementedTraceServiceServer

	mutex   sync.Mutex
	spans   []Span
	text    []byte
	changed chan struct{}
}

// HTTP starts a collector for http/protobuf and returns its URL.
func HTTP(t *testing.T) (c *Collector, endpoint string) {
	t.Helper()
	c = &Collector{changed: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(c.serveHTTP))
	t.Cleanup(server.Close)
	return c, server.URL
}

// GRPC starts a collector for grpc and returns its URL.
func GRPC(t *testing.T) (c *Collector, endpoint string) {
	t.Helper()
	c = &Collector{changed: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c, "http://" + l.Addr().String()
}

func (c *Collector) serveHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	request := &collector.ExportTraceServiceRequest{}
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, request) != nil {
		http.Error(w, "not a request of OTLP", http.StatusBadRequest)
		return
	}
	c.take(request)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// Export implements collector.TraceServiceServer.
func (c *Collector) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.take(request)
	return &collector.ExportTraceServiceResponse{}, nil
}

func (c *Collector) take(request *collector.ExportTraceServiceRequest) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.text = append(c.text, prototext.Format(request)...)
	for _, of := range request.GetResourceSpans() {
		service := attributes(of.GetResource().GetAttributes())["service.name"]
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, Span{
					Name: s.GetName(), TraceID: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
					ParentID: hex.EncodeToString(s.GetParentSpanId()), Service: service, Attributes: attributes(s.GetAttributes()),
				})
			}
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func attributes(all []*common.KeyValue) map[string]string {
	texts := map[string]string{}
	for _, a := range all {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			texts[a.GetKey()] = v.StringValue
		default:
			texts[a.GetKey()] = prototext.MarshalOptions{}.Format(a.GetValue())
		}
	}
	return texts
}

// Await waits until a span arrives for which is returns true. It fails the test when ctx ends.
func (c *Collector) Await(ctx context.Context, t *testing.T, what string, is func(Span) bool) Span {
	t.Helper()
	for {
		c.mutex.Lock()
		changed := c.changed
		for _, s := range c.spans {
			if is(s) {
				c.mutex.Unlock()
				return s
			}
		}
		c.mutex.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no span is %s:\n%s", what, c.Text())
		}
	}
}

// Text is everything that has arrived, as a text.
func (c *Collector) Text() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return string(c.text)
}
